"""A study as the stages after train read it from its folder and the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from src.data.pack import Manifest, read_manifest
from src.data.source import SPLITS
from src.evaluation.criterion import filling
from src.evaluation.embeddings import evaluation_flops
from src.evaluation.measurements import Measurements
from src.runtime import files
from src.runtime.records import Config
from src.runtime.stats import by_group
from src.study.log import StudyData, StudyEntry, StudyFile, read_study
from src.study.pool import LABELS, Floats, Pool, Snapshot, TrialResult
from src.study.results import LabelFile, ProbeFile, Selection, Status
from src.trial.identity import Trial, configuration, knobs, loss_definition, part_name, read_trial
from src.trial.method import dimensions


class Entry(NamedTuple):
    """One proposal of a study."""

    number: int
    overrides: list[str]
    status: Status
    reason: str
    trial: Trial
    measurements: Measurements

    @property
    def trained(self) -> bool:
        """Whether the trial has weights worth measuring."""
        return self.status in ("complete", "collapsed")

    @property
    def steps(self) -> list[int]:
        """Those of its snapshots; empty where there are none worth measuring."""
        return self.trial.snapshot_steps() if self.trained else []


class StoredStudy:
    """Everything a study left behind. Raises ValueError where the study, a trial or the data is missing or altered.

    What it says of folders is believed below the working folder, below the study's own, and below ``trusted``.
    """

    def __init__(self, folder: Path, trusted: Iterable[str] = ()) -> None:
        study = read_study(folder)
        self.trusted = list(trusted)
        _check_places(folder, study, self.trusted)
        self.folder, self.name = folder, study.study
        self.identity = files.fingerprint(study.identity)
        self.default = study.identity.get("default")  # a trial's hash; none in studies by hand
        self.supervises = study.identity.get("supervises")  # another study's identity, of a reference with labels
        self.protocol, self.folders = study.evaluation, study.folders
        self.criteria = {criterion.name: criterion for criterion in study.criteria}
        self.guide = filling(study.criteria, study.criterion)
        self.manifest = _manifest(study.data)
        store = Path(study.folders.store)
        self.entries = [self._entry(entry, store) for entry in study.trials]

    def _entry(self, entry: StudyEntry, store: Path) -> Entry:
        trial = read_trial(store / entry.trial)
        if entry.status != "stopped" and trial.record() is None:
            raise ValueError(
                f"trial {entry.number} ({trial.key}) of study {self.name} is not finished in {store}: "
                f"run its python -m src.train again"
            )
        measurements = Measurements(trial, self.protocol, list(self.criteria.values()))
        return Entry(entry.number, entry.overrides, entry.status, entry.reason, trial, measurements)

    def trial(self, key: str) -> Trial:
        """The trial of a hash; the study lists it."""
        return next(entry.trial for entry in self.entries if entry.trial.key == key)


def _check_places(folder: Path, study: StudyFile, trusted: list[str]) -> None:
    """Raise ValueError where a record, which may have come from anywhere, names a folder anywhere."""
    believed = [place.resolve() for place in (Path(), folder.parent, *map(Path, trusted))]
    named = {"store": study.folders.store, "mlruns": study.folders.mlruns, "data": study.data.folder}
    for kind, place in named.items():
        if not any(Path(place).resolve().is_relative_to(known) for known in believed):
            raise ValueError(
                f"{folder / 'study.json'} names {place}, which lies outside of this folder: if that is yours, "
                f"add folders.{kind}={place}"
            )


def check_current(chosen: Selection, study: StoredStudy | Pool) -> None:
    """Raise ValueError where a selection.json was made of another search under the same name."""
    if chosen.identity != study.identity:
        raise ValueError(
            f"selection.json of study {study.name} was made of another search: "
            f"run python -m src.selection study={study.name} again"
        )


def next_command(study: StoredStudy) -> str:
    """What can be typed once a trial is picked: the report, or first probe where the images have classes."""
    stage = "probe" if study.manifest.labelled and not (study.folder / "probe.json").exists() else "report"
    return f"python -m src.{stage} study={study.name}"


def unlabelled_pool(study: StoredStudy, budgets: Mapping[str, LabelFile]) -> Pool:
    """The study without probe's scores: all that selection may see, with budget.json's files where it may see those."""
    members = [_result(study, entry, _unprobed(study, entry), budgets) for entry in study.entries]
    return _pool(study, members, budgets)


def labelled_pool(study: StoredStudy, probed: ProbeFile, group: np.ndarray, budgets: Mapping[str, LabelFile]) -> Pool:
    """The study with probe.json's scores on val, whose images belong to ``group``, and budget.json's."""
    members = []
    for entry in study.entries:
        snapshots = [_scored(snapshot, entry, probed, group) for snapshot in _unprobed(study, entry)]
        members.append(_result(study, entry, snapshots, budgets))
    return replace(_pool(study, members, budgets), probes=probed.probe, test_sources=study.manifest.splits.test.groups)


def _pool(study: StoredStudy, members: list[TrialResult], budgets: Mapping[str, LabelFile]) -> Pool:
    return Pool(
        name=study.name,
        data=study.manifest.name,
        criteria=study.criteria,
        protocol=study.protocol,
        probes={},
        members=members,
        test_sources=0,
        identity=study.identity,
        default=next((configuration(e.trial) for e in study.entries if e.trial.key == study.default), None),
        label_files={name: _without_trials(file) for name, file in budgets.items()},
    )


def _without_trials(file: LabelFile) -> Config:
    plain = files.plain(file)
    assert isinstance(plain, dict)
    return {name: value for name, value in plain.items() if name != "trials"}


def _unprobed(study: StoredStudy, entry: Entry) -> list[Snapshot]:
    """An entry's snapshots with what was measured of them without labels."""
    kept = entry.measurements
    values = {column: kept.column(column) for column in kept.criteria}
    facts = {column: kept.facts(column) for column in kept.criteria}
    rows = {int(row["step"]): row for row in (entry.trial.history() if entry.steps else [])}
    snapshots = []
    for step in entry.steps:
        verdict = kept.collapse(step)
        snapshots.append(
            Snapshot(
                step=step,
                images=step * entry.trial.config.batch_size,
                flops=float(rows[step]["flops"]),
                loss=rows[step].get("loss"),
                criteria={column: of[step] for column, of in values.items() if step in of},
                facts=_facts_at(step, facts),
                collapsed=verdict is not None and verdict.reason != "",
            )
        )
    return snapshots


