from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from src.criteria.scatter import check_views, discriminant, scatter
from src.runtime import check


def lidar(e: Float[Tensor, "n v d"], *, delta: float, eps: float) -> float:
    """Effective rank of the linear discriminant between images, each image a class and its v views the samples.

    exp of the entropy of the eigenvalues of S_w^-1/2 S_b S_w^-1/2, in [1, d] up to ``eps``; S_w is regularised by
    ``delta``, which is absolute, hence not scale invariant.
    Raises ValueError unless n > d and v > 1. Source: Thilak et al., LiDAR, ICLR 2024 (arXiv 2312.04000), eq. 1-4.
    """
    check.number("criterion.score.delta of lidar", delta, above=0)
    check.number("criterion.score.eps of lidar", eps, at_least=0)
    check_views("lidar", e)
    s_b, s_w = scatter(e)
    eigenvalues = discriminant(s_b, s_w + delta * torch.eye(e.shape[2], dtype=s_w.dtype))
    # eps after normalising, as published; where all images coincide there is nothing to divide by
    p = eigenvalues / eigenvalues.sum().clamp_min(torch.finfo(eigenvalues.dtype).tiny) + eps
    return float(torch.special.entr(p).sum().exp())
