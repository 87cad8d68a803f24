from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def participation_ratio(h: Float[Tensor, "n d"]) -> float:
    """(sum lambda)^2 / sum lambda^2 over the eigenvalues of the centred covariance; in [1, d], 0 for constant rows.

    Computed from the covariance itself, tr(C)^2 / tr(C^2), so that nothing is decomposed.
    Source: Gao et al., A theory of multineuronal dimensionality, 2017.
    """
    centred = h.double() - h.double().mean(0)
    covariance = centred.T @ centred
    return float(covariance.trace() ** 2 / (covariance**2).sum().clamp_min(torch.finfo(torch.float64).tiny))
