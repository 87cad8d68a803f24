from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from src import check


def regression_loss(p: Float[Tensor, "n d"], z: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Mean squared distance between normalised predictions and targets (arXiv 2006.07733, eq. 2)."""
    return (2 - 2 * F.cosine_similarity(p, z, dim=-1)).mean()


class BYOL(nn.Module):
    """BYOL: the online network predicts how a slowly following teacher projects the other view; no negatives.

    Source: Grill et al., NeurIPS 2020 (arXiv 2006.07733), eq. 2-3; the teacher's momentum rises to 1 along a cosine.
    """

    views = 2

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector: Callable[[int], nn.Module],
        predictor: Callable[[int], nn.Module],
        momentum: float,
    ) -> None:
        check.number("method.momentum", momentum, at_least=0, at_most=1)
        super().__init__()
        self.encoder = encoder
        self.projector = projector(encoder.features)  # type: ignore[arg-type]
        self.predictor = predictor(self.projector.dimension)  # type: ignore[arg-type]
        self.teacher = copy.deepcopy(nn.Sequential(self.encoder, self.projector)).requires_grad_(False)
        self.momentum = momentum

    def forward(self, views: Float[Tensor, "views c h w"]) -> Float[Tensor, ""]:
        p_a, p_b = self.predictor(self.projector(self.encoder(views))).chunk(2)
        with torch.no_grad():
            z_a, z_b = self.teacher(views).chunk(2)
        return regression_loss(p_a, z_b) + regression_loss(p_b, z_a)

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Move the teacher towards the online network; ``progress`` is the fraction of training that is over."""
        momentum = 1 - (1 - self.momentum) * (math.cos(math.pi * progress) + 1) / 2
        online = nn.Sequential(self.encoder, self.projector).parameters()
        for theirs, ours in zip(self.teacher.parameters(), online, strict=True):
            theirs.lerp_(ours, 1 - momentum)
