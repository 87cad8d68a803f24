from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from src.methods.method import Method


def negative_cosine(p: Float[Tensor, "n d"], z: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Minus the mean cosine of predictions and targets, which pass no gradient (arXiv 2011.10566, eq. 1 and 3)."""
    return -F.cosine_similarity(p, z.detach(), dim=-1).mean()


class SimSiam(Method):
    """SimSiam: each view predicts the other's projection, whose gradient is stopped; no teacher, no negatives.

    Source: Chen & He, CVPR 2021 (arXiv 2011.10566), eq. 4.
    """

    def __init__(
        self, encoder: nn.Module, *, projector: Callable[[int], nn.Module], predictor: Callable[[int], nn.Module]
    ) -> None:
        super().__init__(encoder, projector)
        self.predictor = predictor(self.projector.dimension)  # type: ignore[arg-type]

    def forward(self, views: Float[Tensor, "views c h w"]) -> Float[Tensor, ""]:
        z = self.projector(self.encoder(views))
        (z_a, z_b), (p_a, p_b) = z.chunk(2), self.predictor(z).chunk(2)
        with torch.no_grad():
            spread = F.normalize(z, dim=-1).std(0).mean() * z.shape[1] ** 0.5
        self.diagnostics = {"spread": spread}  # 0 where z collapsed, 1 where isotropic (figure 2 of the paper)
        return negative_cosine(p_a, z_b) / 2 + negative_cosine(p_b, z_a) / 2
