"""Random numbers of a batch of views, one for each image, always drawn on the CPU: the same on every device."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor


def uniform(generator: Generator, n: int, low: float, high: float) -> Float[Tensor, "n"]:
    return torch.rand(n, generator=generator) * (high - low) + low


def taken(generator: Generator, n: int, probability: float) -> Bool[Tensor, "n"]:
    """Which of n images a transform takes; nothing is drawn where it is all of them."""
    if probability >= 1:
        return torch.ones(n, dtype=torch.bool)
    return torch.rand(n, generator=generator) < probability
