"""Every number of the report, and how metrics.json keeps them.

Qualities are shares right of val's source images, regrets differences of these. Intervals are of 95 %, over resampled
configurations, seeds and source images. None: unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, JsonValue

from src.runtime.records import Config, Count, Hash, Name, Number, closed, extensible
from src.runtime.stats import Estimate, Interval
from src.study.results import Confirmation, Dropped, NoiseFact, RankedTrial, Snapshots, Status
from src.trial.config import Space

ProbeNumbers = dict[str, dict[str, Number]]  # probe -> its numbers


@closed
@dataclass(frozen=True)
class Judged:
    """How a way of choosing did in a pool: means over the halvings of val's source images."""

    tau: Number | None  # Kendall's tau-b of score and quality
    tau_interval: Interval | None
    rho: Number | None  # Spearman's
    rho_interval: Interval | None
    quality: Number  # of the pick
    quality_interval: Interval | None
    regret: Number  # the best configuration's quality minus the pick's
    regret_interval: Interval | None
    over_range: Number | None  # regret / (the best configuration's quality minus the worst's)
    over_range_interval: Interval | None
    over_random: Number | None  # regret / random choice's
    over_random_interval: Interval | None
    top: Number | None  # the share of resamples in which the pick is among the best tenth
    pick: Count | None  # the configuration's place in the pool; None where several were chosen


ROW = ("name", "with_collapsed", "note", "noise_floor")  # keys of a way's row beside its verdict's


def _sorted_out(row: JsonValue) -> object:
    """In the file, a verdict's figures stand among the keys of its row, and without one there are none."""
    if not isinstance(row, dict):
        return row
    own: dict[str, object] = {key: row[key] for key in ROW if key in row}
    verdict = {key: value for key, value in row.items() if key not in ROW}
    if own.get("with_collapsed") == {}:
        own["with_collapsed"] = None
    # Rows of columns have the key, even where it is null; its presence says which kind a row is.
    return {"noise_floor": None} | own | {"judged": verdict or None, "is_column": "noise_floor" in row}


@closed
@dataclass(frozen=True)
class Way:
    """A way of choosing, and how it did. Nothing is judged where it chose nothing."""

    name: str
    judged: Judged | None  # among healthy trials; its pick is the number of the configuration's first trial
    with_collapsed: Judged | None  # with collapsed trials among the choices; its pick is a place among these
    note: str  # why it chose nothing, or why selection would refuse it; empty where all is well
    is_column: bool  # by one measured column, and by no mean rank, label budget or fixed choice
    noise_floor: Number | None  # of a column: its standard deviation over seeds / over configurations


def _row(way: Way) -> dict[str, object]:
    verdict = {} if way.judged is None else _by_name(way.judged)
    floor = {"noise_floor": way.noise_floor} if way.is_column else {}
    return {"name": way.name, "note": way.note, "with_collapsed": way.with_collapsed or {}, **verdict, **floor}


@closed
@dataclass(frozen=True)
class QualityNoise:
    """Standard deviations of quality."""

    seeds: Number
    configurations: Number


@closed
@dataclass(frozen=True)
class JointPick:
    """A rule's pick over all snapshots of all trials."""

    number: Count
    step: Count
    images: Count  # seen by then
    quality: Number  # there
    at_the_end: Number  # of the same trial


@closed
@dataclass(frozen=True)
class EpochChoice:
    """What each trial's best snapshot on val brings over its last, mean over trials."""

    optimism: Number  # what other source images don't confirm
    gain: Number  # what they do
    joint: JointPick | None  # None where the rule compares no snapshots


@closed
@dataclass(frozen=True)
class Choosing:
    """Every way of choosing among the trials of one method, or of all."""

    rows: list[Annotated[Way, BeforeValidator(_sorted_out)]]
    best: Number  # quality of configurations
    worst: Number
    mean: Number
    configurations: Count
    sources: Count  # source images of val
    standard_error: Number  # of the best configuration's quality, over source images
    noise_floor: QualityNoise | None  # None without repeated seeds
    snapshots: EpochChoice


@closed
@dataclass(frozen=True)
class LossTrust:
    """Spearman's rho of the falling loss with quality: +1 where the loss could be trusted, -1 where it misleads."""

    within: Number | None  # over the snapshots of a trial, mean over trials
    within_interval: Interval | None
    between: Number | None  # over the trials' last snapshots
    between_interval: Interval | None
    trials: Count  # that have both
    rising_while_improving: Count  # of these


@closed
@dataclass(frozen=True)
class StatedLoss(LossTrust):
    """The same in words."""

    sentence: str
    with_collapsed: LossTrust | None = None  # where trials collapsed


@closed
@dataclass(frozen=True)
class Importance:
    """How much of a value's variance each knob explains on held-out configurations."""

    r2: Number  # of the forest; at or below 0 it knows nothing
    knobs: dict[str, Number]  # rise of the squared error / variance
    error: dict[str, Number]  # standard error over folds
    agreement: Number | None  # rank correlation of the knobs' importances with those for quality
    pairs: dict[str, Number] | None = None  # "one x other" -> what both bring beyond the sum of each; of quality


