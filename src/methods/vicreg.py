from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from src.methods.method import Method
from src.runtime import check

VARIANCE_EPS = 1e-4


def invariance(z_a: Float[Tensor, "n d"], z_b: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Mean squared difference of two views (arXiv 2105.04906, eq. 5, divided by d as in the authors' code)."""
    return F.mse_loss(z_a, z_b)


def variance(z: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Hinge that keeps every feature's standard deviation at 1 or above (arXiv 2105.04906, eq. 1-2)."""
    return F.relu(1 - torch.sqrt(z.var(0) + VARIANCE_EPS)).mean()


def covariance(z: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Sum of the squared off-diagonal covariances over d (arXiv 2105.04906, eq. 3-4)."""
    n, d = z.shape
    centred = z - z.mean(0)
    c = centred.T @ centred / (n - 1)
    return (c.square().sum() - c.diagonal().square().sum()) / d


class VICReg(Method):
    """VICReg: views agree (invariance) while features keep their variance and lose their correlation.

    Source: Bardes, Ponce & LeCun, ICLR 2022 (arXiv 2105.04906), eq. 6; both regularisers averaged over the two views
    as in the authors' code.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector: Callable[[int], nn.Module],
        invariance_weight: float,
        variance_weight: float,
        covariance_weight: float,
    ) -> None:
        check.number("method.invariance_weight", invariance_weight, at_least=0)
        check.number("method.variance_weight", variance_weight, at_least=0)
        check.number("method.covariance_weight", covariance_weight, at_least=0)
        super().__init__(encoder, projector)
        self.invariance_weight = invariance_weight
        self.variance_weight = variance_weight
        self.covariance_weight = covariance_weight

    def forward(self, views: Float[Tensor, "views c h w"]) -> Float[Tensor, ""]:
        z_a, z_b = self.projector(self.encoder(views)).chunk(2)
        return (
            self.invariance_weight * invariance(z_a, z_b)
            + self.variance_weight * (variance(z_a) + variance(z_b)) / 2
            + self.covariance_weight * (covariance(z_a) + covariance(z_b))
        )
