"""CSV files that say something about image files: their class, their group."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np


def read_column(path: str, column: str, names: list[str]) -> list[str | None]:
    """The column's entry for each file name, None where it has none.

    The table has a column ``file``, paths relative to the folder of images. Raises ValueError where it can't be read,
    lacks a column, has a row without a file, names one twice, or names one that isn't there.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            rows = list(csv.DictReader(file))
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{path} can't be read as a CSV file ({reason})") from None
    for needed in ("file", column):
        if not rows or needed not in rows[0]:
            found = ", ".join(rows[0]) if rows else "no rows"
            raise ValueError(f"{path} must have the columns file and {column}, separated by a comma, got {found}")
    known: dict[str, str | None] = {}
    for number, row in enumerate(rows, 1):
        if not row["file"]:
            raise ValueError(f"{path} names no file in row {number} below its header")
        if row["file"] in known:
            raise ValueError(f"{path} names {row['file']!r} twice")
        known[row["file"]] = (row[column] or "").strip() or None
    strange = sorted(set(known) - set(names))
    if strange:
        mend = "save the table as UTF-8" if not _is_text(strange[0]) else "paths are relative to it, with /"
        raise ValueError(
            f"{path}: {len(strange)} of its files aren't images below the folder, the first {strange[0]!r}: {mend}"
        )
    return [known.get(name) for name in names]


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def numbered(values: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Numbers from 0 for the different values, whole numbers in their own order, and what each number stands for."""
    different = sorted(set(values), key=lambda value: (0, int(value), "") if value.isdecimal() else (1, 0, value))
    number = {value: place for place, value in enumerate(different)}
    return np.array([number[value] for value in values], dtype=np.int64), tuple(different)
