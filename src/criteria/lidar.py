from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def lidar(e: Float[Tensor, "n v d"], *, delta: float, eps: float) -> float:
    """Effective rank of the linear discriminant between images, each image a class and its v views the samples.

    The eigenvalues of S_w^-1/2 S_b S_w^-1/2, S_w regularised by ``delta`` (absolute, hence not scale invariant).
    Raises ValueError unless n > d and v > 1. Source: Thilak et al., LiDAR, ICLR 2024 (arXiv 2312.04000), eq. 1-4.
    """
    n, v, d = e.shape
    if n <= d or v < 2:
        raise ValueError(
            f"lidar needs more images than features and at least 2 views, got {n} images x {v} views x {d} features: "
            "raise evaluation.images or evaluation.views"
        )
    e = e.double()
    image_mean = e.mean(1)
    between = image_mean - image_mean.mean(0)
    within = (e - image_mean[:, None]).flatten(0, 1)
    s_b = between.T @ between / (n - 1)
    s_w = within.T @ within / (n * (v - 1)) + delta * torch.eye(d, dtype=e.dtype)
    variance, axes = torch.linalg.eigh(s_w)
    whiten = axes / variance.sqrt()
    eigenvalues = torch.linalg.eigvalsh(whiten.T @ s_b @ whiten).clamp_min(0)
    p = eigenvalues / eigenvalues.sum().clamp_min(torch.finfo(e.dtype).tiny) + eps
    return float(torch.exp(-(p * p.log()).sum()))
