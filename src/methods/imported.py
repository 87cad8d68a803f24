from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from src.methods.method import Method


class Imported(Method):
    """An encoder that was trained elsewhere, with its projector where one came along; its loss is unknown."""

    meaningless: ClassVar[dict[str, str]] = dict.fromkeys(
        ("losses", "heldout_losses"), "the loss of an adopted encoder is unknown"
    )

    def __init__(self, encoder: nn.Module, *, projector: Callable[[int], nn.Module] | None) -> None:
        super().__init__(encoder, projector)

    def forward(self, views: Float[Tensor, "views c h w"]) -> Float[Tensor, ""]:
        """Stands for a loss where FLOPs are counted; nothing trains an imported encoder."""
        return self.projector(self.encoder(views)).square().mean()
