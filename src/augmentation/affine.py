"""All geometry of a view as one affine map per image and one resampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

MOST_SHRINKING = 2.2  # the widest prefilter below has variance 1, enough for this factor
CROP_RATIO = 4 / 3


def draw_affine(
    n: int,
    *,
    crop: Sequence[float],
    scale: Sequence[float],
    rotate: float,
    translate: float,
    flip: float,
    generator: Generator,
) -> Float[Tensor, "n 2 3"]:
    """Draw, on the CPU, the maps from output to input coordinates, both in [-1, 1].

    ``crop``: smallest and largest area fraction, aspect ratio log-uniform in 3/4..4/3; ``scale``: enlargement,
    log-uniform; ``rotate``: radians either way; ``translate``: fraction of the image either way; ``flip``: its
    probability.
    """

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, generator=generator) * (high - low) + low

    area, log_ratio = uniform(*crop), uniform(-1, 1) * torch.tensor(CROP_RATIO).log() * float(crop[0] < 1)
    crop_w = (area * log_ratio.exp()).sqrt().clamp_max(1)
    crop_h = (area / log_ratio.exp()).sqrt().clamp_max(1)
    zoom = torch.exp(uniform(torch.tensor(scale[0]).log().item(), torch.tensor(scale[1]).log().item()))
    angle = uniform(-rotate, rotate)
    mirror = 1 - 2 * (torch.rand(n, generator=generator) < flip).float()
    centre_x, centre_y = uniform(-1, 1) * (1 - crop_w), uniform(-1, 1) * (1 - crop_h)
    shift_x, shift_y = 2 * uniform(-translate, translate), 2 * uniform(-translate, translate)
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    x_row = torch.stack([crop_w * mirror * cos, -crop_w * mirror * sin, centre_x - crop_w * shift_x], dim=-1)
    y_row = torch.stack([crop_h * sin, crop_h * cos, centre_y - crop_h * shift_y], dim=-1)
    return torch.stack([x_row, y_row], dim=1)


def prefilter(images: Float[Tensor, "n c h w"], shrinking: Float[Tensor, "n"]) -> Float[Tensor, "n c h w"]:
    """Low-pass each image for its own shrinking factor: a blend with the 5-tap binomial blur of variance 1.

    A blend of weight w has variance w; (factor^2 - 1) / 4 matches a Gaussian of half the output's pixel pitch.
    """
    weight = ((shrinking.square() - 1) / 4).clamp(0, 1)[:, None, None, None]
    if not bool((weight > 0).any()):
        return images
    h, w = images.shape[2:]
    blurred = _binomial(h, images.device) @ images @ _binomial(w, images.device).T
    return torch.lerp(images, blurred, weight.to(images.device))


@lru_cache(maxsize=4)
def _binomial(size: int, device: torch.device) -> Float[Tensor, "size size"]:
    """The blur (1, 4, 6, 4, 1) / 16 along one side as a banded matrix, borders replicated: faster than convolving."""
    matrix = torch.zeros(size, size)
    for offset, tap in zip(range(-2, 3), (1, 4, 6, 4, 1), strict=True):
        row = torch.arange(size)
        matrix.index_put_((row, (row + offset).clamp(0, size - 1)), torch.tensor(tap / 16), accumulate=True)
    return matrix.to(device)


def sampling_grid(theta: Float[Tensor, "n 2 3"], height: int, width: int) -> Float[Tensor, "n h w 2"]:
    """torch's affine_grid (align_corners=False) by broadcasting, which is faster for many small images."""
    x = (2 * torch.arange(width, device=theta.device) + 1) / width - 1
    y = (2 * torch.arange(height, device=theta.device) + 1) / height - 1
    column = theta[:, None, None, :, 0] * x[:, None]
    row = theta[:, None, None, :, 2] + theta[:, None, None, :, 1] * y[:, None, None]
    return column + row


def resample(
    images: Float[Tensor, "n c h w"], theta: Float[Tensor, "n 2 3"], *, size: tuple[int, int], padding: str
) -> Float[Tensor, "n c a b"]:
    """Apply one affine map per image with bilinear interpolation, prefiltered where fewer pixels come out of it."""
    fewer = math.sqrt(images.shape[2] * images.shape[3] / (size[0] * size[1]))
    shrinking = torch.linalg.det(theta[:, :, :2]).abs().sqrt() * fewer
    grid = sampling_grid(theta.to(images.device), *size)
    return F.grid_sample(prefilter(images, shrinking), grid, mode="bilinear", padding_mode=padding, align_corners=False)
