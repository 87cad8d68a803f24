"""Judges ways of choosing against labelled quality: regret and rank correlation, with their intervals.

Whatever is chosen by quality (the oracle, the worst) is chosen on one half of the source images and scored on the
other.
Arrays: b draws, c configurations, t trials.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.report.numbers import Judged
from src.report.resampling import Draws, ResampledPool, settled
from src.runtime.stats import interval
from src.selection.rule import Rule, make_rule, measured
from src.study.pool import LABELS, Floats, Pool, TrialResult, repetitions

TOP = 0.10  # a good pick is among the best tenth of its pool
ROUNDING = 1e-9  # a difference of qualities below it is none, and nothing to divide by


Chooser = Callable[[Floats], Floats]  # mix (b, c, t) -> scores (b, c), higher is better, NaN takes no part


def rule_chooser(sample: ResampledPool, rule: Rule) -> Chooser:
    """Scores by a rule, computed anew over the configurations drawn; those that lack a column have none."""
    values = _measured(sample.trials, rule) * rule.signs
    unknown = np.isnan(values)

    def choose(mix: Floats) -> Floats:
        # 0 stands in for unknown values: NaN would spread to draws that give them no weight.
        drawn = mix @ np.where(unknown, 0.0, values)
        # Equal means must tie before they are ranked.
        drawn = np.stack([settled(column) for column in np.moveaxis(drawn, -1, 0)], axis=-1)
        missing = np.any(mix @ unknown > 0, axis=2)
        if rule.combine is None:
            return np.where(missing, np.nan, drawn[:, :, 0])
        scores = np.full(missing.shape, np.nan)
        # Draw by draw: a mean rank is relative to the configurations that were drawn.
        for b in range(len(drawn)):
            known = ~missing[b]
            if known.any():
                scores[b, known] = rule.score(drawn[b, known])
        return scores

    return choose


def _measured(members: list[TrialResult], rule: Rule) -> Floats:
    """(t, columns): a rule's columns on the last snapshots, NaN where a trial lacks one."""
    values = np.full((len(members), len(rule.columns)), np.nan)
    for row, member in zip(values, members, strict=True):
        for place, column in enumerate(rule.columns):
            value = measured(member, column, -1)
            row[place] = np.nan if value is None else value
    return values


def random_chooser(mix: Floats) -> Floats:
    """Every configuration alike."""
    return np.zeros(mix.shape[:2])


def one_chooser(sample: ResampledPool, configuration: str | None) -> Chooser:
    """One configuration where it was drawn; else nothing."""
    trials = np.array([member.configuration == configuration for member in sample.trials])

    def choose(mix: Floats) -> Floats:
        return np.where(mix[:, :, trials].sum(2) > 0, 1.0, np.nan)

    return choose


class Verdicts(NamedTuple):
    """How a way of choosing did in each draw, arrays (b,); NaN where it chose nothing."""

    tau: Floats  # Kendall's tau-b of score and quality
    rho: Floats  # Spearman's
    quality: Floats  # of the pick
    regret: Floats  # the oracle's quality minus the pick's
    over_range: Floats  # / spread
    over_random: Floats  # / random
    top: Floats  # whether the pick is among the best tenth
    spread: Floats  # the oracle's quality minus the worst's
    random: Floats  # random choice's regret


def verdicts(scores: Floats, on_a: Floats, on_b: Floats) -> Verdicts:
    """Of scores against quality on both halves, all (b, c). Picks with equal scores count with their mean."""
    share = _share_of_pick(scores)
    rows = np.arange(len(scores))
    regret, spread, random = (np.zeros(len(scores)) for _ in range(3))
    # Both ways round, so that every source scores once.
    for chosen_on, scored_on in ((on_a, on_b), (on_b, on_a)):
        oracle = scored_on[rows, chosen_on.argmax(1)]
        regret += (oracle - (share * scored_on).sum(1)) / 2
        spread += (oracle - scored_on[rows, chosen_on.argmin(1)]) / 2
        random += (oracle - scored_on.mean(1)) / 2
    mean = (on_a + on_b) / 2
    tau, rho = correlations(scores, mean)
    # Added to a figure it makes NaN of the draws in which nothing was chosen.
    blank = np.where(np.isnan(scores).all(1), np.nan, 0.0)
    return Verdicts(
        tau=tau,
        rho=rho,
        quality=(share * mean).sum(1) + blank,
        regret=regret + blank,
        over_range=regret / np.where(spread > ROUNDING, spread, np.nan) + blank,
        over_random=regret / np.where(random > ROUNDING, random, np.nan) + blank,
        top=(share * _is_top(mean)).sum(1) + blank,
        spread=spread + blank,
        random=random + blank,
    )


def _share_of_pick(scores: Floats) -> Floats:
    """(b, c): 1 for what is picked, equal parts of it for several with the highest score."""
    highest = np.where(np.isnan(scores), -np.inf, scores).max(1, keepdims=True)
    best = (scores == highest).astype(float)
    # A draw in which nothing has a score picks nothing.
    return np.asarray(best / np.maximum(best.sum(1, keepdims=True), 1))


