from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Shaped, UInt8

SPLITS = ("pretrain", "probe", "val", "test")


class Rows:
    """Some rows of a .npy file, read when they are asked for: unlike a memory map it never fills memory."""

    def __init__(self, path: Path, index: Int[np.ndarray, "n"] | None = None) -> None:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        self.path, self.index = path, np.arange(len(mapped)) if index is None else index
        self.shape = (len(self.index), *mapped.shape[1:])
        self._offset, self._bytes = int(mapped.offset), int(np.prod(mapped.shape[1:]))

    def __len__(self) -> int:
        return len(self.index)

    @property
    def nbytes(self) -> int:
        return len(self) * self._bytes

    def __getitem__(self, key: slice | Int[np.ndarray, "n"]) -> UInt8[np.ndarray, "n c h w"]:
        """Raises OSError where the file has been cut short."""
        wanted = self.index[key]
        found = np.empty((len(wanted), *self.shape[1:]), dtype=np.uint8)
        # neighbours in the file are read at once; -2 is nobody's neighbour, so that index 0 begins a run too
        runs = np.flatnonzero(np.diff(wanted, prepend=-2) != 1)
        with self.path.open("rb") as file:
            for first, last in pairwise([*runs, len(wanted)]):
                target, offset = found[first:last].data, self._offset + int(wanted[first]) * self._bytes
                if os.preadv(file.fileno(), [target], offset) != target.nbytes:
                    raise OSError(0, "ends before its last image", str(self.path))
        return found

    def take(self, index: Int[np.ndarray, "n"]) -> Rows:
        return Rows(self.path, self.index[index])


class Source(NamedTuple):
    """One split as a data source delivers it."""

    images: UInt8[np.ndarray, "n c h w"] | Rows
    group: Int[np.ndarray, "n"]  # the source image, patient or video; the sampling unit, never in two splits
    labels: dict[str, Shaped[np.ndarray, "n"]]  # "class" (whole numbers) and any factors; empty without labels
    names: tuple[str, ...] = ()  # of the files they came from, for people who label a few by hand
    sizes: Int[np.ndarray, "n 2"] | None = None  # width and height of those files' images
    class_names: tuple[str, ...] = ()

    def take(self, index: Int[np.ndarray, "m"]) -> Source:
        """Some of the images, in another order."""
        images = self.images.take(index) if isinstance(self.images, Rows) else self.images[index]
        return self._replace(
            images=images,
            group=self.group[index],
            labels={name: column[index] for name, column in self.labels.items()},
            names=tuple(self.names[place] for place in index) if self.names else (),
            sizes=None if self.sizes is None else self.sizes[index],
        )

    def join(self, other: Source) -> Source:
        """This split's images and then another's of the same data set."""
        if isinstance(self.images, Rows) and isinstance(other.images, Rows):
            images: UInt8[np.ndarray, "m c h w"] | Rows = Rows(
                self.images.path, np.concatenate([self.images.index, other.images.index])
            )
        else:
            images = np.concatenate([self.images[:], other.images[:]])
        known = {name for name in self.labels if name in other.labels}
        return self._replace(
            images=images,
            group=np.concatenate([self.group, other.group]),
            labels={name: np.concatenate([self.labels[name], other.labels[name]]) for name in known},
            names=self.names + other.names,
            sizes=None if self.sizes is None or other.sizes is None else np.concatenate([self.sizes, other.sizes]),
        )


class DataSet(NamedTuple):
    """The splits, and the files that are in none of them."""

    splits: dict[str, Source]
    skipped: Sequence[tuple[str, str]] = ()  # name, why


def numbered(values: list[str]) -> tuple[Int[np.ndarray, "n"], tuple[str, ...]]:
    """Numbers from 0 for the different values, whole numbers in their own order, and what each number stands for."""
    different = sorted(set(values), key=_rank)
    number = {value: place for place, value in enumerate(different)}
    return np.array([number[value] for value in values], dtype=np.int64), tuple(different)


def _rank(value: str) -> tuple[int, int, str, str]:
    """Whole numbers by length, then digits: of any length, unlike int()."""
    digits = value.lstrip("0")
    return (0, len(digits), digits, value) if value.isdecimal() else (1, 0, value, value)
