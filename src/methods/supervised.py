from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from src.methods.method import Method
from src.runtime import check


class Supervised(Method):
    """Not self-supervised: cross entropy with given classes, on one view of each image. The reference that methods
    without labels are held against; only ``python -m src.supervised`` trains it, on the images of ``probe``."""

    views = 1
    labelled = True
    meaningless: ClassVar[dict[str, str]] = {"heldout_losses": "supervised has no loss without labels"}

    def __init__(self, encoder: nn.Module, *, classes: int) -> None:
        check.number("method.classes", classes, at_least=2, whole=True)
        super().__init__(encoder, projector=None)
        self.head = nn.Linear(encoder.features, classes)  # type: ignore[arg-type]

    def forward(self, views: Float[Tensor, "n c h w"], classes: Int[Tensor, "n"]) -> Float[Tensor, ""]:
        logits = self.head(self.encoder(views))
        self.diagnostics = {"accuracy": (logits.argmax(1) == classes).float().mean()}
        return F.cross_entropy(logits, classes)
