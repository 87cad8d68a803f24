"""Which criteria can be trusted, for which method: a rule found on some trials, judged on all that it hasn't seen."""

from __future__ import annotations

import numpy as np

from src.evidence.findings import (
    RULE,
    Findings,
    FoundRule,
    GoalReached,
    GoalsReached,
    MeanOverPools,
    Means,
    Plan,
)
from src.evidence.pool_verdict import JudgedPool, judge_pool
from src.evidence.search import judged_half, search, tuning_half, with_rule
from src.evidence.settings import Settings
from src.report.loss_correlation import loss_trust, stated
from src.report.numbers import Judged
from src.report.regret import Verdicts, means_of
from src.report.ways import Contest, contest
from src.runtime.stats import Interval, interval
from src.study.pool import Floats, Pool, TrialResult

SHOWN = 10  # sets of columns that the search's result keeps


def findings(pools: list[Pool], table: list[Pool], settings: Settings) -> Findings:
    """The rule that a search gives, and how it and every other way of choosing did where nothing was tuned.

    Searched are the tuning halves of the pools on ``rule.tuned_on``, or the whole of another round's ``table``. Raises
    ValueError where there is neither.
    """
    sets = _search(pools, table, settings)
    judged = []
    for place, pool in enumerate(pools):
        # A rule tuned on another round's table has seen no trial of this one: there is no half to hold out.
        held_out = not table and pool.data == settings.rule.tuned_on
        judged.append(_judged(place, with_rule(pool, sets[0].columns), held_out, settings))
    means = _means(judged, settings.seen)
    ours = means["all"][RULE]
    return Findings(
        plan=_plan(settings),
        rule=sets[0].columns,
        search=sets[:SHOWN],
        alone=[one for one in sets if len(one.columns) == 1],
        pools=[pool.verdict for pool in judged],
        means=means,
        goals=GoalsReached(
            over_range=_reached(settings.goal.over_range, ours.over_range),
            over_random=_reached(settings.goal.over_random, ours.over_random),
        ),
    )


def _plan(settings: Settings) -> Plan:
    return Plan(
        title=settings.title,
        pools=settings.pools,
        seen=settings.seen,
        seeds=settings.seeds,
        quality=settings.quality,
        rule=settings.rule,
        goal=settings.goal,
        committed=settings.committed,
        remark=settings.remark,
    )


def _search(pools: list[Pool], table: list[Pool], settings: Settings) -> list[FoundRule]:
    tuned = table or [pool for pool in pools if pool.data == settings.rule.tuned_on]
    if not tuned:
        known = ", ".join(sorted({pool.data for pool in pools}))
        raise ValueError(f"rule.tuned_on must be one of {known}, got {settings.rule.tuned_on!r}")
    tuning = [pool.healthy if table else tuning_half(pool, pool.healthy) for pool in tuned]
    return search(tuned, tuning, quality=settings.quality, largest=settings.rule.largest)


def _judged(place: int, pool: Pool, held_out: bool, settings: Settings) -> JudgedPool:
    """A pool on all of its trials, or on the half that the search was ``held_out`` from."""
    healthy, finished = pool.healthy, pool.finished
    if held_out:
        healthy, finished = judged_half(pool, healthy), judged_half(pool, finished)
    # On the whole pool: losses take no part in the search, so nothing was tuned on either half.
    trust = loss_trust(pool.healthy, settings.quality, resampled=settings.resamples, seed=settings.seed)
    return judge_pool(
        pool,
        _contest(healthy, place, settings),
        _contest(finished, place, settings),
        half="held-out half" if held_out else "all",
        loss=stated(pool.methods[0], trust),
    )


def _contest(members: list[TrialResult], place: int, settings: Settings) -> Contest:
    """A seed for each pool: their draws of configurations are independent."""
    return contest(
        members,
        settings.quality,
        halved=settings.halvings,
        resampled=settings.resamples,
        seed=settings.seed + place,
    )


def _means(judged: list[JudgedPool], seen: list[str]) -> Means:
    """Over all pools, over those of each data set, and over those that nobody had looked at before."""
    by_data: dict[str, list[JudgedPool]] = {}
    for pool in judged:
        by_data.setdefault(pool.verdict.data, []).append(pool)
    # Without studies that were looked at while criteria were written.
    unseen = [pool for pool in judged if pool.verdict.study not in seen]
    groups = {"all": judged} | by_data | {"unseen": unseen}
    ways = list(dict.fromkeys(way for pool in judged for way in pool.verdict.ways))
    return {name: {way: _mean_of_way(group, way) for way in ways} for name, group in groups.items()}


def _mean_of_way(pools: list[JudgedPool], way: str) -> MeanOverPools:
    known = [judged for pool in pools if (judged := pool.verdict.judged(way)) is not None]
    return mean_over_pools(known, [pool.draws[way] for pool in pools if way in pool.draws])


def mean_over_pools(judged: list[Judged], draws: list[Verdicts]) -> MeanOverPools:
    """The mean of a way's figures over pools, with the interval of the means of their draws."""
    return MeanOverPools(
        regret=_mean([pool.regret for pool in judged]),
        over_range=_mean([pool.over_range for pool in judged]),
        over_random=_mean([pool.over_random for pool in judged]),
        tau=_mean([pool.tau for pool in judged]),
        rho=_mean([pool.rho for pool in judged]),
        top=_mean([pool.top for pool in judged]),
        regret_interval=_interval([pool.regret for pool in judged], [drawn.regret for drawn in draws]),
        over_range_interval=_interval([pool.over_range for pool in judged], [drawn.over_range for drawn in draws]),
        over_random_interval=_interval([pool.over_random for pool in judged], [drawn.over_random for drawn in draws]),
    )


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _interval(values: list[float | None], draws: list[Floats]) -> Interval | None:
    """None where the mean is over other pools than the draws are of."""
    known = [value for value in values if value is not None]
    # nanmean draw by draw: a pool whose draw chose nothing drops out of that draw's mean.
    return interval(means_of(np.array(draws), 0)) if draws and len(draws) == len(known) else None


def _reached(goal: float, mean: float | None) -> GoalReached:
    return GoalReached(goal, mean, mean is not None and mean <= goal)
