"""How every way of choosing a trial did in a pool, and what choosing the epoch too would bring."""

from __future__ import annotations

from typing import Any

import numpy as np

from src.evaluation import columns as columns_of
from src.judgement import (
    Arena,
    Draws,
    default_chooser,
    halvings,
    judge,
    make_arena,
    noise_floor,
    random_chooser,
    resamples,
    rule_chooser,
)
from src.pool import LABELS, Member, Pool
from src.rule import Rule, check_comparable, make_rule, measured, rule_of
from src.stats import accuracy


def choosing(pool: Pool, members: list[Member], chosen: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Each way of choosing a trial, with and without the collapsed ones among the choices."""
    quality, seed = settings["quality"], settings["seed"]
    method = members[0].method
    arena = make_arena(members, quality)
    samples = _samples(arena, settings)
    everything = make_arena([m for m in pool.finished if m.method == method], quality)
    all_samples = samples if everything.trials == arena.trials else _samples(everything, settings)
    means = arena.means(arena.right)
    rows = []
    for name, rule in _ways(pool, arena).items():
        row = _judged(name, rule, arena, samples)
        row["with_collapsed"] = _judged(name, rule, everything, all_samples)
        if rule is not None and len(rule.columns) == 1:
            row["noise_floor"] = noise_floor(pool, rule.columns[0])
        row["note"] = _note(pool, name, rule, arena, row)
        rows.append(row)
    return {
        "rows": rows,
        "best": float(means.mean(1).max()),
        "worst": float(means.mean(1).min()),
        "mean": float(means.mean()),
        "configurations": arena.configurations,
        "sources": int(means.shape[1]),
        "standard_error": accuracy(means[int(means.mean(1).argmax())]).error,
        "noise_floor": _quality_noise(pool, members, quality),
        "snapshots": _snapshots(pool, members, chosen, quality, settings["halvings"], seed),
    }


def _samples(arena: Arena, settings: dict[str, Any]) -> tuple[Draws, Draws]:
    seed = settings["seed"]
    return (
        halvings(arena, count=settings["halvings"], seed=seed),
        resamples(arena, count=settings["resamples"], seed=seed),
    )


def _ways(pool: Pool, arena: Arena) -> dict[str, Rule | None]:
    """Ways of choosing by name; None for those that need no rule."""
    ways: dict[str, Rule | None] = {"random choice": None, "default configuration": None}
    for criterion in pool.criteria.values():
        if criterion["direction"] != "none":
            for wanted in columns_of(criterion):
                ways[wanted] = make_rule(pool, wanted)
    for budget in sorted({budget for member in arena.trials for budget in member.budgets}):
        if budget == "all" or budget.endswith("-0"):
            ways[LABELS + budget] = make_rule(pool, LABELS + budget)
    return ways


def _judged(name: str, rule: Rule | None, arena: Arena, samples: tuple[Draws, Draws]) -> dict[str, Any]:
    if rule is not None:
        chooser = rule_chooser(arena, rule)
    else:
        chooser = random_chooser if name == "random choice" else default_chooser(arena)
    row = judge(chooser, *samples)
    if row.get("pick") is not None:
        row["pick"] = next(m.number for m, c in zip(arena.trials, arena.configuration, strict=True) if c == row["pick"])
    return {"name": name, **row}


def _note(pool: Pool, name: str, rule: Rule | None, arena: Arena, row: dict[str, Any]) -> str:
    """Why a way chose nothing, or why selection would refuse it here; empty where all is well."""
    if rule is None:
        return ""
    if "regret" not in row:
        return next((m.refused[c] for m in arena.trials for c in rule.columns if c in m.refused), "not measured")
    try:
        check_comparable(arena.trials, rule)
    except ValueError as refused:
        return f"selection refuses it here: {str(refused).partition(':')[0]}"
    return ""


def _quality_noise(pool: Pool, members: list[Member], quality: str) -> dict[str, float] | None:
    """Standard deviation of quality over seeds, and over configurations."""
    repeated = [np.array([m.last.probes[quality]["top1"] for m in same]) for same in pool.repetitions(members).values()]
    several = [values for values in repeated if len(values) > 1]
    if not several or len(repeated) < 2:
        return None
    return {
        "seeds": float(np.sqrt(np.mean([values.var(ddof=1) for values in several]))),
        "configurations": float(np.std([values.mean() for values in repeated], ddof=1)),
    }


def _snapshots(
    pool: Pool, members: list[Member], chosen: dict[str, Any], quality: str, count: int, seed: int
) -> dict[str, Any]:
    """What choosing the epoch too would bring: by the rule, and by val itself with its optimism.

    The optimism of best-over-epochs: each trial's best snapshot on one half of val's sources, its value there minus
    on the other half, averaged. Joint: the rule's pick over all snapshots of all trials.
    """
    rng = np.random.default_rng(seed)
    right = [np.stack([s.right[quality] for s in m.snapshots]) for m in members]
    optimism, gain = [], []
    for _ in range(count):
        first, second = np.array_split(rng.permutation(right[0].shape[1]), 2)
        for a, b in ((first, second), (second, first)):
            for trial in right:
                on_a, on_b = trial[:, a].mean(1), trial[:, b].mean(1)
                optimism.append(on_a[on_a.argmax()] - on_b[on_a.argmax()])
                gain.append(on_b[on_a.argmax()] - on_b[-1])
    rule = rule_of(pool, chosen)
    found = []
    for member, trial in zip(members, right, strict=True):
        for k in range(len(member.snapshots)):
            values = [measured(member, column, k) for column in rule.columns]
            if all(value is not None for value in values):
                found.append((member, k, np.array(values, dtype=float) * rule.signs, float(trial[k].mean())))
    if not found:
        return {"optimism": float(np.mean(optimism)), "gain": float(np.mean(gain)), "joint": None}
    scores = rule.score(np.stack([values for _, _, values, _ in found]))
    member, k, _, value = found[int(scores.argmax())]
    return {
        "optimism": float(np.mean(optimism)),
        "gain": float(np.mean(gain)),
        "joint": {
            "number": member.number,
            "step": member.snapshots[k].step,
            "images": member.snapshots[k].images,
            "quality": value,
        },
    }
