"""What a selection goes by: one column of criteria, or several combined over the pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from src.evaluation.criterion import Criterion
from src.evaluation.embeddings import SPACES
from src.runtime.build import build
from src.runtime.records import Config
from src.study.pool import LABELS, Floats, Pool, TrialResult
from src.study.results import Selection
from src.trial.config import Space


class Rule(NamedTuple):
    """Columns, each with the sign that makes higher better, and how they become one score over a pool."""

    name: str
    columns: list[str]
    signs: list[int]
    within: list[str]  # what compared trials must share
    spaces: list[Space]  # that the columns are measured on
    combine: Callable[[Tensor], Tensor] | None  # (trials, columns) -> (trials,)

    def score(self, values: Floats) -> Floats:
        """Scores (trials,) of signed values (trials, columns); higher is better."""
        if self.combine is None:
            return values[:, 0]
        return np.asarray(self.combine(torch.from_numpy(values)).numpy())


def make_rule(pool: Pool, wanted: str | list[str]) -> Rule:
    """The rule of a criterion's name, of a column (rankme_h), of a label budget (labels_5-0) or of a list of these.

    Raises ValueError where the pool has no such criterion or nothing says which direction is better.
    """
    if isinstance(wanted, list):
        if not wanted:
            raise ValueError("rule must name at least one column, got an empty list")
        columns = [_column(pool, name) for name in wanted]
        return _combined(pool, "+".join(columns), columns, pool.criteria["consensus"].score)
    criterion = pool.criteria.get(wanted)
    if criterion is not None and criterion.combines:
        return _combined(pool, wanted, criterion.columns or [], criterion.score)
    column = _column(pool, wanted)
    sign, shared = _direction(pool, column)
    return Rule(column, [column], [sign], shared, _spaces(pool, [column]), None)


def _column(pool: Pool, name: str) -> str:
    """A criterion's first column, on the space it was published for; any other name as it is."""
    criterion = pool.criteria.get(name)
    if criterion is None:
        return name
    if criterion.combines:
        raise ValueError(f"{name} already combines several columns: name {', '.join(criterion.columns or [])} instead")
    return criterion.filled[0]


def rule_of(pool: Pool, chosen: Selection) -> Rule:
    """The rule that a selection.json states."""
    # From its own columns: the study's criterion of that name may have others by now.
    columns = list(chosen.columns)
    if chosen.combined_by is None:
        return make_rule(pool, columns[0])
    return _combined(pool, chosen.rule, columns, chosen.combined_by)


def _combined(pool: Pool, name: str, columns: list[str], score: Config) -> Rule:
    directions = [_direction(pool, column) for column in columns]
    # A combination compares only trials that every one of its columns compares.
    shared = sorted({what for _, each in directions for what in each})
    signs = [sign for sign, _ in directions]
    return Rule(name, list(columns), signs, shared, _spaces(pool, columns), build("criterion", score))


def owner_of(pool: Pool, column: str) -> Criterion | None:
    """The criterion that fills a column; None for a label budget's."""
    return next((criterion for criterion in pool.criteria.values() if column in criterion.filled), None)


def _spaces(pool: Pool, columns: list[str]) -> list[Space]:
    owners = {column: owner_of(pool, column) for column in columns}
    used = {owner.space_of(column) for column, owner in owners.items() if owner is not None}
    # In a fixed order, which a set doesn't have.
    return [space for space in SPACES if space in used]


def within(pool: Pool, criterion: Criterion) -> list[str]:
    """What trials must share to be compared: what a criterion states, or all that its columns do."""
    if not criterion.combines:
        return list(criterion.within or [])
    return _combined(pool, criterion.name, criterion.columns or [], criterion.score).within


def _direction(pool: Pool, column: str) -> tuple[int, list[str]]:
    if column.startswith(LABELS):
        known = sorted({LABELS + budget for member in pool.members for budget in member.budgets})
        if column not in known:
            have = f"measured are {', '.join(known)}" if known else f"run python -m src.budget study={pool.name}"
            raise ValueError(f"{column} was not measured: {have}")
        # Skill on the same images compares any two trials, whatever their method, dimension or loss.
        return 1, []
    owner = owner_of(pool, column)
    if owner is None or owner.combines:
        known = sorted(name for criterion in pool.criteria.values() for name in criterion.filled)
        raise ValueError(f"rule must be one of {', '.join(known)}, got {column!r}")
    if owner.direction == "none":
        raise ValueError(f"{column} has no better direction (published as not monotone): choose another criterion")
    return (1 if owner.direction == "higher" else -1), list(owner.within or [])


def measured(member: TrialResult, column: str, snapshot: int) -> float | None:
    """A column's value on a snapshot (counted from the first, or from the last with negative numbers)."""
    if not column.startswith(LABELS):
        return member.value(column, snapshot)
    # src.budget scores last snapshots alone.
    is_last = snapshot in (-1, len(member.snapshots) - 1)
    return member.budgets.get(column.removeprefix(LABELS)) if is_last else None


def check_comparable(members: list[TrialResult], rule: Rule) -> None:
    """Raise ValueError where the rule compares only trials that share something these don't."""
    if "dimension" in rule.within:
        sizes = {tuple(member.dimensions[space] for space in rule.spaces) for member in members}
        if len(sizes) > 1:
            shown = sorted(size[0] if len(size) == 1 else size for size in sizes)
            raise ValueError(
                f"{rule.name} is bounded by the number of features and can't rank trials of different "
                f"{' and '.join(rule.spaces)} sizes {shown}: fix model.features and method.projector.dimension, "
                "or choose another criterion"
            )
    if "loss" in rule.within and len({member.loss_definition for member in members}) > 1:
        overrides = [override for member in members for override in member.overrides]
        swept = {override.partition("=")[0] for override in overrides}
        differing = sorted(key for key in swept if key.startswith(("method.", "augmentation.", "batch_size")))
        raise ValueError(
            f"{rule.name} compares only trials whose loss is defined alike (method, augmentation, batch size), and "
            f"these differ in {', '.join(differing) or 'their configuration'}: choose another criterion"
        )
