"""What evidence finds, as its JSON file holds it.

Qualities are shares right of val's source images, regrets differences of these. Intervals are of 95 %. None: unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from src.evidence.settings import Goal, Pools, RuleSearch
from src.report.numbers import Judged, StatedLoss
from src.runtime.records import Count, Name, Number, closed
from src.runtime.settings import Quality
from src.runtime.stats import Interval

RULE = "consensus"  # the way of choosing that is judged, whatever columns it has
RIVALS = ("lidar_z", "rankme_z")
DEFAULT = "default configuration"
LABELS = "labels: "  # how the names of label budgets begin


@closed
@dataclass(frozen=True)
class Plan:
    """What the round was to find out, as conf/round/ states it."""

    title: str
    pools: Pools
    seen: list[Name]
    seeds: list[Count]
    quality: Quality
    rule: RuleSearch
    goal: Goal
    committed: str
    remark: str


@closed
@dataclass(frozen=True)
class FoundRule:
    """A set of columns, and how their mean rank orders what it was tuned on."""

    columns: list[str]
    rho: Number  # Spearman's with quality, mean over pools


@closed
@dataclass(frozen=True)
class Chose(Judged):
    """How a way of choosing did in a pool. Its pick is the configuration's place among those that were judged."""

    space: str  # of its column: h, z or loss; several for a mean rank; empty where it goes by no criterion


@closed
@dataclass(frozen=True)
class ChoseNothing:
    """A way of choosing by a column that no trial of the pool has."""

    space: str


Way = Chose | ChoseNothing


@closed
@dataclass(frozen=True)
class Difference:
    """The rule's regret minus a rival's, on the same draws: negative where the rule is better."""

    regret: Number | None
    regret_interval: Interval | None
    over_range: Number | None  # of the pool
    over_range_interval: Interval | None


@closed
@dataclass(frozen=True)
class KnobRho:
    """Spearman's rho of a knob over configurations."""

    rule: Number | None  # with the rule's score
    quality: Number | None


@closed
@dataclass(frozen=True)
class PoolVerdict:
    """One pool: how it came out, and how every way of choosing did on its judged configurations."""

    study: Name
    data: str
    method: str
    half: Literal["held-out half", "all"]  # what was judged
    configurations: Count  # judged
    trials: Count  # of these
    random: Count  # configurations that were drawn, all of the pool
    collapsed: Count  # trials, all of the pool
    best_collapsed: Number | None  # quality of the best of them
    diverged: Count
    best: Number  # quality of configurations, mean over seeds
    worst: Number
    mean: Number
    ways: dict[str, Way]
    with_collapsed: dict[str, Way]  # with collapsed trials among the choices
    minus: dict[str, Difference]  # by rival
    knobs: dict[str, KnobRho]
    noise_floor: dict[str, Number | None]  # column -> its standard deviation over seeds / over configurations
    loss: StatedLoss

    def judged(self, way: str) -> Judged | None:
        """How a way did; None where it chose nothing, or isn't known to the pool."""
        return judged_of(self.ways, way)


def judged_of(ways: Mapping[str, Way], name: str) -> Judged | None:
    way = ways.get(name)
    return way if isinstance(way, Judged) else None


@closed
@dataclass(frozen=True)
class MeanOverPools:
    """A way's figures, mean over the pools in which it chose something; intervals of the ways that were drawn."""

    regret: Number | None
    over_range: Number | None
    over_random: Number | None
    tau: Number | None
    rho: Number | None
    top: Number | None
    regret_interval: Interval | None = None
    over_range_interval: Interval | None = None
    over_random_interval: Interval | None = None


@closed
@dataclass(frozen=True)
class GoalReached:
    """A goal of the plan, and the rule's mean over all pools."""

    goal: Number
    reached: Number | None
    met: bool


@closed
@dataclass(frozen=True)
class GoalsReached:
    over_range: GoalReached
    over_random: GoalReached


Means = dict[str, dict[str, MeanOverPools]]  # group of pools (all, each data set, unseen) -> way -> its figures


@closed
@dataclass(frozen=True)
class Findings:
    """docs/evidence-<n>.json."""

    plan: Plan
    rule: list[str]  # columns of the best set
    search: list[FoundRule]  # the first of all sets, best first
    alone: list[FoundRule]  # single columns, best first
    pools: list[PoolVerdict]
    means: Means
    goals: GoalsReached
