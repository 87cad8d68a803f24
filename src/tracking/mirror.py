"""What of a trial goes to MLflow: names, parameters, tags, metrics, files."""

from __future__ import annotations

import csv
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from src.evaluation.embeddings import SPACES
from src.evaluation.snapshots import Evaluation
from src.runtime import files
from src.runtime.owned import LIST
from src.study.stored import Entry, StoredStudy
from src.tracking.client import Point, Tracking, git_tags
from src.trial.identity import Trial, flatten, part_name

VERSIONS = ("torch", "torchvision", "numpy", "hydra-core", "optuna", "mlflow-skinny")
CLOCKS = ("step", "images")  # what rows are told apart by


def run_name(number: int, trial: Trial) -> str:
    parts = " ".join(part_name(trial.config, part) for part in ("method", "model"))
    return f"{number:03d} {trial.key[:8]} {parts}"


def parameters(trial: Trial) -> dict[str, Any]:
    """The trial's own settings, without what is a tag."""
    tagged = ("data", "device", "threads", "processes", "torch", "source", "seed")
    names = {f"{part}.name": part_name(trial.config, part) for part in ("method", "model", "optimizer")}
    return flatten({key: value for key, value in trial.config.items() if key not in tagged}) | names


def tags(number: int, trial: Trial) -> dict[str, str]:
    config = trial.config
    return {
        "number": str(number),
        "data.checksum": config["data"].get("pretrain") or config["data"]["probe"],
        "seed": str(config["seed"]),
        "device": config["device"],
        "threads": str(config["threads"]),
        "processes": str(config["processes"]),
        "version.python": platform.python_version(),
        **{f"version.{name}": version(name) for name in VERSIONS},
        "source": config["source"],
        **git_tags(),
    }


def points(rows: list[dict[str, float]], evaluation: Evaluation) -> list[Point]:
    """The history's rows and every measured criterion, by images seen."""
    batch = evaluation.trial.config["batch_size"]
    found = [
        Point(f"train/{name}", row[name], int(row["images"])) for row in rows for name in row if name not in CLOCKS
    ]
    for name in evaluation.criteria:
        for kind, suffix in (("value", ""), ("own", "_own")):
            column = evaluation.column(name, kind)
            found += [Point(f"criterion/{name}{suffix}", value, step * batch) for step, value in column.items()]
        for step, facts in evaluation.column(name, "facts").items():
            found += [Point(f"criterion/{name}.{fact}", value, step * batch) for fact, value in facts.items()]
    return found


def write_artifacts(folder: Path, rows: list[dict[str, float]], evaluation: Evaluation) -> None:
    """Resolved config, history with criteria, spectrum, last weights and a figure."""
    from src.runtime.figure_style import save, trial_figure

    trial = evaluation.trial
    (folder / "config.yaml").write_text(yaml.safe_dump(trial.config, sort_keys=False))
    history = joined_history(rows, evaluation)
    with (folder / "history.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, fieldnames=list(dict.fromkeys(key for row in history for key in row)))
        table.writeheader()
        table.writerows(history)
    files.write_json(folder / "spectrum.json", {space: evaluation.spectrum(space) for space in SPACES})
    if trial.snapshot_steps():
        shutil.copy(trial.snapshot_path(trial.snapshot_steps()[-1]), folder / "weights.safetensors")
    figure = trial_figure(
        history, first_spaces(evaluation), evaluation.spectrum("z"), trial.config["batch_size"], trial.key
    )
    save(figure, folder / "trial.png")


def first_spaces(evaluation: Evaluation) -> list[str]:
    """The columns of each criterion's published space."""
    return [name for name, c in evaluation.criteria.items() if not c["spaces"] or name.endswith(f"_{c['spaces'][0]}")]


def joined_history(rows: list[dict[str, float]], evaluation: Evaluation) -> list[dict[str, float]]:
    """The rows of a trial's history, with the criteria measured at their step."""
    columns = {name: evaluation.column(name) for name in evaluation.criteria}
    return [
        row | {name: column[int(row["step"])] for name, column in columns.items() if int(row["step"]) in column}
        for row in rows
    ]


def mirror_trial(
    tracking: Tracking, number: int, rows: list[dict[str, float]], evaluation: Evaluation, ended: dict[str, Any] | None
) -> bool:
    """Send what MLflow doesn't have yet; ``ended`` is the study's entry once the trial has ended."""
    trial = evaluation.trial
    labels: dict[str, str] = tags(number, trial)
    if ended is None:
        return tracking.trial(
            trial.key, run_name(number, trial), params=parameters(trial), tags=labels, points=points(rows, evaluation)
        )
    return tracking.trial(
        trial.key,
        run_name(number, trial),
        params=parameters(trial),
        tags=labels | {"status": ended["status"], "reason": ended["reason"]},
        points=points(rows, evaluation),
        status="FAILED" if ended["status"] == "diverged" else "FINISHED",
        artifacts=lambda folder: write_artifacts(folder, rows, evaluation),
    )


class StudyMirror:
    """What the stages after train add to the study's runs."""

    def __init__(self, study: StoredStudy) -> None:
        self.tracking = Tracking(Path(study.folders["mlruns"]), study.name, study.identity)

    def probed(self, entry: Entry, snapshots: dict[str, Any]) -> None:
        """Add probe accuracies over training, and whatever of the trial MLflow missed."""
        if entry.status == "stopped":
            return
        self._catch_up(entry)
        batch = entry.trial.config["batch_size"]
        scores = [
            Point(f"probe/{name}_{number}", value, int(step) * batch)
            for step, found in snapshots.items()
            for name, score in found.items()
            for number, value in score["numbers"].items()
        ]
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
        ended = {"status": entry.status, "reason": entry.reason}
        mirror_trial(self.tracking, entry.number, entry.trial.history(), entry.evaluation, ended)
