"""Means over source images, which are the sampling unit, and percentile intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.runtime.records import Number, closed

Floats = NDArray[np.float64]


@closed
@dataclass(frozen=True)
class Estimate:
    """A mean over source images and its standard error."""

    value: Number
    error: Number


class Interval(NamedTuple):
    """The middle 95 % of draws."""

    low: Number
    high: Number


def by_group(correct: NDArray[np.bool_], group: NDArray[np.int64]) -> Floats:
    """Mean correctness of each source image, (samples,) -> (sources,)."""
    _, index, counts = np.unique(group, return_inverse=True, return_counts=True)
    return np.asarray(np.bincount(index, weights=correct / counts[index]), dtype=np.float64)


def accuracy(per_source: Floats) -> Estimate:
    """Mean over sources (n,) with its standard error; for paired comparisons pass a difference."""
    return Estimate(float(per_source.mean()), float(per_source.std(ddof=1) / np.sqrt(len(per_source))))


def interval(values: Floats) -> Interval | None:
    """The 95 % percentile interval of what is finite; None where nothing is."""
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return None
    low, high = np.percentile(finite, [2.5, 97.5])
    return Interval(float(low), float(high))
