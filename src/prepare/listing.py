"""Which images a folder holds, and CSV files that say something about them: their class, their group."""

from __future__ import annotations

import csv
import io
import os
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from src.runtime import files


class Listed(NamedTuple):
    names: list[str]  # relative to the folder
    paths: list[str]  # absolute ones of the same files
    outside: list[str]  # names of links that lead outside the folder and weren't followed


def image_files(root: str, endings: tuple[str, ...], follow_links: bool) -> Listed:
    """The files below the folder with these endings, in order; hidden files and folders aren't looked at.

    Links to files or folders outside it are followed only if ``follow_links``: a folder received from others may
    have links to what its maker couldn't read.
    """
    base = os.path.realpath(root)
    outside: list[str] = []

    def walk(folder: str, above: frozenset[str]) -> Iterator[str]:
        above |= {os.path.realpath(folder)}
        with os.scandir(folder) as entries:
            # scandir's order is the file system's, and the order decides which split an image gets
            for entry in sorted(entries, key=lambda entry: entry.name):
                picture = entry.name.lower().endswith(endings)
                if entry.name.startswith(".") or not (entry.is_dir() or (picture and entry.is_file())):
                    continue
                if entry.is_symlink() and not follow_links and not _is_below(base, os.path.realpath(entry.path)):
                    outside.append(entry.path)
                elif not entry.is_dir():
                    yield entry.path
                elif os.path.realpath(entry.path) not in above:  # a link may lead back
                    yield from walk(entry.path, above)

    paths = list(walk(str(root), frozenset()))
    absolute = [str(Path(path).absolute()) for path in paths]
    names = [os.path.relpath(path, root) for path in paths]
    return Listed(names, absolute, [os.path.relpath(path, root) for path in outside])


def _is_below(base: str, real: str) -> bool:
    return os.path.commonpath([base, real]) == base


def read_column(path: str, column: str, names: Collection[str], outside: Sequence[str] = ()) -> list[str | None]:
    """The column's entry for each file name, None where it has none.

    The table has a column ``file``, paths relative to the folder of images; ``outside``: links there that weren't
    followed. Raises ValueError where it can't be read, lacks a column, has a row without a file, names one twice, or
    names one that isn't there.
    """
    there = set(names)
    rows, readable = _rows(path, there)
    for needed in ("file", column):
        if not rows or needed not in rows[0]:
            got = ", ".join(shown(name) for name in rows[0] if name) if rows else "no rows"
            raise ValueError(f"{path} must have the columns file and {column}, separated by a comma, got {got}")
    known: dict[str, str | None] = {}
    for number, row in enumerate(rows, 1):
        if not row["file"]:
            raise ValueError(f"{path} names no file in row {number} below its header")
        name = _name(row["file"], there)
        if name in known:
            raise ValueError(f"{path} names {name!r} twice")
        known[name] = (row[column] or "").strip() or None
    strange = sorted(set(known) - there)
    if strange:
        raise ValueError(
            f"{path}: {len(strange)} of its files aren't images below the folder, the first {strange[0]!r}: "
            f"{_cure(strange[0], outside) if readable else 'save the table as UTF-8'}"
        )
    return [known.get(name) for name in names]


def _rows(path: str, there: set[str]) -> tuple[list[dict[str, str]], bool]:
    """The table's rows, and whether its bytes made sense: as UTF-8, or as Latin-1 that names the files ``there``.

    Bytes that are neither may name files whose names aren't UTF-8 on the disk, as the tables of prepare do.
    """
    try:
        content = Path(path).read_bytes()
        with suppress(UnicodeDecodeError):
            # utf-8-sig: spreadsheets may put a byte-order mark in front
            return _parse(content.decode("utf-8-sig")), True
        latin, as_on_disk = _parse(content.decode("latin-1")), _parse(content.decode("utf-8-sig", "surrogateescape"))
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{path} can't be read as a CSV file ({reason})") from None
    if _all_there(latin, there):
        print(f"{path} isn't UTF-8: read as Latin-1", file=sys.stderr)
        return latin, True
    return (as_on_disk, True) if _all_there(as_on_disk, there) else (latin, False)


def _parse(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def _all_there(rows: list[dict[str, str]], there: set[str]) -> bool:
    return len(rows) > 0 and all(_name(row.get("file") or "", there) in there for row in rows)


def _name(cell: str, there: set[str]) -> str:
    """The file that a cell names: spreadsheets get some after an apostrophe."""
    plain = files.plain_cell(cell)
    return plain if plain in there else cell


def _cure(strange: str, outside: Sequence[str]) -> str:
    if any(strange == link or strange.startswith(link + os.sep) for link in outside):
        return "a link leads there, out of the folder, which data.source.follow_links=true follows"
    return "paths are relative to it, with /"


def shown(name: str) -> str:
    """A name for people to read: bytes that aren't UTF-8, and control characters, as their escapes."""
    text = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda control: control[0].encode("unicode_escape").decode(), text)
