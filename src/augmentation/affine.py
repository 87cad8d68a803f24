"""All geometry of a view as one affine map per image and one resampling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

MOST_SHRINKING = 2.2  # the widest prefilter below has variance 1, enough for this factor
CROP_RATIO = 4 / 3


def draw_affine(
    n: int,
    *,
    crop: float,
    scale: Sequence[float],
    rotate: float,
    translate: float,
    flip: float,
    generator: Generator,
) -> Float[Tensor, "n 2 3"]:
    """Draw, on the CPU, the maps from output to input coordinates, both in [-1, 1].

    ``crop``: smallest area fraction, aspect ratio log-uniform in 3/4..4/3; ``scale``: enlargement, log-uniform;
    ``rotate``: radians either way; ``translate``: fraction of the image either way; ``flip``: its probability.
    """

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, generator=generator) * (high - low) + low

    area, log_ratio = uniform(crop, 1), uniform(-1, 1) * torch.tensor(CROP_RATIO).log() * float(crop < 1)
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
    c = images.shape[1]
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=images.device) / 16
    kernel = taps.expand(c, 1, 1, 5)
    padded = F.pad(images, (2, 2, 2, 2), mode="replicate")
    blurred = F.conv2d(F.conv2d(padded, kernel, groups=c), kernel.transpose(2, 3), groups=c)
    return torch.lerp(images, blurred, weight)


def resample(
    images: Float[Tensor, "n c h w"], theta: Float[Tensor, "n 2 3"], *, padding: str
) -> Float[Tensor, "n c h w"]:
    """Apply one affine map per image with bilinear interpolation, prefiltered where the map shrinks the image."""
    shrinking = torch.linalg.det(theta[:, :, :2]).abs().sqrt()
    theta = theta.to(images.device)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    smooth = prefilter(images, shrinking.to(images.device))
    return F.grid_sample(smooth, grid, mode="bilinear", padding_mode=padding, align_corners=False)
