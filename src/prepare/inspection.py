"""What is in the splits of a data set: duplicates within and across them, blank images, channel statistics."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from itertools import chain
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, UInt8
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from src.data.source import SPLITS, Source
from src.prepare.decode import BLANK_RANGE

CHUNK = 2048  # images in memory at a time
NEAR_CORRELATION = 0.98  # of the pixels of near duplicates
NEAR_RMSE = 0.06  # at most, on values from 0 to 1: the same scene in another light is another picture
THUMBNAIL, AXES = 8, 12  # side of the thumbnails that are compared first, and how many of their principal axes are
SAMPLE = 5000  # images that the principal axes are computed from
NEAR_THUMBNAIL = 0.08  # largest distance of their thumbnails: saving a picture again hardly changes these
MOST_PAIRS = 20_000_000  # candidates compared; more of them means images that are all alike


class Inspection(NamedTuple):
    """Images are numbered through the splits, in the order of SPLITS."""

    split: Int[np.ndarray, "n"]  # place in SPLITS
    blank: Bool[np.ndarray, "n"]
    exact: Int[np.ndarray, "n"]  # cluster of identical images, -1 for those that are alone
    near: Int[np.ndarray, "n"]  # cluster of near duplicates, identical ones among them, -1 for those that are alone
    near_searched: bool  # False where so many images are alike that near duplicates weren't looked for

    def across(self, clusters: Int[np.ndarray, "n"]) -> Int[np.ndarray, "clusters"]:
        """Which clusters lie in more than one split."""
        member = clusters >= 0
        pairs = np.unique(np.stack([clusters[member], self.split[member]]), axis=1)
        different, splits = np.unique(pairs[0], return_counts=True)
        return different[splits > 1]


def inspect(splits: dict[str, Source]) -> Inspection:
    """Read every image once, in chunks, and the candidates for near duplicates once more."""
    whole = [splits[name] for name in SPLITS]
    split = np.repeat(np.arange(len(SPLITS)), [len(source.images) for source in whole])
    axes = _principal_axes(whole)
    digests, points, blank = [], [], []
    for source in whole:
        for images in chunks(source):
            digests.append(np.array([_digest(image) for image in images], dtype=np.uint64))
            points.append(thumbnails(images) @ axes)
            flat = images.reshape(*images.shape[:2], -1)
            blank.append((flat.max(2).astype(np.int16) - flat.min(2)).max(1) <= BLANK_RANGE)
    digest, nothing = np.concatenate(digests), np.concatenate(blank)
    _, first, number, count = np.unique(digest, return_index=True, return_inverse=True, return_counts=True)
    exact = np.where(count[number] > 1, number, -1)
    # blank images are all near each other, whatever they should have shown
    different = first[~nothing[first]]
    pairs = _near_pairs(whole, different, np.concatenate(points)[different])
    near = _clusters(len(split), number, first, np.zeros((0, 2), np.int64) if pairs is None else pairs)
    return Inspection(split, nothing, exact, near, pairs is not None)


def chunks(source: Source) -> Iterator[UInt8[np.ndarray, "n c h w"]]:
    for start in range(0, len(source.images), CHUNK):
        yield np.asarray(source.images[start : start + CHUNK])


def _digest(image: UInt8[np.ndarray, "c h w"]) -> int:
    # 64 bits: the chance that any two of a million images collide is 3e-8
    return int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "big")


def thumbnails(images: UInt8[np.ndarray, "n c h w"]) -> Float32[np.ndarray, "n pixels"]:
    """Thumbnails, each with mean 0 and norm 1, so that 1 - d^2 / 2 is the correlation of two at distance d.

    Flat, of c * THUMBNAIL^2 pixels; 0 without contrast.
    """
    rows, columns = (_triangles(side) for side in images.shape[2:])
    small = (rows @ images.astype(np.float32) @ columns.T).reshape(len(images), -1)
    small -= small.mean(1, keepdims=True)
    # of a flat image only rounding is left, which isn't blown up to norm 1
    return np.asarray(small / np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-3))


@cache
def _triangles(side: int) -> np.ndarray:
    """(THUMBNAIL, side): weights that shrink a side bilinearly, each pixel counted once."""
    step = side / THUMBNAIL
    centre, pixel = (np.arange(THUMBNAIL)[:, None] + 0.5) * step, np.arange(side) + 0.5
    # at least a pixel wide: sides shorter than the thumbnail are interpolated
    weights = np.maximum(1 - np.abs(pixel - centre) / max(step, 1), 0)
    return np.asarray(weights / weights.sum(1, keepdims=True), dtype=np.float32)


def _principal_axes(whole: list[Source]) -> np.ndarray:
    """(channels * THUMBNAIL^2, AXES) of thumbnails spread over the data set."""
    ends = np.cumsum([0, *(len(source.images) for source in whole)])
    places = np.unique(np.linspace(0, ends[-1] - 1, SAMPLE).astype(np.int64))
    sample = thumbnails(_pick(whole, ends, places))
    return np.asarray(np.linalg.svd(sample - sample.mean(0), full_matrices=False)[2][:AXES].T)


def _near_pairs(whole: list[Source], places: np.ndarray, points: np.ndarray) -> np.ndarray | None:
    """Pairs of places whose pictures are near duplicates; None for images too much alike to look through them all.

    ``points`` (n, AXES): a projection shortens distances, so that no pair of near thumbnails is missed among them.
    """
    if len(places) < 2:
        return np.zeros((0, 2), np.int64)
    tree = cKDTree(points)
    ends = np.cumsum([0, *(len(source.images) for source in whole)])
    pairs, compared = [np.zeros((0, 2), np.int64)], 0
    for start in range(0, len(points), CHUNK):
        mine = tree.indices[start : start + CHUNK]  # neighbours follow each other: a third less time
        # counted before they are listed: most images are alone, and lists of images all alike would fill memory
        near = tree.query_ball_point(points[mine], NEAR_THUMBNAIL, return_length=True, workers=-1)
        compared += int(near.sum()) - len(mine)
        if compared > 2 * MOST_PAIRS:  # each pair counts from either side
            return None
        mine = mine[near > 1]  # itself among them
        others = tree.query_ball_point(points[mine], NEAR_THUMBNAIL, workers=-1)
        a = np.repeat(mine, [len(other) for other in others])
        b = np.fromiter(chain.from_iterable(others), dtype=np.int64)
        a, b = a[a < b], b[a < b]
        for part in range(0, len(a), CHUNK):
            pair = places[np.stack([a[part : part + CHUNK], b[part : part + CHUNK]], axis=1)]
            pairs.append(pair[_alike(_pick(whole, ends, pair[:, 0]), _pick(whole, ends, pair[:, 1]))])
    return np.concatenate(pairs)


def _pick(whole: list[Source], ends: np.ndarray, places: np.ndarray) -> np.ndarray:
    picked = np.empty((len(places), *whole[0].images.shape[1:]), dtype=np.uint8)
    for number, source in enumerate(whole):
        mine = np.flatnonzero((places >= ends[number]) & (places < ends[number + 1]))
        picked[mine] = source.images[places[mine] - ends[number]]
    return picked


def _alike(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether each pair of images shows one picture in one light."""
    x, y = (images.reshape(len(images), -1).astype(np.float32) / 255 for images in (a, b))
    rmse = np.sqrt(np.square(x - y).mean(1))
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    scale = np.sqrt((x * x).sum(1) * (y * y).sum(1))
    # multiplied out: an image without contrast has scale 0
    return np.asarray(((x * y).sum(1) >= NEAR_CORRELATION * scale) & (rmse <= NEAR_RMSE))


def _clusters(n: int, number: np.ndarray, first: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Connected components of identical images and near pairs, numbered from 0; -1 for an image on its own."""
    links = np.concatenate([np.stack([np.arange(n), first[number]], axis=1), pairs])
    graph = coo_array((np.ones(len(links), bool), (links[:, 0], links[:, 1])), shape=(n, n))
    _, component = connected_components(graph, directed=False)
    size = np.bincount(component)
    different, renumbered = np.unique(np.where(size[component] > 1, component, -1), return_inverse=True)
    return np.asarray(renumbered - int(different[0] == -1))
