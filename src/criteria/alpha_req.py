from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from src.runtime import check


class AlphaReq(NamedTuple):
    value: float  # |alpha - 1|
    alpha: float
    first_rank: int
    last_rank: int
    r2: float  # of the fit, weighted like it


def alpha_req(eigenvalues: Float[Tensor, "d"], *, first_rank: int, last_rank: int, fewest_ranks: int) -> AlphaReq:
    """Distance |alpha - 1| of the centred covariance's eigenvalue decay j^-alpha from the ideal exponent 1; >= 0.

    Weighted least squares of ln lambda_j on -ln j with weights 1/j over the ranks first_rank..last_rank, cut at d - 1
    and at the last eigenvalue that isn't rounding error. The range can flip the sign, so it is returned with the R^2.
    Raises ValueError where fewer than ``fewest_ranks`` remain. Source: Agrawal et al., alpha-ReQ, NeurIPS 2022.
    """
    check.number("criterion.score.first_rank of alpha_req", first_rank, at_least=1, whole=True)
    check.number("criterion.score.fewest_ranks of alpha_req", fewest_ranks, at_least=2, whole=True)
    d = len(eigenvalues)
    # what isn't rounding error, as spectra.tolerance judges it
    nonzero = int((eigenvalues > eigenvalues[0] * d * torch.finfo(torch.float64).eps).sum())
    last = min(last_rank, d - 1, nonzero)
    if last - first_rank + 1 < fewest_ranks:
        raise ValueError(
            f"alpha_req fits the ranks {first_rank}..{last} of {d} eigenvalues, {nonzero} of them not zero, and needs "
            f"at least {fewest_ranks} ranks: use more features, raise evaluation.images, or choose another criterion"
        )
    rank = torch.arange(first_rank, last + 1, dtype=torch.float64)
    weight = 1 / rank
    x, y = -rank.log(), eigenvalues[first_rank - 1 : last].double().log()
    x, y = x - (weight * x).sum() / weight.sum(), y - (weight * y).sum() / weight.sum()
    alpha = (weight * x * y).sum() / (weight * x * x).sum()
    unexplained, total = (weight * (y - alpha * x).square()).sum(), (weight * y * y).sum()
    # a flat spectrum has nothing to explain
    r2 = 1 - unexplained / total.clamp_min(torch.finfo(torch.float64).tiny)
    return AlphaReq(abs(float(alpha) - 1), float(alpha), first_rank, last, float(r2))
