"""Every number of the report but those of the sealed test split, from a pool alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from src.evaluation.snapshots import columns as columns_of
from src.report.importance import importance, varied
from src.report.loss_correlation import loss_trust, sentence
from src.report.regret import correlations
from src.report.strategies import choosing
from src.selection.rule import measured, rule_of, within
from src.study.pool import LABELS, Floats, Pool, TrialResult, repetitions

ALL_METHODS = "all methods"


def find(
    pool: Pool, chosen: dict[str, Any], confirmation: dict[str, Any] | None, settings: dict[str, Any]
) -> dict[str, Any]:
    """The report's numbers; without probe's scores what is then unknowable is left out."""
    quality = settings["quality"]
    labelled = any(quality in member.last.right for member in pool.finished)
    found: dict[str, Any] = {
        "study": pool.name,
        "data": pool.data,
        "rule": chosen["rule"],
        "columns": list(chosen["columns"]),
        "methods": pool.methods,
        "quality": quality if labelled else None,
        "picks": chosen["winners"],
        "picked": [winner["number"] for winner in chosen["winners"]],
        "final": _final(chosen, confirmation),
        "default": next((m.number for m in pool.members if m.configuration == pool.default), None),
        "snapshots": chosen["snapshots"],
        "ranking": chosen["ranking"],
        "noise": chosen["noise"],
        "dropped": chosen["dropped"],
        "confirmation": confirmation,
        "pool": {
            "trials": len(pool.members),
            **{s: sum(m.status == s for m in pool.members) for s in ("complete", "collapsed", "diverged", "stopped")},
        },
        "label_files": sorted({name for member in pool.members for name in member.budgets}),
        "criteria": _glossary(pool),
        "trials": [trial_row(member, quality) for member in pool.members],
        "compute": _compute(pool),
    }
    if labelled:
        groups = {method: [m for m in pool.healthy if m.method == method] for method in pool.methods}
        groups = {method: members for method, members in groups.items() if members}
        found["methods"] = list(groups)
        found["loss"] = {method: _loss(pool, method, quality, settings) for method in groups}
        if len(groups) > 1:
            groups[ALL_METHODS] = pool.healthy
        collapsed = [member for member in pool.finished if member.status == "collapsed"]
        found["choosing"] = {
            name: choosing(pool, members, [m for m in collapsed if name in (m.method, ALL_METHODS)], chosen, settings)
            for name, members in groups.items()
        }
        found["budget"] = _budget_view(pool, chosen, quality)
    found["varied"] = varied(pool.healthy)
    found["knobs"] = _knobs(pool, chosen, quality if labelled else None, settings["seed"])
    return found


def _final(chosen: dict[str, Any], confirmation: dict[str, Any] | None) -> list[dict[str, Any]]:
    """For each winner the trial to take: what fresh seeds confirmed, where there is such a thing."""
    picks = []
    for winner in chosen["winners"]:
        confirmed = [
            one
            for one in (confirmation["winners"] if confirmation else [])
            if len(chosen["winners"]) == 1 or one["method"] == winner["method"]
        ]
        picks.append({"number": (confirmed or [winner])[0]["number"], "confirmed": bool(confirmed)})
    return picks


def _glossary(pool: Pool) -> dict[str, Any]:
    keys = ("input", "spaces", "direction", "invariances")
    return {
        name: {key: criterion[key] for key in keys} | {"within": within(pool, criterion)}
        for name, criterion in pool.criteria.items()
    }


def _loss(pool: Pool, method: str, quality: str, settings: dict[str, Any]) -> dict[str, Any]:
    healthy, finished = ([m for m in members if m.method == method] for members in (pool.healthy, pool.finished))
    keys = {"resampled": settings["resamples"], "seed": settings["seed"]}
    trust = loss_trust(healthy, quality, **keys)
    found = trust | {"sentence": sentence(method, trust)}
    if len(finished) > len(healthy):
        found["with_collapsed"] = loss_trust(finished, quality, **keys)
    return found


def _budget_view(pool: Pool, chosen: dict[str, Any], quality: str) -> list[dict[str, float]]:
    """Quality of the rule's pick, and of the best, among the first trials, against the compute spent on them."""
    rule = rule_of(pool, chosen)
    spent, points, seen = 0.0, [], []
    for members in repetitions(pool.members).values():
        member = members[0]  # what confirm repeated was spent after the choice
        if not member.snapshots:
            continue
        spent += member.last.flops + member.evaluation_flops
        values = [measured(member, column, -1) for column in rule.columns]
        if member.status == "complete" and all(value is not None for value in values):
            seen.append((np.array(values, dtype=float) * rule.signs, member.last.probes[quality]["top1"]))
        if seen:
            scores = rule.score(np.stack([values for values, _ in seen]))
            points.append(
                {
                    "tflops": spent / 1e12,
                    "pick": float(seen[int(scores.argmax())][1]),
                    "best": float(max(value for _, value in seen)),
                }
            )
    return points


def _compute(pool: Pool) -> dict[str, float]:
    training = sum(m.last.flops for m in pool.members if m.snapshots)
    return {
        "training_tflops": training / 1e12,
        "evaluation_tflops": sum(m.evaluation_flops for m in pool.members) / 1e12,
    }


def _knobs(pool: Pool, chosen: dict[str, Any], quality: str | None, seed: int) -> dict[str, Any]:
    """Importances for quality, for the rule's columns and for every other criterion, and how far they agree."""
    members = pool.healthy
    targets: dict[str, Floats] = {}
    if quality is not None:
        targets["quality"] = np.array([m.last.probes[quality]["top1"] for m in members])
    known = [column for criterion in pool.criteria.values() for column in columns_of(criterion)[:1]]
    for column in dict.fromkeys([*chosen["columns"], *known]):
        values = [measured(member, column, -1) for member in members]
        if all(value is not None for value in values):
            targets[column] = np.array(values, dtype=float)
    found = {}
    for name, target in targets.items():
        result = importance(members, target, seed=seed, pairs=name == "quality")
        if result is not None:
            found[name] = result
    for result in found.values():
        result["agreement"] = _agreement(result, found["quality"]) if "quality" in found else None
    return found


def _agreement(ours: dict[str, Any], theirs: dict[str, Any]) -> float | None:
    """Rank correlation of two importances; None where a forest knows nothing."""
    if min(ours["r2"], theirs["r2"]) <= 0:
        return None
    values = [np.array(list(found["knobs"].values())) for found in (ours, theirs)]
    rho = correlations(values[0][None], values[1][None])[1][0]
    return None if np.isnan(rho) else float(rho)


def trial_row(member: TrialResult, quality: str) -> dict[str, Any]:
    """A trial as the page's table and the figures take it."""
    last = member.last if member.snapshots else None
    return {
        "number": member.number,
        "trial": member.trial,
        "configuration": member.configuration,
        "seed": member.seed,
        "method": member.method,
        "status": member.status,
        "reason": member.reason,
        "overrides": member.overrides,
        "loss_group": member.loss_definition,
        "tflops": last.flops / 1e12 if last else None,
        "seconds": member.seconds,
        "criteria": (last.criteria if last else {}) | {LABELS + name: skill for name, skill in member.budgets.items()},
        "probes": last.probes if last else {},
        "knobs": member.knobs,
        "over_training": [
            {
                "images": s.images,
                "loss": s.loss,
                "criteria": s.criteria,
                "quality": s.probes.get(quality, {}).get("top1"),
            }
            for s in member.snapshots
        ],
    }
