"""Which folders of studies use a trial store. The store keeps the list: clean must know whose trials are needed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from src.runtime import files, records
from src.runtime.records import closed


@closed
@dataclass(frozen=True)
class StoreUser:
    """used-by/<hash>.json of a store."""

    runs: str  # a folder of studies, relative to the store


FOLDER = "used-by"  # of the store; a file for each folder of studies


def register(store: Path, runs: Path) -> None:
    """Note that studies in ``runs`` have trials in ``store``; relative to it, so that both can be moved together."""
    place = os.path.relpath(runs.resolve(), store.resolve())
    path = store / FOLDER / f"{files.fingerprint(place)}.json"
    if not path.exists():
        files.write_json(path, StoreUser(place))


def users(store: Path) -> dict[Path, Path]:
    """Every noted folder of studies -> the file that notes it. Raises ValueError where a note can't be read."""
    notes = {}
    for path in sorted((store / FOLDER).glob(f"{'[0-9a-f]' * 16}.json")):
        note = records.read(path, StoreUser, "delete it and run the python -m src.train of a study once more")
        notes[Path(os.path.normpath(store.resolve() / note.runs))] = path
    return notes
