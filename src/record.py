"""A study as the stages after train read it: study.json and the trials of the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from src import files
from src.data.pack import Manifest, read_manifest
from src.evaluation import Evaluation
from src.study import read_study
from src.trial import Trial, read_trial


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

    def criterion(self, name: str) -> float | None:
        """A criterion on the last snapshot; None where it wasn't measured or refused."""
        values = list(self.evaluation.column(name).values())
        return values[-1] if values else None


class StudyRecord:
    """Everything a study left behind. Raises ValueError where the study, a trial or the data is missing or altered."""

    def __init__(self, folder: Path) -> None:
        study = read_study(folder)
        self.folder, self.name, self.criterion = folder, str(study["study"]), str(study["criterion"])
        self.identity = files.fingerprint(study["identity"])
        self.protocol: dict[str, Any] = study["evaluation"]
        self.criteria: dict[str, dict[str, Any]] = {criterion["name"]: criterion for criterion in study["criteria"]}
        self.mlruns = Path(study["folders"]["mlruns"])
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


def _manifest(data: dict[str, Any]) -> Manifest:
    manifest = read_manifest(Path(data["folder"]))
    for split, entry in data["splits"].items():
        if manifest.splits[split]["checksum"] != entry["checksum"]:
            raise ValueError(
                f"{manifest.folder}/images has another {split} split than the study was trained on: "
                f"run python -m src.prepare data={data['name']} as it was, or train again"
            )
    return manifest
