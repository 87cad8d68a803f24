"""Judges ways of choosing against labelled quality: regret, rank correlation, and how far chance reaches.

Whatever is chosen by quality (the oracle, the worst) is chosen on one half of the source images and scored on the
other.
Arrays: b draws, c configurations, t trials.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from src.report.resampling import Draws, ResampledPool, settled
from src.runtime.stats import interval
from src.selection.rule import Rule, make_rule, measured
from src.study.pool import LABELS, Floats, Pool, TrialResult, repetitions

TOP = 0.10  # a good pick is among the best tenth of its pool
ROUNDING = 1e-9  # a difference of qualities below it is none, and nothing to divide by


Chooser = Callable[[Floats], Floats]  # mix (b, c, t) -> scores (b, c), higher is better, NaN takes no part


def rule_chooser(sample: ResampledPool, rule: Rule) -> Chooser:
    """Scores by a rule, computed anew over the configurations drawn; those that lack a column have none."""
    found = [[measured(member, column, -1) for column in rule.columns] for member in sample.trials]
    values = np.array([[np.nan if v is None else v for v in row] for row in found], dtype=float) * rule.signs
    unknown = np.isnan(values)

    def choose(mix: Floats) -> Floats:
        drawn = mix @ np.where(unknown, 0.0, values)
        drawn = np.stack([settled(column) for column in np.moveaxis(drawn, -1, 0)], axis=-1)
        missing = np.any(mix @ unknown > 0, axis=2)
        if rule.combine is None:
            return np.where(missing, np.nan, drawn[:, :, 0])
        scores = np.full(missing.shape, np.nan)
        for b in range(len(drawn)):
            known = ~missing[b]
            if known.any():
                scores[b, known] = rule.score(drawn[b, known])
        return scores

    return choose


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
    nothing = np.isnan(scores).all(1)
    highest = np.where(np.isnan(scores), -np.inf, scores).max(1, keepdims=True)
    best = (scores == highest).astype(float)
    share = best / np.maximum(best.sum(1, keepdims=True), 1)
    rows = np.arange(len(scores))
    regret, spread, random = (np.zeros(len(scores)) for _ in range(3))
    for chosen_on, scored_on in ((on_a, on_b), (on_b, on_a)):
        oracle = scored_on[rows, chosen_on.argmax(1)]
        regret += (oracle - (share * scored_on).sum(1)) / 2
        spread += (oracle - scored_on[rows, chosen_on.argmin(1)]) / 2
        random += (oracle - scored_on.mean(1)) / 2
    mean = (on_a + on_b) / 2
    better = (mean[:, None, :] > mean[:, :, None]).sum(2)  # configurations better than each
    good = better < max(1, round(TOP * mean.shape[1]))
    tau, rho = correlations(scores, mean)
    blank = np.where(nothing, np.nan, 0.0)
    return Verdicts(
        tau,
        rho,
        (share * mean).sum(1) + blank,
        regret + blank,
        regret / np.where(spread > ROUNDING, spread, np.nan) + blank,
        regret / np.where(random > ROUNDING, random, np.nan) + blank,
        (share * good).sum(1) + blank,
        spread + blank,
        random + blank,
    )


def correlations(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Kendall's tau-b and Spearman's rho along the last axis over what has an x; NaN below 3 or without variation.

    Both from the signs of pairwise differences: their row sums are centred ranks, ties averaged.
    """
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


def judge(choosers: list[Chooser], whole: Draws, drawn: Draws) -> dict[str, Any]:
    """Each figure of the verdicts, its mean over the halvings, with the 95 % interval of the resamples.

    Several choosers are one way of choosing that was drawn several times: their verdicts are averaged draw by draw.
    Ratios are of means: a mean of ratios would depend on the few halvings that see hardly any range. Empty where
    nothing is chosen. ``pick`` is the configuration's place, None where several are chosen.
    """
    scores = [chooser(whole.mix) for chooser in choosers]
    if all(np.isnan(one[0]).all() for one in scores):
        return {}
    point = _averaged([verdicts(one, whole.on_a, whole.on_b) for one in scores])
    spread = _averaged([verdicts(chooser(drawn.mix), drawn.on_a, drawn.on_b) for chooser in choosers])
    found: dict[str, Any] = {}
    for name in ("tau", "rho", "quality", "regret", "over_range", "over_random", "top"):
        found[name] = mean_of(getattr(point, name))
        if name != "top":
            found[f"{name}_interval"] = interval(getattr(spread, name))
    for name, whole_range in (("over_range", point.spread.mean()), ("over_random", point.random.mean())):
        regret = found["regret"]
        found[name] = regret / whole_range if regret is not None and whole_range > ROUNDING else None
    first = [one[0] for one in scores if not np.isnan(one[0]).all()]
    picks = {int(place) for one in first for place in np.flatnonzero(one == np.nanmax(one))}
    found["pick"] = picks.pop() if len(picks) == 1 else None
    found["top"] = mean_of(spread.top)  # of one pool it is 0 or 1: the share of resamples says more
    return found


def _averaged(each: list[Verdicts]) -> Verdicts:
    return Verdicts(*(means_of(np.array(values), 0) for values in zip(*each, strict=True)))


def budget_choosers(pool: Pool, sample: ResampledPool) -> dict[str, list[Chooser]]:
    """Choosing with label budgets: a chooser for each draw of which images were labelled."""
    found: dict[str, list[Chooser]] = {}
    for budget in sorted({name for member in sample.trials for name in member.budgets}):
        per_class, _, draw = budget.partition("-")
        at_random = per_class.isdigit() and draw.isdigit()
        label = f"{per_class} per class" if at_random else "all of probe" if budget == "all" else budget
        found.setdefault(f"labels: {label}", []).append(rule_chooser(sample, make_rule(pool, LABELS + budget)))
    return found


def means_of(values: Floats, axis: int) -> Floats:
    """The means along an axis of what is known; NaN where nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(values, axis=axis))


def mean_of(values: Floats) -> float | None:
    """The mean of what is known."""
    mean = float(means_of(values, 0))
    return None if np.isnan(mean) else mean


def noise_floor(members: list[TrialResult], column: str) -> float | None:
    """A column's standard deviation over seeds / over configurations; None without repeated seeds."""
    values: list[list[float]] = []
    for same in repetitions(members).values():
        found = [value for member in same if (value := measured(member, column, -1)) is not None]
        if found:
            values.append(found)
    repeated = [np.var(found, ddof=1) for found in values if len(found) > 1]
    between = np.std([np.mean(found) for found in values], ddof=1) if len(values) > 1 else 0.0
    return float(np.sqrt(np.mean(repeated)) / between) if repeated and between > 0 else None
