"""A study is an append-only log of what was proposed and how it ended; study.json is its readable summary."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from src.data.pack import PackedSplits
from src.evaluation.criterion import Criterion, Protocol
from src.runtime import files, records
from src.runtime.records import Config, Count, Hash, Name, Number, closed
from src.study.results import Status

FORMAT: Literal[2] = 2


@closed
@dataclass(frozen=True)
class StudyEntry:
    """A proposal and how it ended: a line of a study's log, and one of study.json's trials."""

    number: Count
    overrides: list[str]  # what it changes
    trial: Hash
    status: Status
    reason: str
    criterion: Number | None  # value of the study's criterion on the last snapshot
    value: Number | None  # what the sampler was told: higher is better; None where it wasn't trained to its end


@closed
@dataclass(frozen=True)
class StudyData:
    """The packed data set that a study was trained on."""

    name: Name
    folder: str
    splits: PackedSplits


@closed
@dataclass(frozen=True)
class StudyFolders:
    store: str
    mlruns: str


@closed
@dataclass(frozen=True)
class StudyFacts:
    """What the stages after train need of a study, beside its trials."""

    data: StudyData
    criterion: str  # the column that guided the sampler
    criteria: Annotated[list[Criterion], Field(min_length=1)]
    evaluation: Protocol
    folders: StudyFolders


@closed
@dataclass(frozen=True)
class StudyFile(StudyFacts):
    """runs/<study>/study.json."""

    format: Literal[2]
    study: Name
    identity: Config
    trials: list[StudyEntry]


class Study:
    """One study on disk: log-<identity>.jsonl is the truth, study.json is derived from it.

    The identity holds whatever decides which trials are proposed and what the sampler is told: another search space,
    seed, criterion or default configuration starts another log and finds its trials in the store all the same.
    """

    def __init__(self, folder: Path, identity: Config) -> None:
        self.folder, self.identity = folder, identity
        self.log_path = folder / f"log-{files.fingerprint(identity)}.jsonl"
        self.entries: dict[int, StudyEntry] = {}
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
            self.entries = {entry.number: entry for entry in _log_entries(self.log_path)}

    def release(self) -> None:
        self._held.close()

    def answer(self, number: int, overrides: list[str], trial: str) -> StudyEntry | None:
        """What the log says of proposal ``number``, or None. Raises ValueError where it was another proposal."""
        entry = self.entries.get(number)
        if entry is not None and (entry.overrides, entry.trial) != (overrides, trial):
            raise ValueError(
                f"proposal {number} of study {self.name} is {' '.join(overrides)} but {self.log_path.name} says "
                f"{' '.join(entry.overrides)}: the sampler's version changed; choose study=<another name>"
            )
        return entry

    def append(self, entry: StudyEntry) -> None:
        """Add a finished proposal to the log; it is on disk when this returns."""
        line = json.dumps(files.plain(entry), sort_keys=True, allow_nan=False).encode() + b"\n"
        with self.log_path.open("ab") as file:
            file.write(line)
            file.flush()
            # what the sampler was told must survive a power cut
            os.fsync(file.fileno())
        self.entries[entry.number] = entry

    def write_summary(self, unfinished: list[StudyEntry], facts: StudyFacts) -> Path:
        """Write study.json: the facts and every proposal, unfinished ones included."""
        trials = sorted([*self.entries.values(), *unfinished], key=lambda entry: entry.number)
        path = self.folder / "study.json"
        own = {field.name: getattr(facts, field.name) for field in fields(facts)}
        files.write_json(path, StudyFile(**own, format=FORMAT, study=self.name, identity=self.identity, trials=trials))
        return path


def logged_trials(log: Path) -> set[str]:
    """The trials that a log lists, those of an unfinished or an earlier search too."""
    return {entry.trial for entry in _log_entries(log)}


def _log_entries(log: Path) -> list[StudyEntry]:
    cure = "restore it from a copy, or move it away and run the study's python -m src.train again"
    return [
        records.parsed(line, StudyEntry, f"{log}, line {number}", cure)
        for number, line in enumerate(_whole_lines(log.read_bytes()), 1)
    ]


def _whole_lines(content: bytes) -> list[bytes]:
    # what follows the last newline was cut off by a crash
    return content.split(b"\n")[:-1]


def read_study(folder: Path) -> StudyFile:
    """study.json. Raises ValueError where there is none, it is unreadable or it lists no trial."""
    path = folder / "study.json"
    if not path.exists():
        there = records.studies(folder.parent)
        known = f"; there are {there}" if there else ""
        raise ValueError(f"no study in {folder}: run python -m src.train -m study={folder.name} first{known}")
    study = records.read(path, StudyFile, "run its python -m src.train -m again")
    if not study.trials:
        raise ValueError(f"study {folder.name} has no trials: run python -m src.train -m study={folder.name} first")
    return study
