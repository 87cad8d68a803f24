from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def participation_ratio(eigenvalues: Float[Tensor, "d"]) -> float:
    """(sum lambda)^2 / sum lambda^2 over the centred covariance; in [1, d], 0 for constant rows.

    Source: Gao et al., A theory of multineuronal dimensionality, 2017.
    """
    squares = eigenvalues.square().sum().clamp_min(torch.finfo(eigenvalues.dtype).tiny)
    return float(eigenvalues.sum().square() / squares)
