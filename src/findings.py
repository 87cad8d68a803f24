"""Every number of the report but those of the sealed test split, from a pool alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from src.choosing import choosing
from src.judgement import correlations
from src.knobs import importance
from src.loss_trust import loss_trust, sentence
from src.pool import Floats, Member, Pool
from src.rule import measured, rule_of

TARGETS = ("train_loss", "lidar_z", "rankme_z", "view_information_h")  # whose knobs are compared with quality's


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
        "ranking": chosen["ranking"],
        "noise": chosen["noise"],
        "dropped": chosen["dropped"],
        "confirmation": confirmation,
        "pool": {
            "trials": len(pool.members),
            **{s: sum(m.status == s for m in pool.members) for s in ("complete", "collapsed", "diverged", "stopped")},
        },
        "criteria": _glossary(pool),
        "trials": [trial_row(member, quality) for member in pool.members],
        "compute": _compute(pool),
    }
    if labelled:
        by_method = {method: [m for m in pool.healthy if m.method == method] for method in pool.methods}
        by_method = {method: members for method, members in by_method.items() if members}
        found["methods"] = list(by_method)
        found["choosing"] = {method: choosing(pool, members, chosen, settings) for method, members in by_method.items()}
        found["loss"] = {method: _loss(method, members, quality, settings) for method, members in by_method.items()}
        found["budget"] = _budget_view(pool, chosen, quality)
    found["knobs"] = _knobs(pool, chosen, quality if labelled else None, settings["seed"])
    return found


def _glossary(pool: Pool) -> dict[str, Any]:
    keys = ("input", "spaces", "direction", "within", "invariances")
    return {name: {key: criterion[key] for key in keys} for name, criterion in pool.criteria.items()}


def _loss(method: str, members: list[Member], quality: str, settings: dict[str, Any]) -> dict[str, Any]:
    trust = loss_trust(members, quality, resampled=settings["resamples"], seed=settings["seed"])
    return trust | {"sentence": sentence(method, trust)}


def _budget_view(pool: Pool, chosen: dict[str, Any], quality: str) -> list[dict[str, float]]:
    """Quality of the rule's pick, and of the best, among the first trials, against the compute spent on them."""
    rule = rule_of(pool, chosen)
    spent, points, seen = 0.0, [], []
    for member in pool.members:
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
    """Importances for quality, for the rule's columns and for the best known criteria, and how far they agree."""
    members = pool.healthy
    targets: dict[str, Floats] = {}
    if quality is not None:
        targets["quality"] = np.array([m.last.probes[quality]["top1"] for m in members])
    for column in dict.fromkeys([*chosen["columns"], *TARGETS]):
        values = [measured(member, column, -1) for member in members]
        if all(value is not None for value in values):
            targets[column] = np.array(values, dtype=float)
    found = {}
    for name, target in targets.items():
        result = importance(members, target, seed=seed, pairs=name == "quality")
        if result is not None:
            found[name] = result
    if "quality" in found:
        ours = np.array(list(found["quality"]["knobs"].values()))
        for name in found:
            theirs = np.array(list(found[name]["knobs"].values()))
            rho = correlations(theirs[None], ours[None])[1][0]
            found[name]["agreement"] = None if np.isnan(rho) else float(rho)
    return found


def trial_row(member: Member, quality: str) -> dict[str, Any]:
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
        "criteria": last.criteria if last else {},
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
