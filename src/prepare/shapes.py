from __future__ import annotations

from typing import NamedTuple

import numpy as np

from src.data.source import SPLITS, Source
from src.runtime import check

CLASSES = ("disc", "triangle", "square", "pentagon", "star", "cross", "ring", "crescent", "heart", "arrow")
TEXTURES = ("plain", "stripes", "checks", "dots")
CHUNK = 2000
SUPERSAMPLING = 2


def shapes(
    *,
    size: int,
    images: dict[str, int],
    scale: tuple[float, float],
    rotate: float,
    texture_contrast: tuple[float, float],
    background: float,
    noise: float,
    seed: int,
) -> dict[str, Source]:
    """Procedural colour images of one shape each, every factor drawn independently of the class and kept beside it.

    ``scale`` is the shape's radius as a fraction of half the image, ``rotate`` radians either way,
    ``texture_contrast`` how far stripes, checks or dots darken the shape, ``background`` the amplitude of a smooth
    random colour field, ``noise`` the standard deviation of Gaussian noise. Each image is its own group. Split and
    image index decide an image, so that more images only add to a split.
    """
    check.number("data.source.size", size, at_least=12, at_most=256, whole=True)
    check.interval("data.source.scale", scale, at_least=0.1, at_most=1)
    check.number("data.source.rotate", rotate, at_least=0, at_most=np.pi)
    check.interval("data.source.texture_contrast", texture_contrast, at_least=0, at_most=1)
    check.number("data.source.background", background, at_least=0, at_most=1)
    check.number("data.source.noise", noise, at_least=0, at_most=1)
    for split in images:
        check.choice("a key of data.source.images", split, SPLITS)
    check.number("data.source.seed", seed, at_least=0, whole=True)
    splits, first = {}, 0
    for number, (split, count) in enumerate(images.items()):
        check.number(f"data.source.images.{split}", count, at_least=len(CLASSES), whole=True)
        parts, drawn = [], []
        for chunk in range(-(-count // CHUNK)):
            rng = np.random.default_rng([seed, number, chunk])
            factors = _draw(rng, scale=scale, rotate=rotate, texture_contrast=texture_contrast)
            parts.append(_render(factors, rng, size=size, background=background, noise=noise))
            drawn.append(factors)
        columns = zip(*drawn, strict=True)
        labels = {name: np.concatenate(column)[:count] for name, column in zip(Factors._fields, columns, strict=True)}
        splits[split] = Source(
            images=np.concatenate(parts)[:count],
            group=np.arange(first, first + count),
            labels={"class": labels.pop("shape"), **{name: np.round(value, 6) for name, value in labels.items()}},
        )
        first += count
    return splits


class Factors(NamedTuple):
    """What an image shows, arrays (n,). Lengths are fractions of half the image, colours in [0, 1]."""

    shape: np.ndarray
    x: np.ndarray
    y: np.ndarray
    scale: np.ndarray
    angle: np.ndarray  # radians
    red: np.ndarray
    green: np.ndarray
    blue: np.ndarray
    texture: np.ndarray
    texture_contrast: np.ndarray
    texture_frequency: np.ndarray
    texture_angle: np.ndarray
    background_red: np.ndarray
    background_green: np.ndarray
    background_blue: np.ndarray


def _draw(
    rng: np.random.Generator, *, scale: tuple[float, float], rotate: float, texture_contrast: tuple[float, float]
) -> Factors:
    # a whole chunk, however few are asked for: more images leave the first ones as they were
    n = CHUNK
    radius = rng.uniform(*scale, n)
    colour, ground = rng.uniform(0, 1, (2, 3, n))
    close = np.abs(colour - ground).max(0) < 0.35  # a shape must be told from its ground
    ground[:, close] = (ground[:, close] + 0.5) % 1
    return Factors(
        shape=rng.integers(len(CLASSES), size=n),
        x=rng.uniform(-1, 1, n) * (1 - radius),
        y=rng.uniform(-1, 1, n) * (1 - radius),
        scale=radius,
        angle=rng.uniform(-rotate, rotate, n),
        red=colour[0],
        green=colour[1],
        blue=colour[2],
        texture=rng.integers(len(TEXTURES), size=n),
        texture_contrast=rng.uniform(*texture_contrast, n),
        texture_frequency=rng.uniform(4, 9, n),
        texture_angle=rng.uniform(0, np.pi, n),
        background_red=ground[0],
        background_green=ground[1],
        background_blue=ground[2],
    )


def _render(f: Factors, rng: np.random.Generator, *, size: int, background: float, noise: float) -> np.ndarray:
    """uint8 (n, 3, size, size), rendered at twice the size and averaged."""
    fine = size * SUPERSAMPLING
    pixel = (2 * np.arange(fine, dtype=np.float32) + 1) / fine - 1

    def column(value: np.ndarray) -> np.ndarray:
        return value.astype(np.float32)[:, None, None]

    dx, dy = pixel[None, None, :] - column(f.x), pixel[None, :, None] - column(f.y)
    cos, sin = np.cos(column(f.angle)), np.sin(column(f.angle))
    u, v = (cos * dx + sin * dy) / column(f.scale), (cos * dy - sin * dx) / column(f.scale)
    inside = np.zeros(u.shape, dtype=bool)
    for index, name in enumerate(CLASSES):
        chosen = f.shape == index
        inside[chosen] = _inside(name, u[chosen], v[chosen])
    along = column(f.texture_frequency) * (dx * np.cos(column(f.texture_angle)) + dy * np.sin(column(f.texture_angle)))
    across = column(f.texture_frequency) * (dy * np.cos(column(f.texture_angle)) - dx * np.sin(column(f.texture_angle)))
    a, b = np.sin(np.pi * along), np.sin(np.pi * across)
    pattern = np.select(
        [column(f.texture) == 1, column(f.texture) == 2, column(f.texture) == 3], [a > 0, a * b > 0, (a > 0) & (b > 0)]
    )
    shade = 1 - column(f.texture_contrast) * pattern
    colour = np.stack([f.red, f.green, f.blue], 1).astype(np.float32)[:, :, None, None]
    ground = np.stack([f.background_red, f.background_green, f.background_blue], 1).astype(np.float32)
    slope = rng.normal(0, background, (len(u), 3, 2)).astype(np.float32)
    field = ground[:, :, None, None] + slope[:, :, :1, None] * pixel[None, None, :, None]
    field = field + slope[:, :, 1:, None] * pixel[None, None, None, :]
    picture = np.where(inside[:, None], colour * shade[:, None], field)
    picture = picture.reshape(len(u), 3, size, SUPERSAMPLING, size, SUPERSAMPLING).mean((3, 5))
    picture += rng.normal(0, noise, picture.shape).astype(np.float32)
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)


def _inside(name: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Whether points (u, v), v downwards, lie in the shape of radius 1."""
    r, theta = np.hypot(u, v), np.arctan2(u, -v)
    if name == "disc":
        return r < 0.9
    if name == "ring":
        return (r < 1) & (r > 0.5)
    if name == "crescent":
        return (r < 1) & (np.hypot(u - 0.5, v) > 0.75)
    if name == "cross":
        return (np.maximum(np.abs(u), np.abs(v)) < 1) & (np.minimum(np.abs(u), np.abs(v)) < 0.33)
    if name == "heart":
        x, y = 1.2 * u, -1.2 * v + 0.1
        return (x**2 + y**2 - 0.8) ** 3 - x**2 * y**3 * 1.4 < 0
    if name == "arrow":
        head = (v > -1) & (v < 0.1) & (np.abs(u) < (v + 1) * 0.85)
        return head | ((np.abs(u) < 0.3) & (v >= 0.1) & (v < 1))
    if name == "star":
        return r < _polygon(theta, 5) * (1 - 0.55 * np.abs(((theta * 5 / np.pi) % 2) - 1)) / 0.81 * 0.95
    corners = {"triangle": 3, "square": 4, "pentagon": 5}[name]
    return r < _polygon(theta, corners)


def _polygon(theta: np.ndarray, corners: int) -> np.ndarray:
    """Distance from the centre to the border of a regular polygon with a corner at the top."""
    sector = np.pi / corners
    return np.cos(sector) / np.cos((theta % (2 * sector)) - sector)
