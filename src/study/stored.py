"""A study as the stages after train read it from its folder and the store."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from src.data.pack import Manifest, read_manifest
from src.evaluation.snapshots import Evaluation
from src.runtime import files, records
from src.runtime.records import Selection
from src.study.log import read_study
from src.study.pool import LABELS, Pool, Snapshot, TrialResult
from src.trial.identity import (
    Trial,
    configuration,
    dimensions,
    evaluation_flops,
    knobs,
    loss_definition,
    part_name,
    read_trial,
)

BUDGET_FORMAT = 2


class Entry(NamedTuple):
    """One proposal of a study."""

    number: int
    overrides: list[str]
    status: str  # complete, collapsed, diverged, stopped
    reason: str
    trial: Trial
    evaluation: Evaluation

    @property
    def trained(self) -> bool:
        """Whether the trial has weights worth measuring."""
        return self.status in ("complete", "collapsed")


class StoredStudy:
    """Everything a study left behind. Raises ValueError where the study, a trial or the data is missing or altered.

    What it says of folders is believed below the working folder, below the study's own, and below ``trusted``.
    """

    def __init__(self, folder: Path, trusted: Iterable[str] = ()) -> None:
        study: Any = read_study(folder)
        self.trusted = list(trusted)
        _check_places(folder, study, self.trusted)
        self.folder, self.name, self.criterion = folder, str(study["study"]), str(study["criterion"])
        self.identity = files.fingerprint(study["identity"])
        self.default: str | None = study["identity"].get("default")  # a trial's hash; none in studies by hand
        self.protocol: dict[str, Any] = study["evaluation"]
        self.criteria: dict[str, dict[str, Any]] = {criterion["name"]: criterion for criterion in study["criteria"]}
        self.folders: dict[str, str] = study["folders"]
        self.manifest = _manifest(study["data"])
        store = Path(study["folders"]["store"])
        self.entries = [self._entry(entry, store) for entry in study["trials"]]

    def _entry(self, entry: dict[str, Any], store: Path) -> Entry:
        trial = read_trial(store / entry["trial"])
        if entry["status"] != "stopped" and trial.record() is None:
            raise ValueError(
                f"trial {entry['number']} ({trial.key}) of study {self.name} is not finished in {store}: "
                f"run its python -m src.train again"
            )
        evaluation = Evaluation(trial, self.manifest, self.protocol, list(self.criteria.values()))
        return Entry(entry["number"], entry["overrides"], entry["status"], entry["reason"], trial, evaluation)


def _check_places(folder: Path, study: Any, trusted: list[str]) -> None:
    """Raise ValueError where a record, which may have come from anywhere, names a folder anywhere."""
    believed = [place.resolve() for place in (Path(), folder.parent, *map(Path, trusted))]
    named = study["folders"] | {"data": study["data"]["folder"]}
    for kind, place in named.items():
        if not any(Path(place).resolve().is_relative_to(known) for known in believed):
            raise ValueError(
                f"{folder / 'study.json'} names {place}, which lies outside of this folder: if that is yours, "
                f"add folders.{kind}={place}"
            )


def check_current(chosen: dict[str, Any], study: StoredStudy | Pool) -> None:
    """Raise ValueError where a selection.json was made of another search under the same name."""
    if chosen.get("identity") != study.identity:
        raise ValueError(
            f"selection.json of study {study.name} was made of another search: "
            f"run python -m src.selection study={study.name} again"
        )


def next_command(study: StoredStudy) -> str:
    """What can be typed once a trial is picked: the report, or first probe where the images have classes."""
    stage = "probe" if study.manifest.labelled and not (study.folder / "probe.json").exists() else "report"
    return f"python -m src.{stage} study={study.name}"


def read_budgets(study: StoredStudy) -> dict[str, Any]:
    """budget.json's files; empty where there is none. Raises ValueError where an earlier version wrote it."""
    path = study.folder / "budget.json"
    if not path.exists():
        return {}
    return dict(records.read(path, records.BudgetFile, f"run python -m src.budget study={study.name} again")["files"])


def read_selection(folder: Path) -> Selection:
    """selection.json. Raises ValueError where there is none or it isn't one."""
    path = folder / "selection.json"
    if not path.exists():
        raise ValueError(f"{path} is missing: run python -m src.selection study={folder.name} first")
    return records.read(path, Selection, f"run python -m src.selection study={folder.name} again")


