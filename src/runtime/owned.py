"""What a command may replace: folders that keep a list of the files that were written there, and nothing else.

A file that isn't on its folder's list, or was changed since it was put on it, is somebody's own. Where there is one,
``check`` refuses before any work is done. What is removed was on a list, or lay in a hidden folder with this project's
marker in which it was being built.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from src.runtime import files, records
from src.runtime.records import closed

LIST, LOCK = ".written.json", ".lock"
LEFT_BY_OTHERS = (".gitignore", ".DS_Store", "Thumbs.db", "desktop.ini")  # strewn by git, DVC and desktops: they stay
FORMAT: Literal[1] = 1


@closed
@dataclass(frozen=True)
class Written:
    """One file on the list."""

    by: str  # the command
    checksum: str
    was: str | None = None  # its earlier checksum, until the new content has taken its place


@closed
@dataclass(frozen=True)
class WrittenList:
    """.written.json of a folder."""

    format: Literal[1]
    files: dict[str, Written]


class Target(NamedTuple):
    """Folders side by side, written together by one command."""

    parent: Path
    parts: tuple[str, ...]
    by: str  # the command
    instead: str  # what a person can do where the folders hold something of theirs

    def folders(self) -> list[Path]:
        return [self.parent / part for part in self.parts]


def check(target: Target) -> None:
    """Raise ValueError where a folder of the target holds anything that no command of this project wrote."""
    for folder in target.folders():
        if os.path.lexists(folder) and not folder.is_dir():
            raise ValueError(f"{folder} must be a folder that python -m src.{target.by} may write, and is a file")
        strange = _strange(folder)
        if strange:
            more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
            raise ValueError(
                f"{folder} holds {strange[0]!r}{more}, which python -m src.{target.by} didn't write or somebody has "
                f"changed since: move it elsewhere, or {target.instead}"
            )


def check_source(key: str, source: str, target: Target, *, searched: bool) -> None:
    """Raise ValueError where what is read lies where the target is written; ``searched``: or around it."""
    read = Path(source).resolve()
    where = target.parent.resolve()
    if read.is_relative_to(where) or (searched and where.is_relative_to(read)):
        raise ValueError(
            f"{key}={source} and {target.parent}, which python -m src.{target.by} writes, lie one in the other: "
            f"{target.instead}, or move the images"
        )


@contextmanager
def replacing(target: Target) -> Iterator[Path]:
    """A folder to build the target's parts in; they take their places, each whole, when the block ends well.

    Ended early, even by kill -9, it leaves what was there before. Raises ValueError as ``check`` does, and files.Busy
    where another process builds the same.
    """
    check(target)
    # removed again at the end where nothing was put there
    missing = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    new = target.parent / f".{target.parts[0]}.new"
    if new.exists() and not {path.name for path in new.iterdir()} <= {LOCK} and not (new / LIST).is_file():
        raise ValueError(f"{new} is where python -m src.{target.by} builds, and it didn't make this: move it away")
    with files.locked(new / LOCK):
        _empty(new)
        _write_list(new, {})  # the marker of such a folder
        try:
            for folder in target.folders():
                _recover(folder)
                (new / folder.name).mkdir()
            yield new
            for part in target.parts:
                _write_list(new / part, _listed(new / part, target.by))
            check(target)  # somebody may have put something there meanwhile
            for folder in target.folders():
                _swap(new / folder.name, folder, target.by)
        finally:
            _empty(new)
            (new / LOCK).unlink()
            with suppress(OSError):  # the next process has come in, or the folders are in use now
                for folder in (new, *missing):
                    folder.rmdir()


def add(folder: Path, name: str, by: str, write: Callable[[Path], None]) -> Path:
    """Write one file among others of this project, or of somebody else.

    Raises ValueError where the name is taken by a file that no command of this project wrote.
    """
    path = folder / name
    kept = _read_list(folder)
    if os.path.lexists(path) and not _own(path, kept.get(name)):
        raise ValueError(f"{path} wasn't written by python -m src.{by}: move it away, or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".", suffix=files.PARTIAL) as beside:
        new = Path(beside) / name
        write(new)
        was = kept[name].checksum if name in kept else None  # where the new one doesn't come to its place
        _write_list(folder, kept | {name: Written(by, files.checksum(new), was)})
        new.replace(path)
    return path


def check_page(page: Path, heading: str, command: str) -> None:
    """Raise ValueError where a page, its numbers or its folder of figures would be written over somebody else's."""
    if page.exists():
        if not page.read_text(errors="replace").startswith(heading):
            raise ValueError(f"{page} wasn't written by {command}: name another page=<file>.md, or move it away")
        return
    for other in (page.with_suffix(".json"), page.with_suffix("")):
        if os.path.lexists(other):
            raise ValueError(f"{other}, where {command} writes, is there without its page {page}: move it away")


