"""The measured criteria of one trial under one protocol, as its file keeps them: read, and added to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BeforeValidator

from src.evaluation.criterion import Criterion, Protocol
from src.runtime import files, records
from src.runtime.records import Config, Number, Step, closed
from src.trial.config import Space
from src.trial.identity import Trial

MEASURED_ANEW = "delete it, and the study's python -m src.train measures it anew"
Spectra = dict[Space, list[Number]]  # eigenvalues of the centred covariance, largest first
Spectrums = dict[Step, Spectra]  # criteria/spectrum-<images>.json: between snapshots


@closed
@dataclass(frozen=True)
class Measured:
    """A criterion of one snapshot: its value with what goes with it, or why it has none."""

    value: Number | None = None
    own: Number | None = None  # under the trial's own recipe, of criteria of views
    halves: list[Number] | None = None  # on random halves of the images, last snapshot
    facts: dict[str, Number] | None = None  # what the criterion states beside its value
    refused: str | None = None


@closed
@dataclass(frozen=True)
class Verdict:
    """The collapse gate's, on one snapshot; ``reason`` is empty for a healthy one."""

    spread: Number
    rank: Number
    reason: str


@closed
@dataclass(frozen=True)
class SnapshotValues:
    """What was measured of one snapshot; ``criteria`` by ``Measurements.keys``."""

    criteria: dict[str, Measured] = field(default_factory=dict)
    collapse: Verdict | None = None
    spectrum: Spectra = field(default_factory=dict)


def _sorted_out(snapshot: object) -> object:
    """In the file, the gate's verdict and the spectrum stand among the criteria."""
    if not isinstance(snapshot, dict):
        return snapshot
    beside = {name: snapshot[name] for name in ("collapse", "spectrum") if name in snapshot}
    return beside | {"criteria": {name: value for name, value in snapshot.items() if name not in beside}}


@closed
@dataclass(frozen=True)
class CriteriaFile:
    """criteria/<protocol>.json of a trial."""

    protocol: Config
    values: dict[Step, Annotated[SnapshotValues, BeforeValidator(_sorted_out)]]


class Measurements:
    """What is known of a trial's snapshots. A column whose definition changed is unknown again."""

    def __init__(self, trial: Trial, protocol: Protocol, criteria: list[Criterion]) -> None:
        self.trial, self.protocol = trial, protocol
        measured = [criterion for criterion in criteria if not criterion.combines]
        self.criteria = {column: criterion for criterion in measured for column in criterion.filled}
        self.keys = {column: _key(column, criterion) for column, criterion in self.criteria.items()}
        folder = trial.folder / "criteria"
        self.path = folder / f"{files.fingerprint(protocol)}.json"
        # spectra depend on the measured images alone: other settings of a protocol share the file
        where = {"images": protocol.images, "seed": protocol.seed}
        self.watched_path = folder / f"spectrum-{files.fingerprint(where)}.json"
        self.snapshots: dict[int, SnapshotValues] = {}
        if self.path.exists():
            kept = records.read(self.path, CriteriaFile, MEASURED_ANEW).values
            self.snapshots = {int(step): snapshot for step, snapshot in kept.items()}

    def missing(self, step: int) -> dict[str, Criterion]:
        """The columns that weren't measured of a snapshot."""
        have = self.snapshots.get(step, SnapshotValues()).criteria
        return {column: criterion for column, criterion in self.criteria.items() if self.keys[column] not in have}

    def add(self, step: int, measured: dict[str, Measured], collapse: Verdict, spectrum: Spectra) -> None:
        """Add columns of a snapshot, and write the file."""
        have = self.snapshots.get(step, SnapshotValues()).criteria
        own = {self.keys[column]: value for column, value in measured.items()}
        self.snapshots[step] = SnapshotValues(have | own, collapse, spectrum)
        values = {str(step): _as_kept(snapshot) for step, snapshot in self.snapshots.items()}
        files.write_json(self.path, {"protocol": self.protocol, "values": values})

    def column(self, name: str) -> dict[int, float]:
        """step -> value of a column, where it was measured and not refused."""
        return {step: measured.value for step, measured in self._of(name) if measured.value is not None}

    def own(self, name: str) -> dict[int, float]:
        """step -> value under the trial's own recipe."""
        return {step: measured.own for step, measured in self._of(name) if measured.own is not None}

    def halves(self, name: str) -> dict[int, list[float]]:
        """step -> values on random halves of the images."""
        return {step: measured.halves for step, measured in self._of(name) if measured.halves is not None}

    def facts(self, name: str) -> dict[int, dict[str, float]]:
        """step -> what the criterion states beside its value."""
        return {step: measured.facts for step, measured in self._of(name) if measured.facts is not None}

    def _of(self, name: str) -> list[tuple[int, Measured]]:
        key = self.keys[name]
        kept = ((step, snapshot.criteria.get(key)) for step, snapshot in sorted(self.snapshots.items()))
        return [(step, measured) for step, measured in kept if measured is not None]

    def collapse(self, step: int) -> Verdict | None:
        """The gate's verdict on a snapshot; None where it wasn't measured."""
        snapshot = self.snapshots.get(step)
        return None if snapshot is None else snapshot.collapse

    def last_collapse(self) -> Verdict | None:
        """The verdict on the last measured snapshot; None where there is none."""
        last = self._last()
        return None if last is None else last.collapse

    def refusal(self, name: str) -> str:
        """Why a column has no value on the last measured snapshot."""
        last = self._last()
        measured = None if last is None else last.criteria.get(self.keys[name])
        reason = None if measured is None else measured.refused
        return reason or f"{name} was not measured: run python -m src.train again"

    def _last(self) -> SnapshotValues | None:
        measured = [step for step, snapshot in self.snapshots.items() if snapshot.collapse is not None]
        return self.snapshots[max(measured)] if measured else None

    def watched(self) -> Spectrums:
        """Spectra between snapshots."""
        if not self.watched_path.exists():
            return {}
        return records.read(self.watched_path, Spectrums, MEASURED_ANEW)

    def add_watched(self, step: int, spectra: Spectra) -> None:
        files.write_json(self.watched_path, self.watched() | {str(step): spectra})

    def spectrum(self, space: Space) -> dict[int, list[float]]:
        """step -> eigenvalues of the centred covariance, largest first."""
        kept = {int(step): spectra for step, spectra in self.watched().items()}
        kept |= {step: snapshot.spectrum for step, snapshot in self.snapshots.items() if snapshot.spectrum}
        return {step: spectra[space] for step, spectra in sorted(kept.items()) if space in spectra}


def _as_kept(snapshot: SnapshotValues) -> dict[str, object]:
    beside = {} if snapshot.collapse is None else {"collapse": snapshot.collapse, "spectrum": snapshot.spectrum}
    return {**snapshot.criteria, **beside}


def _key(column: str, criterion: Criterion) -> str:
    """What an entry is kept under: whatever decides its value."""
    decides = {"score": criterion.score, "input": criterion.input, "version": criterion.version}
    return f"{column}-{files.fingerprint(decides)[:8]}"