def unlabelled_pool(study: StoredStudy, budgets: dict[str, Any]) -> Pool:
    """The study without probe's scores: all that selection may see, with budget.json's files where it may see those."""
    members = [_member(study, entry, {}, None, budgets) for entry in study.entries]
    return Pool(probes={}, members=members, **_shared(study, budgets))


def labelled_pool(study: StoredStudy, probed: dict[str, Any], group: np.ndarray, budgets: dict[str, Any]) -> Pool:
    """The study with probe.json's scores on val, whose images belong to ``group``, and budget.json's."""
    members = [_member(study, e, probed["trials"].get(e.trial.key, {}), group, budgets) for e in study.entries]
    return Pool(
        probes=probed["probe"],
        members=members,
        test_sources=int(study.manifest.splits["test"]["groups"]),
        **_shared(study, budgets),
    )


def _shared(study: StoredStudy, budgets: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": study.name,
        "data": study.manifest.name,
        "criteria": study.criteria,
        "protocol": study.protocol,
        "identity": study.identity,
        "default": next((configuration(e.trial) for e in study.entries if e.trial.key == study.default), None),
        "label_files": {name: {k: v for k, v in few.items() if k != "trials"} for name, few in budgets.items()},
    }


def _member(
    study: StoredStudy, entry: Entry, probed: dict[str, Any], group: np.ndarray | None, budgets: dict[str, Any]
) -> TrialResult:
    trial, evaluation = entry.trial, entry.evaluation
    columns = {column: evaluation.column(column) for column in evaluation.keys}
    facts = {column: evaluation.column(column, "facts") for column in columns}
    steps = trial.snapshot_steps() if entry.trained else []
    rows = {int(row["step"]): row for row in (trial.history() if steps else [])}
    snapshots = [
        Snapshot(
            step=step,
            images=step * trial.config["batch_size"],
            flops=float(rows[step]["flops"]),
            loss=rows[step].get("loss"),
            criteria={column: values[step] for column, values in columns.items() if step in values},
            probes={name: found["numbers"] for name, found in probed.get(str(step), {}).items()},
            right={
                name: _by_source(found["right"], group)
                for name, found in probed.get(str(step), {}).items()
                if group is not None and "right" in found
            },
            facts={f"{c}.{name}": v for c, of in facts.items() for name, v in of.get(step, {}).items()},
            collapsed=bool(evaluation.collapse(step).get("reason")),
        )
        for step in steps
    ]
    few = {name: found["trials"][trial.key] for name, found in budgets.items() if trial.key in found["trials"]}
    timing = trial.folder / "timing.json"
    return TrialResult(
        number=entry.number,
        trial=trial.key,
        configuration=configuration(trial),
        seed=int(trial.config["seed"]),
        method=part_name(trial.config, "method"),
        status=entry.status,
        reason=entry.reason,
        overrides=entry.overrides,
        knobs=knobs(trial),
        dimensions=dimensions(trial, study.manifest.shape),
        loss_definition=loss_definition(trial),
        numerics={name: trial.config[name] for name in ("torch", "source", "device", "threads")},
        evaluation_flops=evaluation_flops(trial, study.manifest, study.protocol) * len(snapshots),
        seconds=records.read(timing, records.Timing, "delete it")["train_seconds"] if timing.exists() else None,
        snapshots=snapshots,
        halves={
            name: v[steps[-1]] for name in columns if steps and steps[-1] in (v := evaluation.column(name, "halves"))
        }
        | {LABELS + name: scored["halves"] for name, scored in few.items()},
        refused={name: evaluation.refusal(name) for name in columns if steps and steps[-1] not in columns[name]},
        budgets={name: scored["skill"] for name, scored in few.items()},
    )


def _by_source(right: str, group: np.ndarray) -> np.ndarray:
    from src.runtime.stats import by_group

    return by_group(np.array([digit == "1" for digit in right]), group)


def _manifest(data: dict[str, Any]) -> Manifest:
    manifest = read_manifest(Path(data["folder"]))
    for split, entry in data["splits"].items():
        if manifest.splits[split]["checksum"] != entry["checksum"]:
            raise ValueError(
                f"{manifest.folder}/images has another {split} split than the study was trained on: "
                f"pack {data['name']} as it was with python -m src.prepare, or train again"
            )
    return manifest
