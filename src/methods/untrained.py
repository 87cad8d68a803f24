from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from src.methods.method import Method


class Untrained(Method):
    """No method: the encoder stays as it was initialised, what every method has to beat. Its loss is 0."""

    views = 1

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__(encoder.requires_grad_(False), projector=None)
        self.idle = nn.Parameter(torch.zeros(()))  # so that there is something to step

    def forward(self, views: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
        return self.idle.square()
