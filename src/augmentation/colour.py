"""All linear colour changes of a view as one affine map per image."""

from __future__ import annotations

import math
from typing import Literal, TypedDict

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from src.augmentation.draws import taken, uniform

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as torchvision's grayscale
YIQ = (LUMA, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))  # NTSC 1953, FCC primaries


class Jitter(TypedDict):
    """How far factors may be from 1, and hue, in turns, from its own."""

    probability: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    hue_space: Literal["yiq", "hsv"]


class Grayscale(TypedDict):
    probability: float


def draw_colour(
    n: int, channels: int, *, jitter: Jitter, grayscale: Grayscale, generator: Generator
) -> tuple[Float[Tensor, "n c c"], Float[Tensor, "n"], Float[Tensor, "n"]]:
    """Draw brightness, contrast, saturation (factors in 1 -+ value, from 0 up), grayscale and hue (turns either way).

    Returns the matrix of y = matrix x + pivot * (mean luma of the image), the pivot, and the hue's turns. They are in
    the matrix where ``jitter.hue_space`` is yiq, an approximation (see turn_yiq); shift_hue turns exactly.
    """
    c = channels
    luma = _luma(c)

    def factor(spread: float) -> Tensor:
        # from 0 up: a negative factor would invert the image
        if spread > 1:
            return uniform(generator, n, 0, 1 + spread)
        return 1 + spread * (2 * torch.rand(n, generator=generator) - 1)

    spreads = jitter["brightness"], jitter["contrast"], jitter["saturation"]
    bright, sharp, vivid = map(factor, spreads)
    gray = torch.rand(n, generator=generator) < grayscale["probability"]
    turns = torch.zeros(n)
    if jitter["hue"] > 0:
        turns = uniform(generator, n, -jitter["hue"], jitter["hue"])
    jittered = taken(generator, n, jitter["probability"])
    bright, sharp, vivid = (torch.where(jittered, x, 1.0) for x in (bright, sharp, vivid))
    # grayscale is saturation 0, and a gray image has no hue to turn
    vivid, turns = torch.where(gray, 0.0, vivid), torch.where(jittered & ~gray, turns, 0.0)

    desaturate = vivid[:, None, None] * torch.eye(c) + (1 - vivid)[:, None, None] * luma.expand(c, c)
    matrix = (bright * sharp)[:, None, None] * desaturate
    if jitter["hue"] > 0 and jitter["hue_space"] == "yiq" and c == 3:
        matrix = turn_yiq(turns) @ matrix
    return matrix, (1 - sharp) * bright, turns


def turn_yiq(turns: Float[Tensor, "n"]) -> Float[Tensor, "n 3 3"]:
    """Hue as a rotation of the chrominance plane of YIQ: linear, keeps luma and leaves grays alone.

    Unlike HSV's hue it keeps neither the largest channel nor saturation.
    """
    to_yiq = torch.tensor(YIQ)
    cos, sin = (2 * math.pi * turns).cos(), (2 * math.pi * turns).sin()
    rotation = torch.zeros(len(turns), 3, 3)
    rotation[:, 0, 0] = 1
    rotation[:, 1, 1], rotation[:, 1, 2] = cos, sin
    rotation[:, 2, 1], rotation[:, 2, 2] = -sin, cos
    return torch.linalg.inv(to_yiq) @ rotation @ to_yiq


def apply_colour(
    images: Float[Tensor, "n c h w"], matrix: Float[Tensor, "n c c"], pivot: Float[Tensor, "n"]
) -> Float[Tensor, "n c h w"]:
    """y = matrix x + pivot * (mean luma of x) at every pixel, clamped to [0, 1] once."""
    matrix, pivot = matrix.to(images.device), pivot.to(images.device)
    c = images.shape[1]
    mean = images.mean((2, 3)) @ _luma(c).to(images.device)
    offset = (pivot * mean)[:, None].expand(-1, c)  # a gray offset is blind to saturation and hue
    if c == 1:
        mapped = images * matrix[:, :, :, None] + offset[:, :, None, None]
    else:
        mapped = torch.baddbmm(offset[:, :, None], matrix, images.flatten(2)).view_as(images)
    return mapped.clamp_(0, 1)


def shift_hue(images: Float[Tensor, "n 3 h w"], turns: Float[Tensor, "n"]) -> Float[Tensor, "n 3 h w"]:
    """Add to the hue of HSV, in turns; value and saturation stay.

    The usual definition has a case for whichever channel is the largest, and cases are slow on tensors.
    """
    red, green, blue = images.unbind(1)
    least = torch.minimum(torch.minimum(red, green), blue)
    chroma = torch.maximum(torch.maximum(red, green), blue) - least
    # Hue is counted in sextants from cyan, where red is the least: 0 at cyan, 3 or -3 at red, green's side negative.
    # The middle channel, green + blue - red - least wherever red isn't the middle, says how far from red it is:
    # -1 and below at red, where clamping takes over, 2 at cyan.
    from_red = (green + blue).sub_(red).sub_(least).div_(chroma.clamp_min(torch.finfo(images.dtype).tiny))
    hue = 6 * turns.to(images.device)[:, None, None] - torch.copysign(2 - from_red.clamp_(-1, 2), green - blue)
    hue.sub_(torch.round(hue / 6), alpha=6)
    # A channel has the whole chroma within one sextant of its own hue, none beyond two, and falls linearly between:
    # a trapezium around red (3 or -3), green (-1) and blue (1).
    shares = hue.abs().sub_(1), 2 - (hue + 1).abs_(), 2 - (hue - 1).abs_()
    found = torch.empty_like(images)
    for channel, share in enumerate(shares):
        torch.addcmul(least, chroma, share.clamp_(0, 1), out=found[:, channel])
    return found


def _luma(channels: int) -> Float[Tensor, "c"]:
    return torch.tensor(LUMA) if channels == 3 else torch.ones(channels) / channels
