"""How every way of choosing did in one pool, and the rule beside its rivals on the same draws."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from src.evidence.findings import (
    DEFAULT,
    LABELS,
    RIVALS,
    RULE,
    Chose,
    ChoseNothing,
    Difference,
    KnobRho,
    PoolVerdict,
    Way,
)
from src.evidence.search import label_free_columns, scores_of
from src.report.importance import encoded, varied
from src.report.numbers import Judged, StatedLoss
from src.report.regret import Verdicts, correlations, mean_of, noise_floor, verdicts
from src.report.resampling import ResampledPool
from src.report.ways import Contest, Outcome, WayOfChoosing, at_random, by_configuration, by_labels, by_rule, outcomes
from src.runtime.stats import interval
from src.selection.rule import make_rule
from src.study.pool import Floats, Pool, repetitions

DRAWN = (RULE, *RIVALS, DEFAULT)  # whose means over pools get an interval


class JudgedPool(NamedTuple):
    """A pool's verdict, with the draws that its means over pools take."""

    verdict: PoolVerdict
    draws: dict[str, Verdicts]  # by way of choosing


def judge_pool(
    pool: Pool, healthy: Contest, everything: Contest, *, half: Literal["held-out half", "all"], loss: StatedLoss
) -> JudgedPool:
    """Every way of choosing among a pool's ``healthy`` trials, and among these with the collapsed ones."""
    sample, quality = healthy.sample, healthy.quality
    ways = _ways(pool, sample)
    results = outcomes(ways, healthy, everything)
    judged = {outcome.way.name: outcome.judged for outcome in results}
    draws = {way.name: _draws(way, healthy) for way in ways if way.name in DRAWN}
    means = sample.means(sample.right).mean(1)  # (configurations,)
    collapsed = [member for member in pool.members if member.status == "collapsed"]
    verdict = PoolVerdict(
        study=pool.name,
        data=pool.data,
        method=pool.methods[0],
        half=half,
        configurations=sample.configurations,
        trials=len(sample.trials),
        # the default configuration was proposed, not drawn
        random=len(repetitions(pool.members)) - (pool.default is not None),
        collapsed=len(collapsed),
        best_collapsed=max((float(member.last.right[quality].mean()) for member in collapsed), default=None),
        diverged=sum(member.status == "diverged" for member in pool.members),
        best=float(means.max()),
        worst=float(means.min()),
        mean=float(means.mean()),
        ways={outcome.way.name: _way(outcome, outcome.judged) for outcome in results},
        with_collapsed={outcome.way.name: _way(outcome, outcome.with_collapsed) for outcome in results},
        minus=_differences(judged, draws),
        knobs=_knobs(sample, scores_of(pool, sample, RULE), means),
        noise_floor={column: noise_floor(pool.healthy, column) for column in judged_columns(pool)},
        loss=loss,
    )
    return JudgedPool(verdict, draws)


def _ways(pool: Pool, sample: ResampledPool) -> list[WayOfChoosing]:
    rules = [by_rule(name, make_rule(pool, name)) for name in (RULE, *judged_columns(pool))]
    return [at_random(), by_configuration(DEFAULT, pool.default), *rules, *by_labels(pool, sample)]


def judged_columns(pool: Pool) -> list[str]:
    """What the rule is compared with: what it may be made of, and the losses."""
    losses = [criterion.name for criterion in pool.criteria.values() if "loss" in (criterion.within or [])]
    return [*label_free_columns(pool), *losses]


def _draws(way: WayOfChoosing, contest: Contest) -> Verdicts:
    # Only label budgets have several choosers, and none of them is in DRAWN.
    (chooser,) = way.choosers(contest.sample)
    return verdicts(chooser(contest.drawn.mix), contest.drawn.on_a, contest.drawn.on_b)


def _way(outcome: Outcome, judged: Judged | None) -> Way:
    space = _space(outcome.way)
    return ChoseNothing(space) if judged is None else Chose(**vars(judged), space=space)


def _space(way: WayOfChoosing) -> str:
    if way.name.startswith(LABELS):
        return "h"  # what label files are scored on
    if way.rule is None:
        return ""
    if len(way.rule.columns) > 1:
        return "several"
    # A loss is measured on neither space.
    return way.rule.spaces[0] if way.rule.spaces else "loss"


def _differences(judged: dict[str, Judged | None], draws: dict[str, Verdicts]) -> dict[str, Difference]:
    """The rule's regret minus that of each rival that chose something, with the interval of the paired draws."""
    ours, our_draws = judged[RULE], draws[RULE]
    differences = {}
    for rival in RIVALS:
        theirs, their_draws = judged[rival], draws[rival]
        if theirs is not None:
            differences[rival] = Difference(
                regret=None if ours is None else ours.regret - theirs.regret,
                regret_interval=interval(our_draws.regret - their_draws.regret),
                over_range=_minus(None if ours is None else ours.over_range, theirs.over_range),
                over_range_interval=interval(our_draws.over_range - their_draws.over_range),
            )
    return differences


def _minus(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or theirs is None else ours - theirs


def _knobs(sample: ResampledPool, score: Floats, quality: Floats) -> dict[str, KnobRho]:
    """Each varied knob beside the rule's score and quality, both (configurations,)."""
    # A configuration's seeds have the same knobs: its first trial stands for them.
    of = sample.configuration.tolist()
    first = [sample.trials[of.index(configuration)] for configuration in range(sample.configurations)]
    rhos = {}
    for name in varied(first):
        knob = encoded(first, [name])[:, 0]
        both = correlations(np.stack([score, quality]), np.broadcast_to(knob, (2, len(knob))))[1]
        rhos[name] = KnobRho(rule=mean_of(both[:1]), quality=mean_of(both[1:]))
    return rhos
