"""A study is an append-only log of what was proposed and how it ended; study.json is its readable sum."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from src.runtime import files, records
from src.runtime.records import StudyEntry, StudyFile

FORMAT = 2


class Study:
    """One study on disk: log-<identity>.jsonl is the truth, study.json is derived from it.

    The identity holds whatever decides which trials are proposed and what the sampler is told: another search space,
    seed, criterion or default configuration starts another log and finds its trials in the store all the same.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder, self.identity = folder, identity
        self.log_path = folder / f"log-{files.fingerprint(identity)}.jsonl"
        self.entries: dict[int, dict[str, Any]] = {}
        self._held = ExitStack()
        self._read()

    @property
    def name(self) -> str:
        return self.folder.name

    def hold(self) -> None:
        """Take the study for this process until release or its end. Raises ValueError where another process has it."""
        try:
            self._held.enter_context(files.locked(self.folder / ".lock"))
        except files.Busy:
            raise ValueError(
                f"study {self.name} is being written by another process: wait for it, or choose study=<another name>"
            ) from None
        records.check_replaceable(self.folder / "study.json", StudyFile, "train")
        if self.log_path.exists():  # a line cut off by a crash would otherwise run into the next one
            whole = b"".join(line + b"\n" for line in _whole_lines(self.log_path.read_bytes()))
            if whole != self.log_path.read_bytes():
                files.write_atomically(self.log_path, whole)
        self._read()

    def _read(self) -> None:
        if self.log_path.exists():
            self.entries = {entry["number"]: dict(entry) for entry in _log_entries(self.log_path)}

    def release(self) -> None:
        self._held.close()

    def answer(self, number: int, overrides: list[str], trial: str) -> dict[str, Any] | None:
        """What the log says of proposal ``number``, or None. Raises ValueError where it was another proposal."""
        entry = self.entries.get(number)
        if entry is not None and (entry["overrides"], entry["trial"]) != (overrides, trial):
            raise ValueError(
                f"proposal {number} of study {self.name} is {' '.join(overrides)} but {self.log_path.name} says "
                f"{' '.join(entry['overrides'])}: the sampler's version changed; choose study=<another name>"
            )
        return entry

    def append(self, entry: dict[str, Any]) -> None:
        """Add a finished proposal to the log; it is on disk when this returns."""
        line = json.dumps(entry, sort_keys=True, allow_nan=False).encode() + b"\n"
        with self.log_path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self.entries[entry["number"]] = entry

    def write_summary(self, unfinished: list[dict[str, Any]], **facts: Any) -> Path:
        """Write study.json: the facts that later stages need and every proposal, unfinished ones included."""
        trials = sorted([*self.entries.values(), *unfinished], key=lambda entry: entry["number"])
        path = self.folder / "study.json"
        summary = {"format": FORMAT, "study": self.name, "identity": self.identity, "trials": trials, **facts}
        files.write_json(path, summary)
        return path


def logged_trials(log: Path) -> set[str]:
    """The trials that a log lists, those of an unfinished or an earlier search too."""
    return {entry["trial"] for entry in _log_entries(log)}


def _log_entries(log: Path) -> list[StudyEntry]:
    cure = "restore it from a copy, or move it away and run the study's python -m src.train again"
    return [
        records.read_line(line, StudyEntry, f"{log}, line {number}", cure)
        for number, line in enumerate(_whole_lines(log.read_bytes()), 1)
    ]


def _whole_lines(content: bytes) -> list[bytes]:
    return content.split(b"\n")[:-1]


def read_study(folder: Path) -> StudyFile:
    """study.json. Raises ValueError where there is none, it is unreadable or it lists no trial."""
    path = folder / "study.json"
    if not path.exists():
        there = sorted(path.parent.name for path in folder.parent.glob("*/study.json"))
        known = f"; there are {', '.join(there[:12])}" if there else ""
        raise ValueError(f"no study in {folder}: run python -m src.train -m study={folder.name} first{known}")
    study = records.read(path, StudyFile, "run its python -m src.train -m again")
    if not study["trials"]:
        raise ValueError(f"study {folder.name} has no trials: run python -m src.train -m study={folder.name} first")
    return study
