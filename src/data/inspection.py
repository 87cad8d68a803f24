"""What is in the splits of a data set: duplicates within and across them, blank images, channel statistics."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from src.data.decode import BLANK_RANGE
from src.data.source import SPLITS, Source

CHUNK = 2048  # images in memory at a time
NEAR_BITS = 3  # of 64 that perceptual hashes of near duplicates may differ in; below 4, so that one band of 16 agrees
NEAR_CORRELATION = 0.98  # of their pixels; a hash alone takes simple images for each other
MOST_PAIRS = 20_000_000  # of candidates; more means images that are all alike
MOST_COMPARED = 10_000_000_000  # pairs of hashes: a minute


class Inspection(NamedTuple):
    """Images are numbered through the splits, in the order of SPLITS."""

    split: np.ndarray  # (n,) place in SPLITS
    blank: np.ndarray  # (n,) bool
    exact: np.ndarray  # (n,) cluster of identical images, -1 for those that are alone
    near: np.ndarray  # (n,) cluster of near duplicates, identical ones among them, -1 for those that are alone
    near_searched: bool  # False where so many images are alike that near duplicates weren't looked for

    def across(self, clusters: np.ndarray) -> np.ndarray:
        """Which clusters lie in more than one split."""
        member = clusters >= 0
        pairs = np.unique(np.stack([clusters[member], self.split[member]]), axis=1)
        found, splits = np.unique(pairs[0], return_counts=True)
        crossing: np.ndarray = found[splits > 1]
        return crossing


def inspect(splits: dict[str, Source]) -> Inspection:
    """Read every image once, in chunks, and the candidates for near duplicates once more."""
    whole = [splits[name] for name in SPLITS]
    split = np.repeat(np.arange(len(SPLITS)), [len(source.images) for source in whole])
    digests, hashes, blank = [], [], []
    for source in whole:
        for images in chunks(source):
            digests.append(np.array([_digest(image) for image in images], dtype=np.uint64))
            hashes.append(perceptual_hash(images))
            flat = images.reshape(*images.shape[:2], -1)
            blank.append((flat.max(2).astype(np.int16) - flat.min(2)).max(1) <= BLANK_RANGE)
    digest, nothing = np.concatenate(digests), np.concatenate(blank)
    _, first, number, count = np.unique(digest, return_index=True, return_inverse=True, return_counts=True)
    exact = np.where(count[number] > 1, number, -1)
    pairs = candidates(np.concatenate(hashes)[first])
    searched = pairs is not None
    if pairs is not None:
        pairs = first[pairs]
        pairs = pairs[~nothing[pairs].any(1)]
        pairs = pairs[_alike(whole, pairs)]
    near = _clusters(len(split), number, first, np.zeros((0, 2), np.int64) if pairs is None else pairs)
    return Inspection(split, nothing, exact, near, searched)


def chunks(source: Source) -> Iterator[np.ndarray]:
    for start in range(0, len(source.images), CHUNK):
        yield np.asarray(source.images[start : start + CHUNK])


def _digest(image: np.ndarray) -> int:
    return int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "big")


def perceptual_hash(images: np.ndarray) -> np.ndarray:
    """The difference hash (dHash) of each image: which of 8 x 8 places are darker than the one to their right.

    ``images``: uint8 (n, channels, height, width). Returns uint64 (n,).
    """
    gray = torch.from_numpy(images.astype(np.float32).mean(1, keepdims=True))
    small = F.interpolate(gray, size=(8, 9), mode="bilinear", antialias=True, align_corners=False)[:, 0]
    bits = (small[:, :, :-1] < small[:, :, 1:]).flatten(1).numpy()
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def candidates(hashes: np.ndarray) -> np.ndarray | None:
    """Pairs (m, 2) of places whose hashes differ in at most NEAR_BITS bits; None for images too much alike.

    Two such hashes agree in one of four bands of 16 bits at least, so that only those of one band are compared.
    """
    found, pairs, compared = [np.zeros((0, 2), np.int64)], 0, 0
    for band in range(4):
        key = (hashes >> np.uint64(16 * band)) & np.uint64(0xFFFF)
        order = np.argsort(key, kind="stable")
        end = np.searchsorted(key[order], key[order], side="right")
        first, step = np.arange(len(order)), 1
        while len(first := first[first + step < end[first]]):
            near = first[np.bitwise_count(hashes[order[first]] ^ hashes[order[first + step]]) <= NEAR_BITS]
            found.append(np.stack([order[near], order[near + step]], axis=1))
            pairs, compared, step = pairs + len(near), compared + len(first), step + 1
            if pairs > MOST_PAIRS or compared > MOST_COMPARED:
                return None
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def _alike(whole: list[Source], pairs: np.ndarray) -> np.ndarray:
    """Whether the pixels of each pair are correlated as those of one picture are."""
    ends = np.cumsum([0, *(len(source.images) for source in whole)])
    kept = [np.zeros(0, dtype=bool)]
    for start in range(0, len(pairs), CHUNK):
        part = pairs[start : start + CHUNK]
        kept.append(_correlation(_pick(whole, ends, part[:, 0]), _pick(whole, ends, part[:, 1])) >= NEAR_CORRELATION)
    return np.concatenate(kept)


def _pick(whole: list[Source], ends: np.ndarray, places: np.ndarray) -> np.ndarray:
    found = np.empty((len(places), *whole[0].images.shape[1:]), dtype=np.uint8)
    for number, source in enumerate(whole):
        mine = np.flatnonzero((places >= ends[number]) & (places < ends[number + 1]))
        found[mine] = source.images[places[mine] - ends[number]]
    return found


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    flat = [x.reshape(len(x), -1).astype(np.float32) for x in (a, b)]
    x, y = (values - values.mean(1, keepdims=True) for values in flat)
    scale = np.sqrt((x * x).sum(1) * (y * y).sum(1))
    return np.asarray((x * y).sum(1) / np.maximum(scale, 1e-6))


def _clusters(n: int, number: np.ndarray, first: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Connected components of identical images and near pairs, numbered from 0; -1 for an image on its own."""
    links = np.concatenate([np.stack([np.arange(n), first[number]], axis=1), pairs])
    graph = coo_array((np.ones(len(links), bool), (links[:, 0], links[:, 1])), shape=(n, n))
    _, component = connected_components(graph, directed=False)
    size = np.bincount(component)
    different, renumbered = np.unique(np.where(size[component] > 1, component, -1), return_inverse=True)
    return np.asarray(renumbered - int(different[0] == -1))
