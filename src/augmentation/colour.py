"""All colour changes of a view as one affine map per image."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Generator, Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as torchvision's grayscale


def draw_colour(
    mean: Float[Tensor, "n c"],
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    grayscale: float,
    generator: Generator,
) -> tuple[Float[Tensor, "n c c"], Float[Tensor, "n c"]]:
    """Draw brightness, contrast, saturation (factors in 1 -+ value) and grayscale (probability), in this order.

    ``mean`` is each image's mean colour, on the CPU; contrast pivots on the mean luma, which is carried through the
    chain. Returns the matrix and offset of y = matrix x + offset.
    """
    n, c = mean.shape
    luma = torch.tensor(LUMA) if c == 3 else torch.ones(c) / c

    def factor(spread: float) -> Tensor:
        return 1 + spread * (2 * torch.rand(n, generator=generator) - 1)

    bright, sharp, vivid = factor(brightness), factor(contrast), factor(saturation)
    vivid = torch.where(torch.rand(n, generator=generator) < grayscale, torch.zeros(n), vivid)
    gray = luma.expand(c, c)
    desaturate = vivid[:, None, None] * torch.eye(c) + (1 - vivid)[:, None, None] * gray
    matrix = (bright * sharp)[:, None, None] * desaturate
    offset = ((1 - sharp) * bright * (mean @ luma))[:, None].expand(n, c)  # a gray offset is blind to saturation
    return matrix, offset


def apply_colour(
    images: Float[Tensor, "n c h w"], matrix: Float[Tensor, "n c c"], offset: Float[Tensor, "n c"]
) -> Float[Tensor, "n c h w"]:
    """y = matrix x + offset at every pixel, clamped to [0, 1] once."""
    matrix, offset = matrix.to(images.device), offset.to(images.device)
    if images.shape[1] == 1:
        mapped = images * matrix[:, :, :, None] + offset[:, :, None, None]
    else:
        mapped = torch.baddbmm(offset[:, :, None], matrix, images.flatten(2)).view_as(images)
    return mapped.clamp_(0, 1)