@closed
@dataclass(frozen=True)
class SpentPoint:
    """What would have been picked had the study stopped here."""

    tflops: Number  # spent by then, evaluation included
    pick: Number  # quality
    best: Number


@closed
@dataclass(frozen=True)
class FinalPick:
    """The trial to take in place of a winner of the selection."""

    number: Count
    confirmed: bool  # with fresh seeds


@closed
@dataclass(frozen=True)
class PoolCounts:
    """Trials by how they ended."""

    trials: Count
    complete: Count
    collapsed: Count
    diverged: Count
    stopped: Count


@closed
@dataclass(frozen=True)
class CriterionFacts:
    """A criterion in the page's glossary."""

    input: str
    spaces: list[Space]
    direction: Literal["higher", "lower", "none"]
    invariances: list[str]
    within: list[str]  # what compared trials share


@closed
@dataclass(frozen=True)
class Point:
    """A snapshot."""

    images: Count  # seen by then
    loss: Number | None
    criteria: dict[str, Number]
    quality: Number | None


@closed
@dataclass(frozen=True)
class TrialRow:
    """A trial as the page's table and the figures take it."""

    number: Count
    trial: Name
    configuration: str
    seed: Count
    method: str
    status: Status
    reason: str
    overrides: list[str]
    loss_group: str  # trials that share it define the loss alike
    tflops: Number | None  # of training
    seconds: Number | None
    criteria: dict[str, Number]  # column -> value on the last snapshot, label budgets' skills among them
    probes: ProbeNumbers  # on the last snapshot
    knobs: Config
    over_training: list[Point]

    def top1(self, probe: str) -> float:
        return float(self.probes[probe]["top1"])


@closed
@dataclass(frozen=True)
class Compute:
    training_tflops: Number
    evaluation_tflops: Number


@closed
@dataclass(frozen=True)
class Pick:
    """What is scored on the test split: a winner, or a confirmed one's fresh trials, whose mean counts."""

    name: str
    kind: Literal["pick", "confirmed"]
    trials: list[Name]
    number: Count
    method: Name
    step: Count


@closed
@dataclass(frozen=True)
class PickScores(Pick):
    """Its accuracy on the test split by probe, and how far that is above the default configuration's."""

    scores: dict[str, Estimate]
    minus_default: dict[str, Estimate] | None  # None where the study has no default configuration


@closed
@dataclass(frozen=True)
class ReferenceScores:
    """The same of what picks are compared with."""

    name: str
    kind: Literal["reference"]
    scores: dict[str, Estimate]
    minus_default: dict[str, Estimate] | None


TestScores = Annotated[PickScores | ReferenceScores, Field(discriminator="kind")]


@extensible
@dataclass(frozen=True)
class SealEntry:
    """A line of runs/seal.jsonl: an opening of the test split."""

    key: Hash  # of the selection, the picks, the probes and the test images
    study: Name
    picks: list[Pick]
    scores: list[TestScores]


@closed
@dataclass(frozen=True)
class Seal:
    openings: Count  # of the test split, by all studies beside this one


@closed
@dataclass(frozen=True)
class ReportNumbers:
    """What the page, the figures and the tables are made of. Without labels of val: no quality, loss, choosing, budget.

    Of a kept table the test split stays sealed, and there are no baselines and no links.
    """

    study: Name
    data: str
    rule: str
    columns: list[str]  # of the rule
    methods: list[str]
    quality: str | None  # the probe that quality is measured by
    picks: list[RankedTrial]
    picked: list[Count]  # their numbers
    final: list[FinalPick]  # one for each of picks
    default: Count | None  # the default configuration's number
    snapshots: Snapshots
    ranking: list[RankedTrial]
    noise: list[NoiseFact]
    dropped: list[Dropped]
    confirmation: Confirmation | None
    pool: PoolCounts
    label_files: list[str]
    criteria: dict[str, CriterionFacts]
    trials: list[TrialRow]
    compute: Compute
    varied: list[str]  # knobs
    knobs: dict[str, Importance]  # by value: quality, or a column
    test: list[TestScores]
    seal: Seal
    val: dict[str, ProbeNumbers]  # of the baselines
    links: dict[str, str]  # trial -> the address of its run
    loss: dict[str, StatedLoss] | None = None  # by method
    choosing: dict[str, Choosing] | None = None  # by method, and for all of several
    budget: list[SpentPoint] | None = None


def as_kept(numbers: ReportNumbers) -> dict[str, object]:
    """What metrics.json holds; ``records.read`` makes it the same numbers again."""
    # Left out rather than null: a file of a study without labels has no such keys.
    absent = [name for name in ("loss", "choosing", "budget") if getattr(numbers, name) is None]
    kept = {name: value for name, value in _by_name(numbers).items() if name not in absent}
    if numbers.choosing is not None:
        kept["choosing"] = {
            method: _by_name(choosing) | {"rows": [_row(way) for way in choosing.rows]}
            for method, choosing in numbers.choosing.items()
        }
    return kept


def _by_name(value: Judged | Choosing | ReportNumbers) -> dict[str, object]:
    return {field.name: getattr(value, field.name) for field in fields(value)}