def _strange(folder: Path) -> list[str]:
    kept = _read_list(folder)
    return [name for name in _content(folder) if not _own(folder / name, kept.get(name))]


def _own(path: Path, entry: Written | None) -> bool:
    return entry is not None and path.is_file() and files.checksum(path) in (entry.checksum, entry.was)


def _content(folder: Path) -> list[str]:
    """Every file, link and special file below a folder, the list and what other programs strew left out."""
    found = []
    for place, _, names in os.walk(folder):
        found += [os.path.relpath(Path(place, name), folder) for name in names]
        links = [entry for entry in os.scandir(place) if entry.is_symlink() and entry.is_dir()]
        found += [os.path.relpath(entry.path, folder) for entry in links]
    return sorted(name for name in found if name != LIST and Path(name).name not in LEFT_BY_OTHERS)


def _listed(folder: Path, by: str) -> dict[str, Written]:
    return {name: Written(by, files.checksum(folder / name)) for name in _content(folder)}


def _read_list(folder: Path) -> dict[str, Written]:
    """Empty where there is no list that can be read: then nothing there is ours."""
    try:
        return dict(records.read(folder / LIST, WrittenList, "").files)
    except (OSError, ValueError):
        return {}


def _write_list(folder: Path, entries: dict[str, Written]) -> None:
    files.write_json(folder / LIST, WrittenList(FORMAT, entries))


def _swap(new: Path, folder: Path, by: str) -> None:
    """Put ``new`` in the place of ``folder``, with what other commands and programs had written there."""
    place = folder.resolve()  # a link stays, and what it leads to is replaced
    if not place.exists():
        new.rename(place)
        return
    _carry_over(place, new, by)
    # killed between these two, the next run finds the old folder aside (_recover)
    place.rename(_aside(place))
    new.rename(place)
    remove_listed(_aside(place))


def _aside(place: Path) -> Path:
    return place.with_name(f".{place.name}.old")


def _recover(folder: Path) -> None:
    """Finish what a killed process had begun to swap."""
    place = folder.resolve()
    if not (_aside(place) / LIST).is_file():
        return
    if place.exists():
        remove_listed(_aside(place))
    else:
        _aside(place).rename(place)


def _carry_over(old: Path, new: Path, by: str) -> None:
    kept, ours = _read_list(old), _read_list(new)
    others = {name for name, entry in kept.items() if entry.by != by and _own(old / name, entry)} - ours.keys()
    for name in (*others, *_strewn(old)):
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(old / name, new / name)
    _write_list(new, ours | {name: kept[name] for name in others})


def _strewn(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for name in LEFT_BY_OTHERS for path in folder.rglob(name) if path.is_file()]


def remove_listed(folder: Path) -> None:
    """Remove the listed files of a folder and what that leaves empty; anything else stays where it is."""
    kept = _read_list(folder)
    for name, entry in kept.items():
        if _own(folder / name, entry):
            (folder / name).unlink()
    for name in _strewn(folder):  # copied to what takes its place
        (folder / name).unlink()
    for above in sorted({p for name in kept for p in Path(name).parents}, key=lambda path: -len(path.parts)):
        if above != Path() and (folder / above).is_dir() and not any((folder / above).iterdir()):
            (folder / above).rmdir()
    if {path.name for path in folder.iterdir()} <= {LIST}:
        (folder / LIST).unlink(missing_ok=True)
        folder.rmdir()


def _empty(new: Path) -> None:
    """Remove what was being built: it bears the marker, and everything below it was written by this command."""
    for place, folders, names in os.walk(new, topdown=False):
        for name in set(names) - ({LOCK} if Path(place) == new else set()):
            Path(place, name).unlink()
        for name in folders:
            Path(place, name).rmdir()
