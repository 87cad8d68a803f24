"""Label budgets: files that hold the labels of a few probe images and nothing else."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from src import check, files

COLUMNS = ("index", "class", "group")


class Budget(NamedTuple):
    """The labelled images that somebody could afford."""

    places: np.ndarray  # (n,) in the probe split
    classes: np.ndarray  # (n,)
    groups: np.ndarray  # (n,)


def draw_budget(classes: np.ndarray, groups: np.ndarray, per_class: int, rng: np.random.Generator) -> Budget | None:
    """``per_class`` images of every class, of different groups; None where a class has fewer groups."""
    chosen = []
    for label in np.unique(classes):
        order = rng.permutation(np.flatnonzero(classes == label))
        _, first = np.unique(groups[order], return_index=True)
        if len(first) < per_class:
            return None
        chosen.append(order[np.sort(first)[:per_class]])
    places = np.sort(np.concatenate(chosen))
    return Budget(places, classes[places], groups[places])


def write_budgets(
    folder: Path, labels: dict[str, np.ndarray], *, per_class: list[int], draws: int, seed: int
) -> list[str]:
    """``draws`` files for each number of labels per class, and all.csv; a number that a class can't fill is left out.

    A file is <per class>-<draw>.csv with columns index (in the probe split), class and group. Returns their names.
    """
    check.number("budgets.draws", draws, at_least=1, whole=True)
    check.listed("budgets.per_class", per_class)
    for number in per_class:
        check.number("budgets.per_class", number, at_least=1, whole=True)
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.csv"):
        stale.unlink()
    if "class" not in labels:
        return []
    classes, groups = labels["class"], labels["group"]
    budgets = {"all": Budget(np.arange(len(classes)), classes, groups)}
    for number in per_class:
        for draw in range(draws):
            budget = draw_budget(classes, groups, number, np.random.default_rng([seed, number, draw]))
            if budget is not None:
                budgets[f"{number}-{draw}"] = budget
    for name, budget in budgets.items():
        rows = zip(*(column.tolist() for column in budget), strict=True)
        files.write_atomically(folder / f"{name}.csv", files.to_csv(list(COLUMNS), rows))
    return sorted(budgets)


def _whole(path: Path, line: int, column: str, value: str | None) -> int:
    try:
        return int(value or "")
    except ValueError:
        mend = "; number the classes 0, 1, 2, ..." if column == "class" else ""
        raise ValueError(f"{path}, line {line}: {column} must be a whole number, got {value!r}{mend}") from None


def read_budget(path: Path, images: int) -> Budget:
    """Raises ValueError where the file isn't such a table, names an image twice or one that probe hasn't got."""
    if not path.exists():
        raise ValueError(f"{path} doesn't exist: it holds columns index (in the probe split), class and group")
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            rows, head = list(reader), reader.fieldnames or []
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path} isn't a table of comma-separated values: {error}") from None
    lacking = [name for name in COLUMNS if name not in head]
    if lacking:
        raise ValueError(f"{path} must have the columns {', '.join(COLUMNS)}; it lacks {', '.join(lacking)}")
    columns = [np.array([_whole(path, line, name, row[name]) for line, row in enumerate(rows, 2)]) for name in COLUMNS]
    budget = Budget(*columns)
    if len(budget.places) == 0 or len(np.unique(budget.classes)) < 2:
        raise ValueError(f"{path} must label images of at least 2 classes, got {len(budget.places)} images")
    outside = budget.places[(budget.places < 0) | (budget.places >= images)]
    if len(outside):
        raise ValueError(f"{path} names image {outside[0]}; the probe split has {images}")
    named, times = np.unique(budget.places, return_counts=True)
    if times.max() > 1:
        raise ValueError(f"{path} names image {named[times.argmax()]} {times.max()} times: give each image one line")
    return budget
