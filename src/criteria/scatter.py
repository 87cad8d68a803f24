"""Scatter between images and within an image's views, which discriminant criteria share."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def check_views(name: str, e: Float[Tensor, "n v d"]) -> None:
    """Raise ValueError unless there are more images than features, and at least 2 views."""
    n, v, d = e.shape
    if n <= d or v < 2:
        raise ValueError(
            f"{name} needs more images than features and at least 2 views, got {n} images x {v} views x {d} features: "
            f"raise evaluation.{'images' if n <= d else 'views'}"
        )


def scatter(e: Float[Tensor, "n v d"]) -> tuple[Float[Tensor, "d d"], Float[Tensor, "d d"]]:
    """Covariance of the images' means (over n - 1) and of the views around them (over n (v - 1)), float64."""
    n, v, _ = e.shape
    e = e.double()
    image_mean = e.mean(1)
    between = image_mean - image_mean.mean(0)
    within = (e - image_mean[:, None]).flatten(0, 1)
    return between.T @ between / (n - 1), within.T @ within / (n * (v - 1))


def discriminant(s_b: Float[Tensor, "d d"], s_w: Float[Tensor, "d d"]) -> Float[Tensor, "d"]:
    """Eigenvalues of S_w^-1/2 S_b S_w^-1/2, ascending, not negative; S_w must be positive definite."""
    variance, axes = torch.linalg.eigh(s_w)
    # W' S_w W = 1, as for S_w^-1/2: all such W give the same eigenvalues
    whiten = axes / variance.sqrt()
    return torch.linalg.eigvalsh(whiten.T @ s_b @ whiten).clamp_min(0)


def signal_to_noise(name: str, e: Float[Tensor, "n v d"], *, ridge: float) -> Float[Tensor, "d"]:
    """Variance between images over variance within their views along the discriminant directions, in [0, inf).

    A mean of v views still holds 1/v of the variance within: taken off. ``ridge``, relative to the mean variance
    within, keeps directions without any variance at 0. Raises ValueError unless n > d and v > 1.
    """
    check_views(name, e)
    s_b, s_w = scatter(e)
    d, v = e.shape[2], e.shape[1]
    floor = ridge * (s_w.trace() / d).clamp_min(torch.finfo(torch.float64).tiny)
    return (discriminant(s_b, s_w + floor * torch.eye(d, dtype=s_w.dtype)) - 1 / v).clamp_min(0)
