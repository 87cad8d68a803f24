from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def nesum(eigenvalues: Float[Tensor, "d"]) -> float:
    """Normalised eigenvalue sum, sum lambda / lambda_1 of the centred covariance; in [1, d], 0 for constant rows.

    Small where features collapse, d where they are whitened; the best lies between, so it has no direction.
    Source: He & Ozay, Exploring the gap between collapsed and whitened features, ICML 2022.
    """
    return float(eigenvalues.sum() / eigenvalues.amax().clamp_min(torch.finfo(eigenvalues.dtype).tiny))
