"""Whether a selection's winner was luck: the same rule once more, on freshly seeded trials alone."""

from __future__ import annotations

import numpy as np

from src.runtime import files
from src.selection.ranking import rank
from src.selection.rule import Rule, measured, rule_of
from src.study.pool import Pool, TrialResult, repetitions
from src.study.results import (
    Confirmation,
    ConfirmedWinner,
    Fall,
    FreshTrial,
    RankedAgain,
    RankedTrial,
    Repeated,
    Selection,
)

SUFFIX = "-confirm"  # the study of the repeated trials is named after the one it repeats


def compare(chosen: Selection, first: Pool, fresh: Pool) -> Confirmation:
    """Selection repeated on the means over fresh seeds, and how far each column fell from its selected value.

    The winner's curse of a column is the selected trial's value minus its mean over fresh seeds, signed so that a
    positive curse means that the first value flattered.
    """
    rule = rule_of(fresh, chosen)
    again, why = None, ""
    try:
        # Without the first trials: they were chosen for a high value, which flatters them (the winner's curse).
        again = rank(fresh, rule, snapshots=chosen.snapshots, draws=chosen.draws, seed=chosen.seed)
    except ValueError as nothing_left:
        # All fresh trials may have collapsed: that is a result too, not an error.
        why = str(nothing_left)
    lines = _repeated(chosen, rule, first, fresh)
    by_trial = {fresh_trial.trial: line for line in lines for fresh_trial in line.fresh}
    return Confirmation(
        study=first.name,
        selection=files.fingerprint(chosen),
        rule=chosen.rule,
        seeds=sorted({member.seed for member in fresh.members}),
        confirmed=lines,
        winners=[_winner(by_trial[winner.trial], winner) for winner in again.winners] if again else [],
        why_none=why,
        selected=[winner.number for winner in chosen.winners],
        noise=again.noise if again else [],
        ranking=[_ranked(by_trial[line.trial], line) for line in again.ranking] if again else [],
        dropped=again.dropped if again else [],
    )


def _winner(line: Repeated, again: RankedTrial) -> ConfirmedWinner:
    return ConfirmedWinner(line.number, line.trial, line.method, line.fresh, again.step, again.probability_best)


def _ranked(line: Repeated, again: RankedTrial) -> RankedAgain:
    return RankedAgain(line.number, again.step, again.score, again.probability_best)


def _repeated(chosen: Selection, rule: Rule, first: Pool, fresh: Pool) -> list[Repeated]:
    """Each repeated configuration: its first trial, its fresh ones, and how far each column fell."""
    original = {configuration: same[0] for configuration, same in repetitions(first.healthy).items()}
    steps: dict[int, int] = {}
    for line in chosen.ranking:
        # With snapshots=all a trial has several lines: its first is its best step.
        steps.setdefault(line.number, line.step)
    lines = []
    for configuration, members in repetitions(fresh.members).items():
        before = original[configuration]
        step = steps[before.number]
        trials = [FreshTrial(member.seed, member.trial, member.status) for member in members]
        signs = zip(rule.columns, rule.signs, strict=True)
        falls = {column: _fall(before, members, column, sign, step) for column, sign in signs}
        lines.append(Repeated(before.number, before.trial, before.method, step, trials, falls))
    return lines


def _fall(before: TrialResult, members: list[TrialResult], column: str, sign: int, step: int) -> Fall:
    value = _at(before, column, step)
    healthy = [member for member in members if member.status == "complete"]
    # A fresh trial that collapsed has no value that means anything; its status stands beside the others.
    values = [now for member in healthy if (now := _at(member, column, step)) is not None]
    if value is None or not values:
        return Fall(value, values)
    return Fall(value, values, curse=float(sign * (value - np.mean(values))))


def _at(member: TrialResult, column: str, step: int) -> float | None:
    """A column's value on the snapshot at ``step``."""
    place = next((k for k, snapshot in enumerate(member.snapshots) if snapshot.step == step), None)
    return None if place is None else measured(member, column, place)