def _is_top(quality: Floats) -> NDArray[np.bool_]:
    """(b, c): whether a configuration is among the best tenth of its draw."""
    better = (quality[:, None, :] > quality[:, :, None]).sum(2)  # configurations better than each
    # At least one, however small the pool.
    return np.asarray(better < max(1, round(TOP * quality.shape[1])))


def correlations(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Kendall's tau-b and Spearman's rho along the last axis over what has an x; NaN below 3 or without variation.

    Both from the signs of pairwise differences: their row sums are centred ranks, ties averaged.
    """
    # All draws at once, each with its own gaps; the tests hold it against SciPy's kendalltau and spearmanr.
    known = ~np.isnan(x)
    pairs = known[:, :, None] & known[:, None, :]
    filled = np.where(known, x, 0.0)
    sx = np.where(pairs, np.sign(filled[:, :, None] - filled[:, None, :]), 0.0)
    sy = np.where(pairs, np.sign(y[:, :, None] - y[:, None, :]), 0.0)
    rx, ry = sx.sum(2), sy.sum(2)
    few = known.sum(1) < 3
    with np.errstate(invalid="ignore", divide="ignore"):
        tau = (sx * sy).sum((1, 2)) / np.sqrt((sx**2).sum((1, 2)) * (sy**2).sum((1, 2)))
        rho = (rx * ry).sum(1) / np.sqrt((rx**2).sum(1) * (ry**2).sum(1))
    return np.where(few, np.nan, tau), np.where(few, np.nan, rho)


def judge(choosers: list[Chooser], whole: Draws, drawn: Draws) -> Judged | None:
    """Each figure of the verdicts, its mean over the halvings, with the 95 % interval of the resamples.

    Several choosers are one way of choosing that was drawn several times: their verdicts are averaged draw by draw.
    None where nothing is chosen.
    """
    scores = [chooser(whole.mix) for chooser in choosers]
    if all(np.isnan(one[0]).all() for one in scores):
        return None
    point = _averaged([verdicts(one, whole.on_a, whole.on_b) for one in scores])
    spread = _averaged([verdicts(chooser(drawn.mix), drawn.on_a, drawn.on_b) for chooser in choosers])
    regret = float(means_of(point.regret, 0))
    return Judged(
        tau=mean_of(point.tau),
        tau_interval=interval(spread.tau),
        rho=mean_of(point.rho),
        rho_interval=interval(spread.rho),
        quality=float(means_of(point.quality, 0)),
        quality_interval=interval(spread.quality),
        regret=regret,
        regret_interval=interval(spread.regret),
        over_range=_ratio(regret, point.spread),
        over_range_interval=interval(spread.over_range),
        over_random=_ratio(regret, point.random),
        over_random_interval=interval(spread.over_random),
        # of the pool itself it is 0 or 1: the share of resamples says more
        top=mean_of(spread.top),
        pick=_only_pick([one[0] for one in scores]),
    )


def _averaged(each: list[Verdicts]) -> Verdicts:
    return Verdicts(*(means_of(np.array(values), 0) for values in zip(*each, strict=True)))


def _ratio(regret: float, whole: Floats) -> float | None:
    """Of means: a mean of ratios would depend on the few halvings that see hardly any range."""
    mean = float(whole.mean())
    return regret / mean if mean > ROUNDING else None


def _only_pick(scores: list[Floats]) -> int | None:
    """The place of the configuration that all scores (c,) put first; None where there are several."""
    known = [one for one in scores if not np.isnan(one).all()]
    picks = {int(place) for one in known for place in np.flatnonzero(one == np.nanmax(one))}
    return picks.pop() if len(picks) == 1 else None


def budget_choosers(pool: Pool, sample: ResampledPool) -> dict[str, list[Chooser]]:
    """Choosing with label budgets: a chooser for each draw of which images were labelled."""
    choosers: dict[str, list[Chooser]] = {}
    for budget in sorted({name for member in sample.trials for name in member.budgets}):
        chooser = rule_chooser(sample, make_rule(pool, LABELS + budget))
        choosers.setdefault(f"labels: {_in_words(budget)}", []).append(chooser)
    return choosers


def _in_words(budget: str) -> str:
    """5-0 is a draw of five labels per class; any other name is of one file."""
    per_class, _, draw = budget.partition("-")
    if per_class.isdigit() and draw.isdigit():
        return f"{per_class} per class"
    return "all of probe" if budget == "all" else budget


def means_of(values: Floats, axis: int) -> Floats:
    """The means along an axis of what is known; NaN where nothing is."""
    # NumPy warns of a mean of nothing, which here is an answer.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(values, axis=axis))


def mean_of(values: Floats) -> float | None:
    """The mean of what is known."""
    mean = float(means_of(values, 0))
    return None if np.isnan(mean) else mean


def noise_floor(members: list[TrialResult], column: str) -> float | None:
    """A column's standard deviation over seeds / over configurations; None without repeated seeds."""
    by_configuration: list[list[float]] = []
    for same in repetitions(members).values():
        known = [value for member in same if (value := measured(member, column, -1)) is not None]
        if known:
            by_configuration.append(known)
    if len(by_configuration) < 2:
        return None
    repeated = [np.var(values, ddof=1) for values in by_configuration if len(values) > 1]
    between = np.std([np.mean(values) for values in by_configuration], ddof=1)
    return float(np.sqrt(np.mean(repeated)) / between) if repeated and between > 0 else None
