"""What of a trial goes to MLflow: names, parameters, tags, metrics, files."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import yaml

from src.evaluation.embeddings import SPACES
from src.evaluation.measurements import Measurements
from src.runtime import files
from src.runtime.owned import LIST
from src.runtime.records import Config, Step
from src.study.results import ProbeScores, Status
from src.study.stored import Entry, StoredStudy
from src.tracking.client import Point, Run, Tracking, git_tags
from src.trial.identity import History, Trial, flatten, names, part_name

VERSIONS = ("torch", "torchvision", "numpy", "hydra-core", "optuna", "mlflow-skinny")
CLOCKS = ("step", "images")  # what rows are told apart by


class Ended(NamedTuple):
    """How a trial ended, by its study."""

    status: Status
    reason: str


def run_name(number: int, trial: Trial) -> str:
    return f"{number:03d} {trial.key[:8]} {part_name(trial.config, 'method')} {part_name(trial.config, 'model')}"


def parameters(trial: Trial) -> Config:
    """The trial's own settings, without what is a tag."""
    tagged = ("data", "device", "threads", "processes", "torch", "source", "seed")
    return flatten({key: value for key, value in trial.recorded.items() if key not in tagged}) | names(trial)


def tags(number: int, trial: Trial) -> dict[str, str]:
    config = trial.config
    return {
        "number": str(number),
        "data.checksum": config.data.checksum,
        "seed": str(config.seed),
        "device": config.device,
        "threads": str(config.threads),
        "processes": str(config.processes),
        "version.python": platform.python_version(),
        **{f"version.{name}": version(name) for name in VERSIONS},
        "source": config.source,
        **git_tags(),
    }


def points(rows: History, measurements: Measurements) -> list[Point]:
    """The history's rows and every measured criterion, by images seen."""
    batch = measurements.trial.config.batch_size
    known: list[Point] = []
    for row in rows:
        images = int(row["images"])
        known += [Point(f"train/{name}", value, images) for name, value in row.items() if name not in CLOCKS]
    for name in measurements.criteria:
        for suffix, column in (("", measurements.column(name)), ("_own", measurements.own(name))):
            known += [Point(f"criterion/{name}{suffix}", value, step * batch) for step, value in column.items()]
        for step, facts in measurements.facts(name).items():
            known += [Point(f"criterion/{name}.{fact}", value, step * batch) for fact, value in facts.items()]
    return known


def write_artifacts(folder: Path, rows: History, measurements: Measurements) -> None:
    """Resolved config, history with criteria, spectrum, last weights and a figure."""
    from src.runtime.figure_style import save, trial_figure

    trial = measurements.trial
    (folder / "config.yaml").write_text(yaml.safe_dump(trial.recorded, sort_keys=False))
    history = joined_history(rows, measurements)
    (folder / "history.csv").write_bytes(files.to_csv_of(history))
    files.write_json(folder / "spectrum.json", {space: measurements.spectrum(space) for space in SPACES})
    if trial.snapshot_steps():
        shutil.copy(trial.snapshot_path(trial.snapshot_steps()[-1]), folder / "weights.safetensors")
    figure = trial_figure(
        history, first_spaces(measurements), measurements.spectrum("z"), trial.config.batch_size, trial.key
    )
    save(figure, folder / "trial.png")


def first_spaces(measurements: Measurements) -> list[str]:
    """The columns of each criterion's published space."""
    return [column for column, criterion in measurements.criteria.items() if column == criterion.filled[0]]


def joined_history(rows: History, measurements: Measurements) -> History:
    """The rows of a trial's history, with the criteria measured at their step."""
    columns = {name: measurements.column(name) for name in measurements.criteria}
    joined: History = []
    for row in rows:
        step = int(row["step"])
        joined.append(row | {name: column[step] for name, column in columns.items() if step in column})
    return joined


def mirror_trial(
    tracking: Tracking, number: int, rows: History, measurements: Measurements, ended: Ended | None
) -> bool:
    """Send what MLflow doesn't have yet; ``ended`` once the trial has. False where MLflow fails."""
    trial = measurements.trial
    run = Run(trial.key, run_name(number, trial), parameters(trial), tags(number, trial), points(rows, measurements))
    if ended is None:
        return tracking.trial(run)
    run.tags.update(status=ended.status, reason=ended.reason)
    status = "FAILED" if ended.status == "diverged" else "FINISHED"
    return tracking.trial(run, status=status, artifacts=lambda folder: write_artifacts(folder, rows, measurements))


class StudyMirror:
    """What the stages after train add to the study's runs."""

    def __init__(self, study: StoredStudy) -> None:
        self.tracking = Tracking(Path(study.folders.mlruns), study.name, study.identity)

    def probed(self, entry: Entry, snapshots: Mapping[Step, ProbeScores]) -> None:
        """Add probe accuracies over training, and whatever of the trial MLflow missed."""
        if entry.status == "stopped":
            return
        self._catch_up(entry)
        batch = entry.trial.config.batch_size
        scores: list[Point] = []
        for step, probes in snapshots.items():
            images = int(step) * batch
            for name, score in probes.items():
                scores += [Point(f"probe/{name}_{number}", value, images) for number, value in score.numbers.items()]
        self.tracking.add(entry.trial.key, points=scores)

    def tag_picks(self, entries: list[Entry], tag: str, picks: dict[str, int], rule: str) -> None:
        """Tag the picked trials with the rule and the step of their snapshot, and take the tag from the others."""
        for entry in entries:
            if entry.status == "stopped":
                continue
            self._catch_up(entry)
            step = picks.get(entry.trial.key)
            self.tracking.add(entry.trial.key, tags={tag: "no" if step is None else f"{rule} at step {step}"})

    def links(self, ui: str) -> dict[str, str]:
        """trial -> the address of its run in the MLflow UI; empty where MLflow can't be read."""
        return {key: f"{ui}/#/experiments/{where}" for key, where in self.tracking.places().items()}

    def attach(self, folder: Path) -> None:
        """Copy a folder of results to the study's own run."""

        def copy(target: Path) -> None:
            shutil.copytree(folder, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(LIST))

        self.tracking.attach(copy)

    def _catch_up(self, entry: Entry) -> None:
        ended = Ended(entry.status, entry.reason)
        mirror_trial(self.tracking, entry.number, entry.trial.history(), entry.measurements, ended)
