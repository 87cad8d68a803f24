"""Statistics of a study: source images are the sampling unit, oracles are cross-fitted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

Floats = NDArray[np.float64]


class Estimate(NamedTuple):
    """A mean over source images and its standard error."""

    value: float
    error: float


def by_group(correct: NDArray[np.bool_], group: NDArray[np.int64]) -> Floats:
    """Mean correctness of each source image, (..., samples) -> (..., sources)."""
    _, index = np.unique(group, return_inverse=True)
    counts = np.bincount(index)
    member = (np.arange(len(counts))[:, None] == index) / counts[:, None]
    return correct @ member.T


def accuracy(per_source: Floats) -> Estimate:
    """Mean over sources (n,) with its standard error; for paired comparisons pass a difference."""
    return Estimate(float(per_source.mean()), float(per_source.std(ddof=1) / np.sqrt(len(per_source))))


def cross_fitted_regret(per_source: Floats, picks: NDArray[np.int64], *, halvings: int, seed: int) -> Floats:
    """The best trial's accuracy minus each pick's, the best chosen on one half of the sources, scored on the other.

    ``per_source``: (trials, sources); ``picks``: trial indices (p,). Averaged over both directions of ``halvings``
    random halvings; signed: a pick may beat the oracle of the other half. Returns (p,).
    """
    rng = np.random.default_rng(seed)
    sources = per_source.shape[1]
    total = np.zeros(len(picks))
    for _ in range(halvings):
        halves = np.array_split(rng.permutation(sources), 2)
        for chosen_on, scored_on in (halves, halves[::-1]):
            oracle = per_source[:, chosen_on].mean(1).argmax()
            scored = per_source[:, scored_on].mean(1)
            total += scored[oracle] - scored[picks]
    return total / (2 * halvings)


def kendall(criterion: Floats, per_source: Floats, *, resamples: int, seed: int) -> tuple[float, float, float]:
    """Kendall's tau-b between a criterion (trials,) and accuracy, with a 95 % percentile interval.

    Trials are resampled, and within each resample the sources that accuracy is averaged over. NaN below 3 trials.
    """
    if len(criterion) < 3:
        return float("nan"), float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    trials, sources = per_source.shape
    drawn = []
    for _ in range(resamples):
        index = rng.integers(trials, size=trials)
        weight = np.bincount(rng.integers(sources, size=sources), minlength=sources) / sources
        drawn.append(kendalltau(criterion[index], per_source[index] @ weight).statistic)
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return float(kendalltau(criterion, per_source.mean(1)).statistic), float(low), float(high)
