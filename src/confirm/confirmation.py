"""What is left of a selection's winner once luck is gone: the same rule on freshly seeded trials alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from src.runtime import files
from src.selection.ranking import rank
from src.selection.rule import Rule, measured, rule_of
from src.study.pool import Pool, TrialResult, repetitions

SUFFIX = "-confirm"  # the study of the repeated trials is named after the one it repeats


def compare(chosen: dict[str, Any], first: Pool, fresh: Pool) -> dict[str, Any]:
    """Selection repeated on the means over fresh seeds, and how far each column fell from its selected value.

    The winner's curse of a column is the selected trial's value minus its mean over fresh seeds, signed so that a
    positive curse means that the first value flattered.
    """
    rule = rule_of(fresh, chosen)
    try:
        again = rank(fresh, rule, snapshots=chosen["snapshots"], draws=chosen["draws"], seed=chosen["seed"])
        why = ""
    except ValueError as nothing_left:
        again, why = {"winners": [], "ranking": [], "dropped": [], "noise": []}, str(nothing_left)
    lines = _repeated(chosen, rule, first, fresh)
    by_trial = {fresh_trial["trial"]: line for line in lines for fresh_trial in line["fresh"]}
    return {
        "study": first.name,
        "selection": files.fingerprint(chosen),
        "rule": chosen["rule"],
        "seeds": sorted({member.seed for member in fresh.members}),
        "confirmed": lines,
        "winners": [
            {key: by_trial[winner["trial"]][key] for key in ("number", "trial", "method", "fresh")}
            | {"step": winner["step"], "probability_best": winner["probability_best"]}
            for winner in again["winners"]
        ],
        "why_none": why,
        "selected": [winner["number"] for winner in chosen["winners"]],
        "noise": again["noise"],
        "ranking": [
            {
                "number": by_trial[line["trial"]]["number"],
                "step": line["step"],
                "score": line["score"],
                "probability_best": line["probability_best"],
            }
            for line in again["ranking"]
        ],
        "dropped": again["dropped"],
    }


def _repeated(chosen: dict[str, Any], rule: Rule, first: Pool, fresh: Pool) -> list[dict[str, Any]]:
    """Each repeated configuration: its first trial, its fresh ones, and how far each column fell."""
    original = {configuration: same[0] for configuration, same in repetitions(first.healthy).items()}
    steps: dict[int, int] = {}
    for line in chosen["ranking"]:
        steps.setdefault(line["number"], line["step"])
    lines = []
    for configuration, members in repetitions(fresh.members).items():
        before = original[configuration]
        step = steps[before.number]
        signs = zip(rule.columns, rule.signs, strict=True)
        lines.append(
            {
                "number": before.number,
                "trial": before.trial,
                "method": before.method,
                "step": step,
                "fresh": [{"seed": m.seed, "trial": m.trial, "status": m.status} for m in members],
                "columns": {column: _fall(before, members, column, sign, step) for column, sign in signs},
            }
        )
    return lines


def _fall(before: TrialResult, members: list[TrialResult], column: str, sign: int, step: int) -> dict[str, Any]:
    value = _at(before, column, step)
    healthy = [member for member in members if member.status == "complete"]
    values = [found for member in healthy if (found := _at(member, column, step)) is not None]
    if value is None or not values:
        return {"first": value, "fresh": values}
    return {"first": value, "fresh": values, "curse": float(sign * (value - np.mean(values)))}


def _at(member: TrialResult, column: str, step: int) -> float | None:
    """A column's value on the snapshot at ``step``."""
    place = next((k for k, snapshot in enumerate(member.snapshots) if snapshot.step == step), None)
    return None if place is None else measured(member, column, place)
