from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from src.methods.method import Method

TURNS = 4


def turned(images: Float[Tensor, "n c s s"]) -> Float[Tensor, "turned c s s"]:
    """Square images turned by 0, 90, 180 and 270 degrees, one turn of all images after the other."""
    return torch.cat([images.rot90(turn, (2, 3)) for turn in range(TURNS)])


class RotationPrediction(Method):
    """RotNet: which of four ways an image was turned. Source: Gidaris et al., ICLR 2018 (arXiv 1803.07728), eq. 2-3."""

    views = 1
    meaningless: ClassVar[dict[str, str]] = {
        "rotations": "training predicts rotations, so that it is the pretext itself"
    }

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__(encoder, projector=None)
        self.head = nn.Linear(encoder.features, TURNS)  # type: ignore[arg-type]

    def forward(self, views: Float[Tensor, "n c s s"]) -> Float[Tensor, ""]:
        logits = self.head(self.encoder(turned(views).contiguous(memory_format=torch.channels_last)))
        truth = torch.arange(TURNS, device=views.device).repeat_interleave(len(views))
        self.diagnostics = {"accuracy": (logits.argmax(1) == truth).float().mean()}
        return F.cross_entropy(logits, truth)
