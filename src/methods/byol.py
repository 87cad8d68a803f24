from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from src.methods.method import Method
from src.methods.teacher import follow, rising, teacher_of
from src.runtime import check


def regression_loss(p: Float[Tensor, "n d"], z: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Mean squared distance between normalised predictions and targets (arXiv 2006.07733, eq. 2)."""
    return (2 - 2 * F.cosine_similarity(p, z, dim=-1)).mean()


class BYOL(Method):
    """BYOL: the online network predicts how a slowly following teacher projects the other view; no negatives.

    Source: Grill et al., NeurIPS 2020 (arXiv 2006.07733), eq. 2-3; the teacher's momentum rises to 1 along a cosine.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector: Callable[[int], nn.Module],
        predictor: Callable[[int], nn.Module],
        momentum: float,
    ) -> None:
        check.number("method.momentum", momentum, at_least=0, at_most=1)
        super().__init__(encoder, projector)
        self.predictor = predictor(self.projector.dimension)  # type: ignore[arg-type]
        self.teacher = teacher_of(self.encoder, self.projector)
        self.momentum = momentum

    def forward(self, views: Float[Tensor, "views c h w"]) -> Float[Tensor, ""]:
        p_a, p_b = self.predictor(self.projector(self.encoder(views))).chunk(2)
        with torch.no_grad():
            z_a, z_b = self.teacher(views).chunk(2)
        return regression_loss(p_a, z_b) + regression_loss(p_b, z_a)

    def after_step(self, progress: float) -> None:
        follow(self.teacher, self.encoder, self.projector, momentum=rising(self.momentum, progress))
