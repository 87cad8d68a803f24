from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from src.methods.method import Method
from src.runtime import check


def cross_correlation(z_a: Float[Tensor, "n d"], z_b: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    """Correlation of every feature of one view with every feature of the other (arXiv 2103.03230, eq. 2)."""

    def standardise(z: Tensor) -> Tensor:
        # as the authors' code: biased variance, 1e-5 added to it
        return F.batch_norm(z, running_mean=None, running_var=None, training=True)

    return standardise(z_a).T @ standardise(z_b) / len(z_a)


def redundancy_reduction(c: Float[Tensor, "d d"], *, off_diagonal_weight: float) -> Float[Tensor, ""]:
    """sum_i (1 - c_ii)^2 + weight * sum_{i != j} c_ij^2 (arXiv 2103.03230, eq. 1)."""
    diagonal = c.diagonal()
    # without a d x d mask
    off_diagonal = c.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + off_diagonal_weight * off_diagonal


class BarlowTwins(Method):
    """Barlow Twins: the cross-correlation of two views' features is driven to the identity.

    Source: Zbontar et al., ICML 2021 (arXiv 2103.03230).
    """

    def __init__(
        self, encoder: nn.Module, *, projector: Callable[[int], nn.Module], off_diagonal_weight: float
    ) -> None:
        check.number("method.off_diagonal_weight", off_diagonal_weight, at_least=0)
        super().__init__(encoder, projector)
        self.off_diagonal_weight = off_diagonal_weight

    def forward(self, views: Float[Tensor, "views c h w"]) -> Float[Tensor, ""]:
        z_a, z_b = self.projector(self.encoder(views)).chunk(2)
        return redundancy_reduction(cross_correlation(z_a, z_b), off_diagonal_weight=self.off_diagonal_weight)
