"""A pool as it is judged: trials grouped into configurations, and samples of them, their seeds and val's source images.

Configurations, their seeds and the source images of val are resampled together (hierarchical bootstrap).
Arrays: b draws, c configurations, t trials.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.study.pool import Floats, TrialResult

# How many digits of a mean count: processors add in different orders, which changes the sixteenth, and two equal
# configurations must tie on all of them.
DIGITS = 12


class ResampledPool(NamedTuple):
    """The trials that are judged, grouped into configurations, with their quality on every source image."""

    trials: list[TrialResult]
    configuration: NDArray[np.int64]  # (t,) which configuration each belongs to
    right: Floats  # (t, sources)

    @property
    def configurations(self) -> int:
        return int(self.configuration.max()) + 1

    def means(self, values: Floats) -> Floats:
        """(t, ...) -> (c, ...): the mean over seeds."""
        member = (np.arange(self.configurations)[:, None] == self.configuration).astype(float)
        return np.asarray((member / member.sum(1, keepdims=True)) @ values)


def resampled_pool(members: list[TrialResult], quality: str) -> ResampledPool:
    """Raises ValueError where nothing was probed."""
    known = [member for member in members if member.snapshots and quality in member.last.right]
    if not known:
        raise ValueError(f"no trial has a {quality} score on val: run python -m src.probe study=... first")
    places = {c: i for i, c in enumerate(dict.fromkeys(member.configuration for member in known))}
    configuration = np.array([places[member.configuration] for member in known])
    return ResampledPool(known, configuration, np.stack([member.last.right[quality] for member in known]))


class Draws(NamedTuple):
    """Samples of a pool: which seeds of which configurations, and their quality on the two halves of the sources."""

    mix: Floats  # (b, c, t) weights of the seeds
    on_a: Floats  # (b, c)
    on_b: Floats


def halvings(sample: ResampledPool, *, count: int, seed: int) -> Draws:
    """The pool as it is, its sources halved at random."""
    rng = np.random.default_rng(seed)
    means = sample.means(sample.right)
    halves = [np.array_split(rng.permutation(means.shape[1]), 2) for _ in range(count)]
    mix = np.broadcast_to(sample.means(np.eye(len(sample.trials))), (count, sample.configurations, len(sample.trials)))
    on_a, on_b = (np.stack([means[:, half[side]].mean(1) for half in halves]) for side in (0, 1))
    return Draws(mix, settled(on_a), settled(on_b))


def resamples(sample: ResampledPool, *, count: int, seed: int) -> Draws:
    """Configurations, their seeds and the sources of each half drawn with replacement; no source is in both halves.

    One seed gives every way of choosing the same draws: their differences are paired.
    """
    # Sources, then configurations and seeds, from one generator: the kept evidence depends on this order of draws.
    rng = np.random.default_rng(seed)
    sources = sample.right.shape[1]
    weights = []
    for _ in range(count):
        # Halved first, then drawn: a source in both halves would score the oracle on what chose it.
        halves = [rng.choice(half, size=len(half)) for half in np.array_split(rng.permutation(sources), 2)]
        weights.append([np.bincount(half, minlength=sources) / len(half) for half in halves])
    scored = np.einsum("ts,bhs->hbt", sample.right, np.array(weights), optimize=True)
    seeds_of = [np.flatnonzero(sample.configuration == c) for c in range(sample.configurations)]
    mix = np.zeros((count, sample.configurations, len(sample.trials)))
    for b in range(count):
        for row, c in enumerate(rng.integers(sample.configurations, size=sample.configurations)):
            for trial in rng.choice(seeds_of[c], size=len(seeds_of[c])):
                mix[b, row, trial] += 1 / len(seeds_of[c])
    on_a, on_b = (np.einsum("bct,bt->bc", mix, half) for half in scored)
    return Draws(mix, settled(on_a), settled(on_b))


def settled(values: Floats) -> Floats:
    """Without the last digits, which depend on the order in which a processor adds: equal values are equal."""
    scale = np.max(np.abs(values), initial=0.0)
    return np.round(values, DIGITS - int(np.ceil(np.log10(scale)))) if scale > 0 else values
