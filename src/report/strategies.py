"""How every way of choosing a trial did in a pool, and what choosing the epoch too would bring."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from src.evaluation.snapshots import columns as columns_of
from src.report.regret import Chooser, budget_choosers, judge, noise_floor, one_chooser, random_chooser, rule_chooser
from src.report.resampling import Draws, ResampledPool, halvings, resampled_pool, resamples
from src.runtime.stats import accuracy
from src.selection.ranking import rank
from src.selection.rule import Rule, check_comparable, make_rule, rule_of
from src.study.pool import Pool, TrialResult, repetitions


def choosing(
    pool: Pool,
    members: list[TrialResult],
    collapsed: list[TrialResult],
    chosen: dict[str, Any],
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Each way of choosing among some healthy members of the pool, alone and with collapsed ones among the choices.

    Members of several methods: only ways that compare methods.
    """
    quality = settings["quality"]
    sample = resampled_pool(members, quality)
    samples = _samples(sample, settings)
    everything = resampled_pool([*members, *collapsed], quality)
    all_samples = samples if everything.trials == sample.trials else _samples(everything, settings)
    rule = rule_of(pool, chosen)
    several = len({member.method for member in members}) > 1
    rules = {
        name: one
        for name, one in ({rule.name: rule} | _rules(pool)).items()
        if not (several and "method" in one.within)
    }
    rows = []
    for name, one in rules.items():
        row = _named(name, judge([rule_chooser(sample, one)], *samples), sample)
        row["with_collapsed"] = judge([rule_chooser(everything, one)], *all_samples)
        row["note"] = _note(name, one, sample, row)
        if len(one.columns) == 1:
            row["noise_floor"] = noise_floor(members, one.columns[0])
        rows.append(row)
    for name, chooser, among_all in _without_a_rule(pool, chosen, sample, everything):
        row = _named(name, judge([chooser], *samples), sample)
        rows.append(row | {"with_collapsed": judge([among_all], *all_samples), "note": ""})
    with_labels = budget_choosers(pool, everything)
    for name, choosers in budget_choosers(pool, sample).items():
        row = _named(name, judge(choosers, *samples), sample)
        rows.append(row | {"with_collapsed": judge(with_labels[name], *all_samples), "note": ""})
    means = sample.means(sample.right)
    return {
        "rows": rows,
        "best": float(means.mean(1).max()),
        "worst": float(means.mean(1).min()),
        "mean": float(means.mean()),
        "configurations": sample.configurations,
        "sources": int(means.shape[1]),
        "standard_error": accuracy(means[int(means.mean(1).argmax())]).error,
        "noise_floor": _quality_noise(members, quality),
        "snapshots": _snapshots(pool, members, rule, quality, settings),
    }


def _samples(sample: ResampledPool, settings: dict[str, Any]) -> tuple[Draws, Draws]:
    seed = settings["seed"]
    return (
        halvings(sample, count=settings["halvings"], seed=seed),
        resamples(sample, count=settings["resamples"], seed=seed),
    )


def _rules(pool: Pool) -> dict[str, Rule]:
    """Every criterion with a better direction, on each of its spaces."""
    names = [name for c in pool.criteria.values() if c["direction"] != "none" for name in columns_of(c)]
    return {name: make_rule(pool, name) for name in names}


def _without_a_rule(
    pool: Pool, chosen: dict[str, Any], sample: ResampledPool, everything: ResampledPool
) -> list[tuple[str, Chooser, Chooser]]:
    """What was picked, before any trial was repeated; the default configuration; and chance."""
    trials = {winner["trial"] for winner in chosen["winners"]}
    picked = next((m.configuration for m in sample.trials if m.trial in trials), None)
    return [
        ("this selection", one_chooser(sample, picked), one_chooser(everything, picked)),
        ("default configuration", one_chooser(sample, pool.default), one_chooser(everything, pool.default)),
        ("random choice", random_chooser, random_chooser),
    ]


def _named(name: str, row: dict[str, Any], sample: ResampledPool) -> dict[str, Any]:
    """The row with the pick as the number of its first trial."""
    if row.get("pick") is not None:
        row["pick"] = next(
            m.number for m, c in zip(sample.trials, sample.configuration, strict=True) if c == row["pick"]
        )
    return {"name": name, **row}


def _note(name: str, rule: Rule, sample: ResampledPool, row: dict[str, Any]) -> str:
    """Why a rule chose nothing, or why selection would refuse it here; empty where all is well."""
    if "regret" not in row:
        return next((m.refused[c] for m in sample.trials for c in rule.columns if c in m.refused), "not measured")
    try:
        check_comparable(sample.trials, rule)
    except ValueError as refused:
        return f"selection refuses it here: {str(refused).partition(':')[0]}"
    return ""


def _quality_noise(members: list[TrialResult], quality: str) -> dict[str, float] | None:
    """Standard deviation of quality over seeds, and over configurations."""
    repeated = [np.array([m.last.probes[quality]["top1"] for m in same]) for same in repetitions(members).values()]
    several = [values for values in repeated if len(values) > 1]
    if not several or len(repeated) < 2:
        return None
    return {
        "seeds": float(np.sqrt(np.mean([values.var(ddof=1) for values in several]))),
        "configurations": float(np.std([values.mean() for values in repeated], ddof=1)),
    }


def _snapshots(
    pool: Pool, members: list[TrialResult], rule: Rule, quality: str, settings: dict[str, Any]
) -> dict[str, Any]:
    """What choosing the epoch too would bring: by val itself, with its optimism, and by the rule.

    The optimism of best-over-epochs: each trial's best snapshot on one half of val's sources, its value there minus
    on the other half, averaged. Joint: the rule's pick over all snapshots of all trials, as selection makes it.
    """
    rng = np.random.default_rng(settings["seed"])
    right = [np.stack([s.right[quality] for s in m.snapshots]) for m in members]
    optimism, gain = [], []
    for _ in range(settings["halvings"]):
        first, second = np.array_split(rng.permutation(right[0].shape[1]), 2)
        for a, b in ((first, second), (second, first)):
            for trial in right:
                on_a, on_b = trial[:, a].mean(1), trial[:, b].mean(1)
                optimism.append(on_a[on_a.argmax()] - on_b[on_a.argmax()])
                gain.append(on_b[on_a.argmax()] - on_b[-1])
    return {
        "optimism": float(np.mean(optimism)),
        "gain": float(np.mean(gain)),
        "joint": _joint(replace(pool, members=members), rule, quality),
    }


def _joint(pool: Pool, rule: Rule, quality: str) -> dict[str, Any] | None:
    """The pick over all snapshots, and what its trial is worth there and at its end; None where nothing compares."""
    try:
        (pick,) = rank(pool, rule, snapshots="all", draws=1, seed=0)["winners"]
    except ValueError:
        return None
    own = next(member.configuration for member in pool.members if member.trial == pick["trial"])
    same = repetitions(pool.healthy)[own]
    place = next(k for k, snapshot in enumerate(same[0].snapshots) if snapshot.step == pick["step"])
    at, end = (float(np.mean([m.snapshots[k].probes[quality]["top1"] for m in same])) for k in (place, -1))
    return {key: pick[key] for key in ("number", "step", "images")} | {"quality": at, "at_the_end": end}
