"""Duplicates that lie in more than one split."""

from __future__ import annotations

import numpy as np

from src.data.source import SPLITS, Source
from src.prepare.inspection import Inspection


def settle(splits: dict[str, Source], inspection: Inspection, policy: str) -> tuple[dict[str, Source], int]:
    """The splits after the policy, and how many images changed theirs.

    "move" takes every group with an image in such a cluster to the first split that the cluster is in. Raises
    ValueError where the policy is to refuse.
    """
    leaking = inspection.across(inspection.near)
    if policy == "list" or not len(leaking):
        return splits, 0
    if policy == "refuse":
        raise ValueError(
            f"{len(leaking)} pictures are in more than one split: data.leaks=list lists them, "
            "data.leaks=move moves them and their groups to one split"
        )
    target = _targets(splits, inspection, leaking)
    ends = np.cumsum([0, *(len(splits[name].images) for name in SPLITS)])
    moved = {}
    for number, name in enumerate(SPLITS):
        stays = target[ends[number] : ends[number + 1]] == number
        moved[name] = splits[name].take(np.flatnonzero(stays))
    for number, name in enumerate(SPLITS):
        for other_number, other in enumerate(SPLITS):
            own = target[ends[number] : ends[number + 1]]
            comes = np.flatnonzero(own == other_number)
            if other_number != number and len(comes):
                moved[other] = moved[other].join(splits[name].take(comes))
    empty = [name for name in SPLITS if not len(moved[name].images)]
    if empty:
        raise ValueError(f"moving duplicates leaves nothing in {empty[0]}: data.leaks=list leaves them where they are")
    return moved, int((target != inspection.split).sum())


def _targets(splits: dict[str, Source], inspection: Inspection, leaking: np.ndarray) -> np.ndarray:
    """The split of each image: the first of any that its group, or a picture of it, is linked to."""
    group = np.concatenate([splits[name].group for name in SPLITS])
    _, group = np.unique(group, return_inverse=True)
    leaks = np.isin(inspection.near, leaking)
    target = inspection.split.copy()
    # a moved group takes its other images along, whose duplicates then follow: until nothing moves
    while True:
        before = target
        target = _first(group, target)
        # images of no leak share cluster 0's place here, with a value that is never the smallest
        of_cluster = _first(np.where(leaks, inspection.near, 0), np.where(leaks, target, len(SPLITS)))
        target = np.where(leaks, of_cluster, target)
        if (target == before).all():
            return target


def _first(key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The smallest value among those of the same key."""
    smallest = np.full(key.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(smallest, key, value)
    return np.asarray(smallest[key])
