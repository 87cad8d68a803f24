"""Label budgets: files that hold the labels of a few probe images and nothing else."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from src.data.source import numbered
from src.runtime import check, files

COLUMNS = ("index", "class", "group")
WANTED = "class, index (in the probe split) or file, and group if there are any"


class Budget(NamedTuple):
    """The labelled images that somebody could afford."""

    places: Int[np.ndarray, "n"]  # in the probe split
    classes: Int[np.ndarray, "n"]
    groups: Int[np.ndarray, "n"]

    @property
    def fewest_groups(self) -> int:
        """Of the classes, how many source images the one with the fewest has."""
        return min(len(np.unique(self.groups[self.classes == one])) for one in np.unique(self.classes))


def draw_budget(
    classes: Int[np.ndarray, "n"], groups: Int[np.ndarray, "n"], per_class: int, rng: np.random.Generator
) -> Budget | None:
    """``per_class`` images of every class, of different groups; None where a class has fewer groups."""
    chosen = []
    for label in np.unique(classes):
        order = rng.permutation(np.flatnonzero(classes == label))
        _, first = np.unique(groups[order], return_index=True)
        if len(first) < per_class:
            return None
        # back in random order: unique has sorted the groups, and the first would be the same in every draw
        chosen.append(order[np.sort(first)[:per_class]])
    places = np.sort(np.concatenate(chosen))
    return Budget(places, classes[places], groups[places])


def write_budgets(
    folder: Path, labels: dict[str, Shaped[np.ndarray, "n"]], *, per_class: list[int], draws: int, seed: int
) -> list[str]:
    """``draws`` files for each number of labels per class, and all.csv; a number that a class can't fill is left out.

    A file is <per class>-<draw>.csv with columns index (in the probe split), class and group. Returns their names.
    """
    check.number("budgets.draws", draws, at_least=1, whole=True)
    check.listed("budgets.per_class", per_class)
    for number in per_class:
        check.number("budgets.per_class", number, at_least=1, whole=True)
    folder.mkdir(parents=True, exist_ok=True)
    if "class" not in labels:
        return []
    classes, groups = labels["class"], labels["group"]
    budgets = {"all": Budget(np.arange(len(classes)), classes, groups)}
    for number in per_class:
        for draw in range(draws):
            # a seed of its own: another number or draw changes no other file
            budget = draw_budget(classes, groups, number, np.random.default_rng([seed, number, draw]))
            if budget is not None:
                budgets[f"{number}-{draw}"] = budget
    for name, budget in budgets.items():
        rows = zip(*(column.tolist() for column in budget), strict=True)
        files.write_atomically(folder / f"{name}.csv", files.to_csv(list(COLUMNS), rows))
    return sorted(budgets)


def read_budget(path: Path, images: int, names: Sequence[str] = ()) -> Budget:
    """A table with columns class, index (in the probe split) or file (one of its ``names``), and group if any.

    Without groups each image is its own. Raises ValueError where the file isn't such a table, names an image twice or
    one that isn't in probe.
    """
    if not path.exists():
        raise ValueError(f"{path} doesn't exist: it holds columns {WANTED}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, head = list(reader), reader.fieldnames or []
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path} isn't a table of comma-separated values: {error}") from None
    if "class" not in head or not {"index", "file"} & set(head):
        raise ValueError(f"{path} must have the columns {WANTED}, separated by commas, got {', '.join(head) or 'none'}")
    columns = {name: [(row[name] or "").strip() for row in rows] for name in head}
    for name in {"class", "group"} & set(head):
        if "" in columns[name]:
            raise ValueError(f"{path}, line {2 + columns[name].index('')}: {name} is empty")
    places = _indices(path, columns["index"], images) if "index" in head else _places(path, columns["file"], names)
    groups = _numbers(columns["group"]) if "group" in head else places
    budget = Budget(places, _numbers(columns["class"]), groups)
    if len(np.unique(budget.classes)) < 2:
        raise ValueError(f"{path} must label images of at least 2 classes, got {len(budget.places)} images")
    named, times = np.unique(budget.places, return_counts=True)
    if times.max() > 1:
        raise ValueError(f"{path} names image {named[times.argmax()]} {times.max()} times: give each image one line")
    return budget


def _indices(path: Path, values: list[str], images: int) -> Int[np.ndarray, "n"]:
    for line, value in enumerate(values, 2):
        if not value.isdecimal():
            raise ValueError(f"{path}, line {line}: index must be a whole number >= 0, got {value!r}")
        if int(value) >= images:
            raise ValueError(f"{path} names image {value}; the probe split has {images}")
    return np.array([int(value) for value in values], dtype=np.int64)


def _places(path: Path, values: list[str], names: Sequence[str]) -> Int[np.ndarray, "n"]:
    known, times = {name: place for place, name in enumerate(names)}, Counter(names)
    for line, value in enumerate(values, 2):
        if value not in known:
            where = (
                "images/probe.csv or labels/probe-files.csv lists them"
                if names
                else "give column index instead of file"
            )
            raise ValueError(f"{path}, line {line}: {value!r} is no file of the probe split: {where}")
        if times[value] > 1:
            raise ValueError(f"{path}, line {line}: probe has two files {value!r}: give column index instead")
    return np.array([known[value] for value in values], dtype=np.int64)


def _numbers(values: list[str]) -> Int[np.ndarray, "n"]:
    """Whole numbers as they are; other values, and longer numbers, are numbered."""
    # int64 holds every number of up to 18 digits
    if all(value.isdecimal() and len(value) < 19 for value in values):
        return np.array([int(value) for value in values], dtype=np.int64)
    return numbered(values)[0]
