"""What follows colour, for the images that a transform takes: blur, tone and holes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from src.augmentation.draws import uniform


def gaussian_blur(images: Float[Tensor, "n c h w"], sigma: Float[Tensor, "n"], reach: int) -> Float[Tensor, "n c h w"]:
    """Blur each image with its own standard deviation, in pixels.

    Kernels take in ``reach`` pixels on either side; borders reflect, which bounds it by the image's side - 1.
    """
    h, w = images.shape[2:]
    rows, columns = (_blurring(side, sigma, reach).to(images.device)[:, None] for side in (h, w))
    return rows @ images @ columns.mT


def _blurring(size: int, sigma: Float[Tensor, "n"], reach: int) -> Float[Tensor, "n size size"]:
    """Convolution along one side as a banded matrix for each image: faster than grouped convolutions."""
    offsets = torch.arange(-reach, reach + 1)
    # at 1e-3 the middle tap has all the weight: sigma 0 leaves the image as it is
    taps = torch.exp(-0.5 * (offsets / sigma.clamp_min(1e-3)[:, None]).square())
    taps = taps / taps.sum(1, keepdim=True)
    column = torch.arange(size)[:, None] + offsets
    column = (size - 1) - ((size - 1) - column.abs()).abs()  # reflected at both borders, which aren't repeated
    matrix = torch.zeros(len(sigma), size, size)
    index = column.expand(len(sigma), -1, -1)
    return matrix.scatter_add_(2, index, taps[:, None].expand(-1, size, -1))


def solarize(images: Float[Tensor, "n c h w"], threshold: float) -> Float[Tensor, "n c h w"]:
    """Invert values at or above the threshold."""
    return torch.where(images >= threshold, 1 - images, images)


def posterize(images: Float[Tensor, "n c h w"], bits: int) -> Float[Tensor, "n c h w"]:
    """Keep 2^bits levels."""
    levels = 2**bits
    return (images * levels).floor_().clamp_(0, levels - 1).div_(levels)


def draw_boxes(
    n: int, height: int, width: int, *, area: Sequence[float], ratio: Sequence[float], generator: Generator
) -> Int[Tensor, "n 4"]:
    """Top, left, height and width of rectangles inside the image, in pixels.

    ``area``: share of the image's, uniform; ``ratio``: height over width, log-uniform (Random Erasing, arXiv
    1708.04896, equation 1). Sides longer than the image's are cut.
    """
    share = uniform(generator, n, *area) * height * width
    shape = torch.exp(uniform(generator, n, math.log(ratio[0]), math.log(ratio[1])))
    h = (share * shape).sqrt().round().clamp_max(height)
    w = (share / shape).sqrt().round().clamp_max(width)
    top = torch.floor(torch.rand(n, generator=generator) * (height - h + 1))
    left = torch.floor(torch.rand(n, generator=generator) * (width - w + 1))
    return torch.stack([top, left, h, w], dim=1).long()


def erase(images: Float[Tensor, "n c h w"], boxes: Int[Tensor, "n 4"]) -> Float[Tensor, "n c h w"]:
    """Fill each image's rectangle with its mean colour."""
    top, left, h, w = (side[:, None] for side in boxes.to(images.device).unbind(1))
    row = torch.arange(images.shape[2], device=images.device)
    column = torch.arange(images.shape[3], device=images.device)
    rows, columns = (row >= top) & (row < top + h), (column >= left) & (column < left + w)
    hole = rows[:, None, :, None] & columns[:, None, None, :]
    return torch.where(hole, images.mean((2, 3), keepdim=True), images)


def draw_hidden(n: int, *, grid: int, share: float, generator: Generator) -> Bool[Tensor, "n grid grid"]:
    """Which of grid x grid patches are hidden: the same share of each image's, drawn afresh for each."""
    order = torch.rand(n, grid * grid, generator=generator).argsort(1).argsort(1)
    return (order < round(share * grid * grid)).view(n, grid, grid)


def mask_patches(images: Float[Tensor, "n c h w"], hidden: Bool[Tensor, "n grid grid"]) -> Float[Tensor, "n c h w"]:
    """Fill the hidden patches of each image with its mean colour."""
    h, w = images.shape[2:]
    grid = hidden.shape[1]
    row, column = torch.arange(h) * grid // h, torch.arange(w) * grid // w
    hole = hidden[:, row][:, :, column][:, None].to(images.device)
    return torch.where(hole, images.mean((2, 3), keepdim=True), images)
