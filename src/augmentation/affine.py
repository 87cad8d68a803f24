"""All geometry of a view as one affine map per image and one resampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TypedDict

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

from src.augmentation.draws import taken, uniform

MOST_SHRINKING = 4.0  # of a side; beyond it, prefiltering would cost more than it saves
CROP_RATIO = 4 / 3


class Crop(TypedDict):
    probability: float
    area: Sequence[float]  # lowest and highest share of the image's


class Scale(TypedDict):
    probability: float
    factor: Sequence[float]  # lowest and highest


class Turn(TypedDict):
    """A rotation or a shear: at most this far, either way."""

    probability: float
    radians: float


class Translate(TypedDict):
    probability: float
    fraction: float  # of the side, at most, either way


class Flip(TypedDict):
    """Probabilities."""

    horizontal: float
    vertical: float


class Geometry(TypedDict):
    crop: Crop
    scale: Scale
    rotate: Turn
    shear: Turn
    translate: Translate
    flip: Flip


def draw_affine(
    n: int,
    *,
    crop: Crop,
    scale: Scale,
    rotate: Turn,
    shear: Turn,
    translate: Translate,
    flip: Flip,
    generator: Generator,
) -> Float[Tensor, "n 2 3"]:
    """Draw, on the CPU, the maps from output to input coordinates of square images, both in [-1, 1].

    An image is sheared, turned and enlarged, flipped, and cropped, as conf/augmentation/identity.yaml says of each.
    """
    area = uniform(generator, n, *crop["area"])
    log_ratio = uniform(generator, n, -1, 1) * torch.tensor(CROP_RATIO).log() * float(crop["area"][0] < 1)
    zoom = torch.exp(uniform(generator, n, *(torch.tensor(bound).log().item() for bound in scale["factor"])))
    angle = uniform(generator, n, -rotate["radians"], rotate["radians"])
    mirror = 1 - 2 * (torch.rand(n, generator=generator) < flip["horizontal"]).float()
    place_x, place_y = uniform(generator, n, -1, 1), uniform(generator, n, -1, 1)
    reach = 2 * translate["fraction"]
    shift_x, shift_y = uniform(generator, n, -reach, reach), uniform(generator, n, -reach, reach)
    # drawn only where asked for, like the shear: recipes without them draw what they always drew
    upset = torch.ones(n)
    if flip["vertical"] > 0:
        upset = 1 - 2 * (torch.rand(n, generator=generator) < flip["vertical"]).float()
    skew = torch.zeros(n)
    if shear["radians"] > 0:
        skew = uniform(generator, n, -shear["radians"], shear["radians"]).tan()
        skew = torch.where(taken(generator, n, shear["probability"]), skew, 0.0)
    cropped = taken(generator, n, crop["probability"])
    area, log_ratio = torch.where(cropped, area, 1.0), torch.where(cropped, log_ratio, 0.0)
    zoom = torch.where(taken(generator, n, scale["probability"]), zoom, 1.0)
    angle = torch.where(taken(generator, n, rotate["probability"]), angle, 0.0)
    moved = taken(generator, n, translate["probability"])
    shift_x, shift_y = torch.where(moved, shift_x, 0.0), torch.where(moved, shift_y, 0.0)

    # a side that would be longer than the image's is cut
    crop_w = (area * log_ratio.exp()).sqrt().clamp_max(1)
    crop_h = (area / log_ratio.exp()).sqrt().clamp_max(1)
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    x_row = [mirror * crop_w * cos, mirror * crop_w * (skew * cos - sin), place_x * (1 - crop_w) - crop_w * shift_x]
    y_row = [upset * crop_h * sin, upset * crop_h * (skew * sin + cos), place_y * (1 - crop_h) - crop_h * shift_y]
    return torch.stack([torch.stack(x_row, dim=-1), torch.stack(y_row, dim=-1)], dim=1)


def prefilter(images: Float[Tensor, "n c h w"], shrinking: Float[Tensor, "n"]) -> Float[Tensor, "n c h w"]:
    """Low-pass each image for its own shrinking factor: blends with the 5-tap binomial blur of variance 1.

    A blend of weight w has variance w, and variances add up to (factor^2 - 1) / 4, which matches a Gaussian of half the
    output's pixel pitch.
    """
    variance = ((shrinking.square() - 1) / 4)[:, None, None, None]
    h, w = images.shape[2:]
    # variance stays on the CPU: asking a GPU would wait for it
    while bool((variance > 0).any()):
        blurred = _binomial(h, images.device) @ images @ _binomial(w, images.device).T
        images = torch.lerp(images, blurred, variance.clamp(0, 1).to(images.device))
        variance = variance - 1
    return images


@lru_cache(maxsize=4)
def _binomial(size: int, device: torch.device) -> Float[Tensor, "size size"]:
    """The blur (1, 4, 6, 4, 1) / 16 along one side as a banded matrix, borders replicated: faster than convolving."""
    matrix = torch.zeros(size, size)
    for offset, tap in zip(range(-2, 3), (1, 4, 6, 4, 1), strict=True):
        row = torch.arange(size)
        matrix.index_put_((row, (row + offset).clamp(0, size - 1)), torch.tensor(tap / 16), accumulate=True)
    return matrix.to(device)


def sampling_grid(theta: Float[Tensor, "n 2 3"], height: int, width: int) -> Float[Tensor, "n h w 2"]:
    """torch's affine_grid (align_corners=False) by broadcasting, one coordinate after the other in memory: faster."""
    x = (2 * torch.arange(width, device=theta.device) + 1) / width - 1
    y = (2 * torch.arange(height, device=theta.device) + 1) / height - 1
    column = theta[:, :, None, None, 0] * x
    row = theta[:, :, None, None, 2] + theta[:, :, None, None, 1] * y[:, None]
    return (column + row).permute(0, 2, 3, 1)


def resample(
    images: Float[Tensor, "n c h w"], theta: Float[Tensor, "n 2 3"], *, size: tuple[int, int], padding: str
) -> Float[Tensor, "n c a b"]:
    """Apply one affine map per image with bilinear interpolation, prefiltered where fewer pixels come out of it."""
    fewer = math.sqrt(images.shape[2] * images.shape[3] / (size[0] * size[1]))
    shrinking = torch.linalg.det(theta[:, :, :2]).abs().sqrt() * fewer
    grid = sampling_grid(theta.to(images.device), *size)
    return F.grid_sample(prefilter(images, shrinking), grid, mode="bilinear", padding_mode=padding, align_corners=False)
