"""Files that are either whole or absent, their checksums, and locks between processes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout
from pydantic import JsonValue

T = TypeVar("T")

PARTIAL = ".stepwise-partial"  # nobody else's files are named so


class Busy(Exception):
    """Another process holds the lock."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a power cut, sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # beside its target: only within one file system does renaming replace a file at once
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL)
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            # before the rename: else a power cut may leave the new name with nothing in it
            os.fsync(file.fileno())
        # mkstemp's files are for their owner alone
        partial.chmod(0o644)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def remove_partials(folder: Path) -> None:
    """Delete what a killed process left half-written; call it under the folder's lock."""
    for partial in folder.rglob(f".*{PARTIAL}"):
        if partial.is_file():
            partial.unlink()


def plain(value: object) -> JsonValue:
    """Dataclasses as JSON objects, however deep; a field that has its default is left out. Other values as they are."""
    if is_dataclass(value):
        names = [field.name for field in fields(value) if not _is_default(value, field.name, field.default)]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value  # type: ignore[return-value]  # json.dumps refuses what it can't write


def _is_default(owner: object, name: str, default: object) -> bool:
    return default is not MISSING and getattr(owner, name) == default


def to_json(value: object) -> bytes:
    """Canonical JSON: sorted keys, no NaN, one byte sequence per value."""
    text = json.dumps(plain(value), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    return (text + "\n").encode()


def write_json(path: Path, value: object) -> None:
    write_atomically(path, to_json(value))


def to_csv(head: Iterable[str], rows: Iterable[Iterable[object]]) -> bytes:
    """A table; file names in it needn't be UTF-8, and no cell is a formula."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([safe_cell(name) for name in head])
    table.writerows([safe_cell(value) for value in row] for row in rows)
    return text.getvalue().encode(errors="surrogateescape")


def to_csv_of(rows: Sequence[Mapping[str, object]]) -> bytes:
    """A table with a column for every key, in the order of their first row; empty where a row lacks one."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return to_csv(names, ([row.get(name, "") for name in names] for row in rows))


FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run


def safe_cell(value: T) -> T | str:
    """Text that begins like a formula after an apostrophe, which spreadsheets don't show; anything else as it is."""
    return f"'{value}" if isinstance(value, str) and value.lstrip("'").startswith(FORMULA) else value


def plain_cell(text: str) -> str:
    """What ``safe_cell`` was given."""
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(FORMULA) else text


def checksum(path: Path) -> str:
    """BLAKE2b of a file's content, 32 hexadecimal digits; asked again of an untouched file, it isn't read again."""
    found = path.stat()
    return _checksum(path, found.st_size, found.st_mtime_ns, found.st_ino)


@cache
def _checksum(path: Path, size: int, changed: int, inode: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def fingerprint(value: object) -> str:
    """BLAKE2b of a value's canonical JSON, 16 hexadecimal digits."""
    return hashlib.blake2b(to_json(value), digest_size=8).hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an advisory lock that the system frees however the process ends. Raises Busy where another holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(path, timeout=0).acquire()
    except Timeout:
        raise Busy(str(path)) from None
    with lock:
        yield
