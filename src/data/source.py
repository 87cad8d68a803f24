from __future__ import annotations

from typing import NamedTuple

import numpy as np

SPLITS = ("pretrain", "probe", "val", "test")


class Source(NamedTuple):
    """One split as a data source delivers it."""

    images: np.ndarray  # uint8 (n, channels, height, width)
    group: np.ndarray  # int64 (n,): the source image, patient or video; the sampling unit, never in two splits
    labels: dict[str, np.ndarray]  # columns of length n: "class" (int) and any factors; empty without labels
    names: tuple[str, ...] = ()  # of the files they came from, for people who label a few by hand
