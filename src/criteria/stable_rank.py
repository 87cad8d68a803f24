from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def stable_rank(h: Float[Tensor, "n d"]) -> float:
    """Sum of the squared singular values over the largest one; not centred; in [1, min(n, d)], 0 for a zero matrix.

    Source: Tsitsulin et al., 2023 (arXiv 2305.16562).
    """
    squared = torch.linalg.svdvals(h.double()) ** 2
    return float(squared.sum() / squared[0].clamp_min(torch.finfo(squared.dtype).tiny))
