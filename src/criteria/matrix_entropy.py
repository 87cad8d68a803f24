from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def matrix_entropy(sigma: Float[Tensor, "k"]) -> float:
    """Von Neumann entropy of the Gram matrix over its trace, in nats; in [0, ln k], 0 for rank one.

    Not centred; the squared singular values are normalised, so exp of it is the effective rank of the spectrum that
    RankMe takes unsquared. Source: Skean et al., ICML 2025 (arXiv 2502.02013), the limit alpha -> 1.
    """
    squared = sigma.square()
    return float(torch.special.entr(squared / squared.sum().clamp_min(torch.finfo(sigma.dtype).tiny)).sum())
