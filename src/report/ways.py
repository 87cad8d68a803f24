"""Ways of choosing a trial, and how each of them does among the same trials on the same draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from src.report.numbers import Judged
from src.report.regret import Chooser, budget_choosers, judge, one_chooser, random_chooser, rule_chooser
from src.report.resampling import Draws, ResampledPool, halvings, resampled_pool, resamples
from src.selection.rule import Rule
from src.study.pool import Pool, TrialResult


class Contest(NamedTuple):
    """Trials that are chosen among, and the draws that every way of choosing among them is judged on."""

    members: list[TrialResult]
    quality: str  # the probe that says how good they are
    sample: ResampledPool  # of these
    whole: Draws
    drawn: Draws


def contest(members: list[TrialResult], quality: str, *, halved: int, resampled: int, seed: int) -> Contest:
    """Raises ValueError where nothing was probed."""
    sample = resampled_pool(members, quality)
    return Contest(
        members=members,
        quality=quality,
        sample=sample,
        whole=halvings(sample, count=halved, seed=seed),
        drawn=resamples(sample, count=resampled, seed=seed),
    )


class WayOfChoosing(NamedTuple):
    """Of several choosers, each is a draw of the same way."""

    name: str
    choosers: Callable[[ResampledPool], list[Chooser]]
    rule: Rule | None = None


def by_rule(name: str, rule: Rule) -> WayOfChoosing:
    return WayOfChoosing(name, lambda sample: [rule_chooser(sample, rule)], rule)


def by_configuration(name: str, configuration: str | None) -> WayOfChoosing:
    """Always the same one; nothing where it is None."""
    return WayOfChoosing(name, lambda sample: [one_chooser(sample, configuration)])


def at_random() -> WayOfChoosing:
    return WayOfChoosing("random choice", lambda sample: [random_chooser])


def by_labels(pool: Pool, sample: ResampledPool) -> list[WayOfChoosing]:
    """A way for each label budget that the sample's trials were scored with."""

    def budget(name: str) -> WayOfChoosing:
        return WayOfChoosing(name, lambda drawn_from: budget_choosers(pool, drawn_from)[name])

    return [budget(name) for name in budget_choosers(pool, sample)]


class Outcome(NamedTuple):
    """How a way of choosing did; None where it chose nothing."""

    way: WayOfChoosing
    judged: Judged | None
    with_collapsed: Judged | None  # with collapsed trials among the choices


def outcomes(ways: list[WayOfChoosing], healthy: Contest, everything: Contest) -> list[Outcome]:
    """Each way among healthy trials, and among these and the collapsed ones."""
    results = []
    for way in ways:
        judged = judge(way.choosers(healthy.sample), healthy.whole, healthy.drawn)
        among_all = judge(way.choosers(everything.sample), everything.whole, everything.drawn)
        results.append(Outcome(way, judged, among_all))
    return results
