from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def stable_rank(sigma: Float[Tensor, "k"]) -> float:
    """Sum of the squared singular values over the largest one; not centred; in [1, k], 0 for a zero matrix.

    Source: Tsitsulin et al., 2023 (arXiv 2305.16562).
    """
    squared = sigma.square()
    return float(squared.sum() / squared.amax().clamp_min(torch.finfo(sigma.dtype).tiny))
