from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from src.data.source import SPLITS, Source
from src.runtime import check


def digits(
    *,
    size: int,
    copies: dict[str, int],
    sources: dict[str, int],
    enlarge: tuple[float, float],
    rotate: float,
    contrast: tuple[float, float],
    noise: float,
    seed: int,
) -> dict[str, Source]:
    """scikit-learn's 1,797 handwritten 8x8 digits, each placed on a ``size`` x ``size`` canvas at random.

    ``sources`` says how many different source digits each split gets (no digit in two splits), ``copies`` how often
    each is placed; ``enlarge`` is the digit's width as a fraction of the canvas, ``rotate`` radians either way,
    ``contrast`` the brightest pixel, ``noise`` the standard deviation of added Gaussian noise. The nuisance factors
    are kept beside the class. Source of the digits: Alpaydin & Kaynak, UCI, 1998.
    """
    check.number("data.source.size", size, at_least=8, at_most=256, whole=True)
    check.interval("data.source.enlarge", enlarge, at_least=0.1, at_most=1)
    check.number("data.source.rotate", rotate, at_least=0, at_most=np.pi)
    check.interval("data.source.contrast", contrast, at_least=0, at_most=1)
    check.number("data.source.noise", noise, at_least=0, at_most=1)
    check.number("data.source.seed", seed, at_least=0, whole=True)
    images8, classes = load_digits(return_X_y=True)
    images8 = (images8.reshape(-1, 8, 8) / 16).astype(np.float32)
    _check_counts(sources, copies, len(images8))
    rng = np.random.default_rng(seed)
    order = iter(np.split(rng.permutation(len(images8)), np.cumsum(list(sources.values()))))
    splits = {}
    for split in sources:
        index = np.repeat(next(order), copies[split])
        n = len(index)
        factor = {
            "width": rng.uniform(*enlarge, n),
            "angle": rng.uniform(-rotate, rotate, n),
            "x": rng.uniform(-1, 1, n),
            "y": rng.uniform(-1, 1, n),
            "contrast": rng.uniform(*contrast, n),
        }
        factor["x"] *= 1 - factor["width"]
        factor["y"] *= 1 - factor["width"]
        canvas = _place(images8[index], size, **factor)
        canvas += rng.normal(0, noise, canvas.shape)
        splits[split] = Source(
            images=(np.clip(canvas, 0, 1) * 255).round().astype(np.uint8)[:, None],
            group=index,
            labels={"class": classes[index], **{name: np.round(value, 6) for name, value in factor.items()}},
        )
    return splits


def _check_counts(sources: dict[str, int], copies: dict[str, int], digits: int) -> None:
    for split in sources:
        check.choice("a key of data.source.sources", split, SPLITS)
    check.keyed("data.source.copies", copies, tuple(sources))
    for split, count in sources.items():
        check.number(f"data.source.sources.{split}", count, at_least=1, whole=True)
        check.number(f"data.source.copies.{split}", copies[split], at_least=1, whole=True)
    if sum(sources.values()) > digits:
        raise ValueError(f"data.source.sources must add up to at most {digits} digits, got {sum(sources.values())}")


def _place(
    images: np.ndarray,
    size: int,
    *,
    width: np.ndarray,
    angle: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    contrast: np.ndarray,
) -> np.ndarray:
    """Render (n, 8, 8) digits on (n, size, size) canvases; x, y are the digit's centre in [-1, 1]."""
    cos, sin = np.cos(angle) / width, np.sin(angle) / width
    rows = [np.stack([cos, -sin, -(cos * x - sin * y)], -1), np.stack([sin, cos, -(sin * x + cos * y)], -1)]
    # grid_sample takes the inverse map, from the canvas to the digit
    theta = torch.from_numpy(np.stack(rows, 1)).float()
    grid = F.affine_grid(theta, [len(images), 1, size, size], align_corners=False)
    placed = F.grid_sample(torch.from_numpy(images)[:, None], grid, align_corners=False)[:, 0]
    return placed.double().numpy() * contrast[:, None, None]
