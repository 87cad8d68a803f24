"""What is left of a selection's winner once luck is gone: the same rule on freshly seeded trials alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from src import files
from src.pool import Member, Pool
from src.ranking import rank
from src.rule import measured, rule_of

SUFFIX = "-confirm"  # the study of the repeated trials is named after the one it repeats


def compare(chosen: dict[str, Any], first: Pool, fresh: Pool) -> dict[str, Any]:
    """Selection repeated on the means over fresh seeds, and how far each column fell from its selected value.

    The winner's curse of a column is the selected trial's value minus its mean over fresh seeds, signed so that a
    positive curse means that the first value flattered.
    """
    rule = rule_of(fresh, chosen)
    again = rank(fresh, rule, snapshots="last", draws=chosen["draws"], seed=chosen["seed"])
    original = {member.configuration: member for member in first.members}
    lines: list[dict[str, Any]] = []
    for configuration, members in fresh.repetitions(fresh.members).items():
        before = original[configuration]
        lines.append(
            {
                "number": before.number,
                "trial": before.trial,
                "method": before.method,
                "fresh": [{"seed": m.seed, "trial": m.trial, "status": m.status} for m in members],
                "columns": {
                    column: _fall(before, members, column, sign)
                    for column, sign in zip(rule.columns, rule.signs, strict=True)
                },
            }
        )
    by_trial = {fresh_trial["trial"]: line for line in lines for fresh_trial in line["fresh"]}
    return {
        "study": first.name,
        "selection": files.fingerprint(chosen),
        "rule": chosen["rule"],
        "seeds": sorted({member.seed for member in fresh.members}),
        "confirmed": lines,
        "winners": [
            {key: by_trial[winner["trial"]][key] for key in ("number", "trial", "method", "fresh")}
            for winner in again["winners"]
        ],
        "selected": [winner["number"] for winner in chosen["winners"]],
        "ranking": [
            {
                "number": by_trial[line["trial"]]["number"],
                "score": line["score"],
                "probability_best": line["probability_best"],
            }
            for line in again["ranking"]
        ],
        "dropped": again["dropped"],
    }


def _fall(before: Member, members: list[Member], column: str, sign: int) -> dict[str, Any]:
    value = measured(before, column, -1)
    values = [found for member in members if (found := measured(member, column, -1)) is not None]
    if value is None or not values:
        return {"first": value, "fresh": values}
    return {"first": value, "fresh": values, "curse": float(sign * (value - np.mean(values)))}