def _facts_at(step: int, facts: Mapping[str, Mapping[int, Mapping[str, float]]]) -> dict[str, float]:
    """What criteria state beside their values at a step, under names such as alpha_req_h.r2."""
    named: dict[str, float] = {}
    for column, by_step in facts.items():
        named |= {f"{column}.{name}": value for name, value in by_step.get(step, {}).items()}
    return named


def _scored(snapshot: Snapshot, entry: Entry, probed: ProbeFile, group: np.ndarray) -> Snapshot:
    scores = probed.of(entry.trial.key, snapshot.step)
    return replace(
        snapshot,
        probes={name: score.numbers for name, score in scores.items()},
        right={name: _by_source(score.right, group) for name, score in scores.items() if score.right is not None},
    )


def _by_source(right: str, group: np.ndarray) -> Floats:
    return by_group(np.array([digit == "1" for digit in right]), group)


def _result(
    study: StoredStudy, entry: Entry, snapshots: list[Snapshot], budgets: Mapping[str, LabelFile]
) -> TrialResult:
    trial, kept = entry.trial, entry.measurements
    few = {name: file.trials[trial.key] for name, file in budgets.items() if trial.key in file.trials}
    halves: dict[str, list[float]] = {}
    refused = {}
    if snapshots:
        last = snapshots[-1]
        by_column = {column: kept.halves(column) for column in kept.criteria}
        halves = {column: by_step[last.step] for column, by_step in by_column.items() if last.step in by_step}
        refused = {column: kept.refusal(column) for column in kept.criteria if column not in last.criteria}
    return TrialResult(
        number=entry.number,
        trial=trial.key,
        configuration=configuration(trial),
        seed=trial.config.seed,
        method=part_name(trial.config, "method"),
        status=entry.status,
        reason=entry.reason,
        overrides=entry.overrides,
        knobs=knobs(trial),
        dimensions=dimensions(trial.config, study.manifest.shape),
        loss_definition=loss_definition(trial),
        numerics={name: trial.recorded[name] for name in ("torch", "source", "device", "threads")},
        evaluation_flops=evaluation_flops(trial.config, study.manifest, study.protocol) * len(snapshots),
        seconds=trial.seconds(),
        snapshots=snapshots,
        halves=halves | {LABELS + name: scored.halves for name, scored in few.items()},
        refused=refused,
        budgets={name: scored.skill for name, scored in few.items()},
    )


def _manifest(data: StudyData) -> Manifest:
    manifest = read_manifest(Path(data.folder))
    for split in SPLITS:
        if manifest.splits[split].checksum != data.splits[split].checksum:
            raise ValueError(
                f"{manifest.folder}/images has another {split} split than the study was trained on: "
                f"pack {data.name} as it was with python -m src.prepare, or train again"
            )
    return manifest
