"""How each method learned, as numbers: a row of the page for each method on each data set, from the kept table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from src.runtime.records import Number, closed
from src.runtime.stats import Estimate, Floats, accuracy
from src.study.pool import Pool, TrialResult

PROBES = ("linear", "knn")
UNTRAINED, SUPERVISED = "untrained", "supervised"
CERTAIN = 2  # standard errors above the untrained encoder


@closed
@dataclass(frozen=True)
class Epoch:
    """What one pass over the images costs."""

    gflop: Number  # counted
    seconds: Number  # timed on one CPU thread


@closed
@dataclass(frozen=True)
class SurveyFacts:
    """What the table says about itself."""

    epochs: dict[str, Epoch]  # by pool
    git: dict[str, str]  # the commit, and whether the tree differed from it


@dataclass(frozen=True)
class Score:
    """Top-1 on val by one probe."""

    mean: Estimate  # over seeds and source images
    by_seed: list[float]
    gain: Estimate  # over the untrained encoder of the same seed, paired by image

    @property
    def beats_untrained(self) -> bool:
        return self.gain.value > CERTAIN * self.gain.error > 0


@dataclass(frozen=True)
class MethodRow:
    """A method on a data set: means over its fresh seeds."""

    name: str  # on the page
    method: str
    model: str
    learning_rate: float
    seeds: list[int]
    statuses: list[str]  # of every seed
    losses: list[float | None]  # of every snapshot
    criteria: dict[str, float | None]  # column -> value on the last snapshot
    epoch: Epoch
    scores: dict[str, Score]  # by probe

    @property
    def beats(self) -> list[str]:
        """The probes by which it is better than its untrained encoder."""
        return [probe for probe, score in self.scores.items() if score.beats_untrained]


Survey = dict[str, list[MethodRow]]  # data set -> its methods, the best by the linear probe first


def survey_rows(pools: list[Pool], epochs: dict[str, Epoch], columns: list[str]) -> Survey:
    """The rows of every data set, in the order of the pools."""
    by_data: dict[str, list[Pool]] = {}
    for pool in pools:
        by_data.setdefault(pool.data, []).append(pool)
    return {data: _rows(own, epochs, columns) for data, own in by_data.items()}


def _rows(pools: list[Pool], epochs: dict[str, Epoch], columns: list[str]) -> list[MethodRow]:
    untrained = {_model(pool): pool for pool in pools if pool.methods == [UNTRAINED]}
    rows = [_row(pool, untrained[_model(pool)], epochs[pool.name], columns) for pool in pools]
    return sorted(rows, key=lambda row: -row.scores["linear"].mean.value)


def _model(pool: Pool) -> str:
    return str(pool.members[0].knobs["model.name"])


def _row(pool: Pool, untrained: Pool, epoch: Epoch, columns: list[str]) -> MethodRow:
    trained = [member for member in pool.finished if member.snapshots]
    first = pool.members[0]
    rate = first.knobs["optimizer.learning_rate"]
    assert isinstance(rate, int | float)
    return MethodRow(
        # studies of the survey are called survey-<data>-<name>
        name=pool.name.split("-", 2)[2],
        method=first.method,
        model=_model(pool),
        learning_rate=rate,
        seeds=sorted(member.seed for member in trained),
        statuses=[member.status for member in pool.members],
        losses=[_mean([member.snapshots[i].loss for member in trained]) for i in range(len(first.snapshots))],
        criteria={column: _mean([member.value(column) for member in trained]) for column in columns},
        epoch=epoch,
        scores={probe: _score(trained, untrained.members, probe) for probe in PROBES},
    )


def _score(trained: list[TrialResult], untrained: list[TrialResult], probe: str) -> Score:
    right = {member.seed: member.last.right[probe] for member in trained}  # seed -> (sources,)
    blank = {member.seed: member.last.right[probe] for member in untrained}
    return Score(
        mean=estimate(list(right.values())),
        by_seed=[float(of.mean()) for of in right.values()],
        gain=estimate([of - blank[seed] for seed, of in right.items()]),
    )


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def estimate(by_seed: list[Floats]) -> Estimate:
    """The mean over seeds, one array (sources,) each, and source images; its standard error has a part from each."""
    images = accuracy(np.mean(by_seed, axis=0))
    means = [float(of.mean()) for of in by_seed]
    seeds = float(np.std(means, ddof=1) / np.sqrt(len(means))) if len(means) > 1 else 0.0
    return Estimate(images.value, float(np.hypot(images.error, seeds)))


def beaten_on(survey: Survey) -> dict[str, list[str]]:
    """Self-supervised method -> the data sets on which it is better than its untrained encoder."""
    first = next(iter(survey.values()))
    names = sorted(row.name for row in first if row.method not in (UNTRAINED, SUPERVISED))
    return {name: [data for data, rows in survey.items() if _named(rows, name).beats] for name in names}


def _named(rows: list[MethodRow], name: str) -> MethodRow:
    return next(row for row in rows if row.name == name)
