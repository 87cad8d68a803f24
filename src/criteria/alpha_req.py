from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

FIRST_RANK = 11
LAST_RANK = 100
FEWEST_RANKS = 40


def alpha(h: Float[Tensor, "n d"]) -> float:
    """Exponent of the power-law decay of the centred covariance's eigenvalues.

    Weighted least squares of ln(lambda_j) on -ln(j) with weights 1/j over the ranks 11..min(100, d-1, n-1).
    Raises ValueError where fewer than 40 ranks remain. Source: Agrawal et al., alpha-ReQ, NeurIPS 2022.
    """
    n, d = h.shape
    last = min(LAST_RANK, d - 1, n - 1)
    if last - FIRST_RANK + 1 < FEWEST_RANKS:
        raise ValueError(
            f"alpha_req fits the ranks {FIRST_RANK}..{last} of {n} samples x {d} features and needs at least "
            f"{FEWEST_RANKS} of them: use at least {FIRST_RANK + FEWEST_RANKS} features and samples, or another one"
        )
    centred = h.double() - h.double().mean(0)
    eigenvalues = torch.linalg.eigvalsh(centred.T @ centred / (n - 1)).flip(0)[FIRST_RANK - 1 : last]
    rank = torch.arange(FIRST_RANK, last + 1, dtype=torch.float64)
    x, y, weight = -rank.log(), eigenvalues.clamp_min(torch.finfo(torch.float64).tiny).log(), 1 / rank
    x, y = x - (weight * x).sum() / weight.sum(), y - (weight * y).sum() / weight.sum()
    return float((weight * x * y).sum() / (weight * x * x).sum())


def alpha_req(h: Float[Tensor, "n d"]) -> float:
    """Distance of the eigenvalue decay from the ideal exponent 1: abs(alpha - 1), lower is better."""
    return abs(alpha(h) - 1)
