"""How every way of choosing a trial did in a pool, and what choosing the epoch too would bring."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from src.report.numbers import Choosing, EpochChoice, JointPick, Judged, QualityNoise, Way
from src.report.regret import noise_floor
from src.report.resampling import ResampledPool
from src.report.settings import Settings
from src.report.ways import (
    Contest,
    Outcome,
    WayOfChoosing,
    at_random,
    by_configuration,
    by_labels,
    by_rule,
    contest,
    outcomes,
)
from src.runtime.stats import accuracy
from src.selection.ranking import rank
from src.selection.rule import Rule, check_comparable, make_rule, rule_of
from src.study.pool import Pool, TrialResult, repetitions
from src.study.results import Selection


def choosing(
    pool: Pool, members: list[TrialResult], collapsed: list[TrialResult], chosen: Selection, settings: Settings
) -> Choosing:
    """Each way of choosing among some healthy members of the pool, alone and with collapsed ones among the choices.

    Members of several methods: only ways that compare methods.
    """
    healthy = _contest(members, settings)
    everything = _contest([*members, *collapsed], settings) if collapsed else healthy
    rule = rule_of(pool, chosen)
    ways = [
        *_by_rules(pool, rule, members),
        by_configuration("this selection", _picked(chosen, healthy.sample.trials)),
        by_configuration("default configuration", pool.default),
        at_random(),
        *by_labels(pool, healthy.sample),
    ]
    means = healthy.sample.means(healthy.sample.right)  # (configurations, sources)
    quality = means.mean(1)
    return Choosing(
        rows=[_row(outcome, healthy) for outcome in outcomes(ways, healthy, everything)],
        best=float(quality.max()),
        worst=float(quality.min()),
        mean=float(means.mean()),
        configurations=healthy.sample.configurations,
        sources=int(means.shape[1]),
        standard_error=accuracy(means[int(quality.argmax())]).error,
        noise_floor=_quality_noise(members, settings.quality),
        snapshots=_epoch_choice(pool, members, rule, settings),
    )


def _contest(members: list[TrialResult], settings: Settings) -> Contest:
    return contest(
        members, settings.quality, halved=settings.halvings, resampled=settings.resamples, seed=settings.seed
    )


def _by_rules(pool: Pool, rule: Rule, members: list[TrialResult]) -> list[WayOfChoosing]:
    """The rule that chose, and every criterion with a better direction, on each of its spaces."""
    columns = [c for criterion in pool.criteria.values() if criterion.direction != "none" for c in criterion.filled]
    rules = {rule.name: rule} | {column: make_rule(pool, column) for column in columns}
    if len({member.method for member in members}) > 1:
        rules = {name: one for name, one in rules.items() if "method" not in one.within}
    return [by_rule(name, one) for name, one in rules.items()]


def _picked(chosen: Selection, trials: list[TrialResult]) -> str | None:
    """The configuration that was picked, before any trial was repeated."""
    picks = chosen.picks()
    return next((trial.configuration for trial in trials if trial.trial in picks), None)


def _row(outcome: Outcome, healthy: Contest) -> Way:
    judged, rule = outcome.judged, outcome.way.rule
    is_column = rule is not None and len(rule.columns) == 1
    return Way(
        name=outcome.way.name,
        judged=None if judged is None else _named(judged, healthy.sample),
        with_collapsed=outcome.with_collapsed,
        note="" if rule is None else _note(rule, healthy.sample, judged),
        is_column=is_column,
        noise_floor=noise_floor(healthy.members, rule.columns[0]) if rule is not None and is_column else None,
    )


def _named(judged: Judged, sample: ResampledPool) -> Judged:
    """The pick as the number of its configuration's first trial."""
    if judged.pick is None:
        return judged
    first = int(np.flatnonzero(sample.configuration == judged.pick)[0])
    return replace(judged, pick=sample.trials[first].number)


def _note(rule: Rule, sample: ResampledPool, judged: Judged | None) -> str:
    """Why a rule chose nothing, or why selection would refuse it here; empty where all is well."""
    if judged is None:
        reasons = (member.refused.get(column) for member in sample.trials for column in rule.columns)
        return next((reason for reason in reasons if reason is not None), "not measured")
    try:
        check_comparable(sample.trials, rule)
    except ValueError as refused:
        return f"selection refuses it here: {str(refused).partition(':')[0]}"
    return ""


def _quality_noise(members: list[TrialResult], quality: str) -> QualityNoise | None:
    """Standard deviation of quality over seeds, and over configurations."""
    by_configuration = [
        np.array([member.last.probes[quality]["top1"] for member in same]) for same in repetitions(members).values()
    ]
    several = [values for values in by_configuration if len(values) > 1]
    if not several or len(by_configuration) < 2:
        return None
    return QualityNoise(
        seeds=float(np.sqrt(np.mean([values.var(ddof=1) for values in several]))),
        configurations=float(np.std([values.mean() for values in by_configuration], ddof=1)),
    )


def _epoch_choice(pool: Pool, members: list[TrialResult], rule: Rule, settings: Settings) -> EpochChoice:
    """What choosing the epoch too would bring: by val itself, with its optimism, and by the rule.

    The optimism of best-over-epochs: each trial's best snapshot on one half of val's sources, its value there minus
    on the other half, averaged. Joint: the rule's pick over all snapshots of all trials, as selection makes it.
    """
    rng = np.random.default_rng(settings.seed)
    right = [np.stack([snapshot.right[settings.quality] for snapshot in member.snapshots]) for member in members]
    optimism, gain = [], []
    for _ in range(settings.halvings):
        first, second = np.array_split(rng.permutation(right[0].shape[1]), 2)
        for a, b in ((first, second), (second, first)):
            for trial in right:  # (snapshots, sources)
                on_a, on_b = trial[:, a].mean(1), trial[:, b].mean(1)
                best = on_a.argmax()
                optimism.append(on_a[best] - on_b[best])
                # The half that chose the epoch can't say what it is worth: the other one does.
                gain.append(on_b[best] - on_b[-1])
    joint = _joint(replace(pool, members=members), rule, settings.quality)
    return EpochChoice(optimism=float(np.mean(optimism)), gain=float(np.mean(gain)), joint=joint)


def _joint(pool: Pool, rule: Rule, quality: str) -> JointPick | None:
    """The pick over all snapshots, and what its trial is worth there and at its end; None where nothing compares."""
    try:
        # One draw, since no noise is known of earlier snapshots and so nothing is drawn.
        winners = rank(pool, rule, snapshots="all", draws=1, seed=0).winners
    except ValueError:
        return None
    if len(winners) > 1:  # one for each method
        return None
    pick = winners[0]
    own = next(member.configuration for member in pool.members if member.trial == pick.trial)
    same = repetitions(pool.healthy)[own]
    place = next(k for k, snapshot in enumerate(same[0].snapshots) if snapshot.step == pick.step)
    there = [member.snapshots[place].probes[quality]["top1"] for member in same]
    at_the_end = [member.last.probes[quality]["top1"] for member in same]
    return JointPick(
        number=pick.number,
        step=pick.step,
        images=pick.images,
        quality=float(np.mean(there)),
        at_the_end=float(np.mean(at_the_end)),
    )
