"""What of a trial stands in MLflow: read back from the real store."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun

from src.runtime.owned import LIST
from src.study.results import ProbeScore
from src.study.stored import Entry, StoredStudy
from src.tracking.client import Tracking
from src.tracking.mirror import Ended, StudyMirror, joined_history, mirror_trial, parameters, points, run_name, tags
from src.trial.identity import names
from tests.project import Project


@pytest.fixture
def study(finished: Project, monkeypatch: pytest.MonkeyPatch) -> StoredStudy:
    monkeypatch.chdir(finished.folder)
    return StoredStudy(Path("runs/tiny"))


@pytest.fixture
def entry(study: StoredStudy) -> Entry:
    return study.entries[0]


@pytest.fixture
def empty(tmp_path: Path, database: Path) -> Path:
    """A fresh MLflow store."""
    folder = tmp_path / "mlruns"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(database.read_bytes())
    return folder


@pytest.fixture
def copied(finished: Project, project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[StoredStudy]:
    """The study where it may be changed."""
    project.copy_of(finished)
    monkeypatch.chdir(project.folder)
    yield StoredStudy(Path("runs/tiny"))


def runs_of(folder: Path, study: str) -> dict[str, MlflowRun]:
    """trial, or "-" for the study's own -> run."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    return {run.data.tags["stepwise.trial"]: run for run in client.search_runs([experiment.experiment_id])}


def history_of(folder: Path, run: MlflowRun, metric: str) -> list[tuple[int, float]]:
    kept = MlflowClient(f"sqlite:///{folder}/mlflow.db").get_metric_history(run.info.run_id, metric)
    return sorted((point.step, point.value) for point in kept)


def test_everything_that_was_measured_is_a_point_by_images_seen(entry: Entry) -> None:
    rows, kept = entry.trial.history(), entry.measurements
    made = points(rows, kept)
    assert len({(point.name, point.step) for point in made}) == len(made)
    by_name: dict[str, dict[int, float]] = {}
    for point in made:
        by_name.setdefault(point.name, {})[point.step] = point.value
    assert by_name["train/loss"] == {int(row["images"]): row["loss"] for row in rows}
    assert not by_name.keys() & {"train/step", "train/images"}
    batch = entry.trial.config.batch_size
    assert {name for name in by_name if name.startswith("criterion/") and "." not in name} == {
        f"criterion/{name}{suffix}"
        for name in kept.criteria
        for suffix, column in (("", kept.column(name)), ("_own", kept.own(name)))
        if column
    }
    for name in ("rankme_z", "lidar_h", "train_loss"):
        assert by_name[f"criterion/{name}"] == {step * batch: value for step, value in kept.column(name).items()} != {}


def test_a_parameter_is_no_tag(entry: Entry) -> None:
    params, labels = parameters(entry.trial), tags(entry.number, entry.trial)
    assert params["batch_size"] == entry.trial.config.batch_size
    assert params["optimizer.learning_rate"] == entry.trial.recorded["optimizer"]["learning_rate"]  # type: ignore[call-overload,index]
    assert names(entry.trial).items() <= params.items()
    assert labels["number"] == str(entry.number) and labels["seed"] == str(entry.trial.config.seed)
    assert labels["data.checksum"] == entry.trial.config.data.checksum
    assert not {"seed", "device", "threads", "processes", "source", "data.checksum"} & params.keys()
    assert run_name(7, entry.trial) == f"007 {entry.trial.key[:8]} simclr cnn"


def test_criteria_stand_in_the_row_of_their_step(entry: Entry) -> None:
    rows = entry.trial.history()
    joined = joined_history(rows, entry.measurements)
    assert [row["loss"] for row in joined] == [row["loss"] for row in rows]
    column = entry.measurements.column("rankme_z")
    assert {int(row["step"]): row["rankme_z"] for row in joined if "rankme_z" in row} == column
    assert len(column) < len(rows)


def test_a_trial_goes_to_mlflow_as_it_trains_and_once(entry: Entry, empty: Path) -> None:
    rows, kept = entry.trial.history(), entry.measurements
    tracking = Tracking(empty, "tiny", "0123456789abcdef")
    assert mirror_trial(tracking, 0, rows[:1], kept, None)
    run = runs_of(empty, "tiny")[entry.trial.key]
    assert run.info.status == "RUNNING" and "status" not in run.data.tags
    assert history_of(empty, run, "train/loss") == [(int(rows[0]["images"]), rows[0]["loss"])]
    for again in (tracking, Tracking(empty, "tiny", "0123456789abcdef")):  # another process, too
        assert mirror_trial(again, 0, rows, kept, Ended("complete", ""))
        runs = runs_of(empty, "tiny")
        assert runs.keys() == {"-", entry.trial.key}
        run = runs[entry.trial.key]
        assert run.info.status == "FINISHED" and run.data.tags["status"] == "complete"
        assert run.data.tags["mlflow.parentRunId"] == runs["-"].info.run_id
        assert history_of(empty, run, "train/loss") == [(int(row["images"]), row["loss"]) for row in rows]
    assert {name: str(value) for name, value in parameters(entry.trial).items()} == run.data.params


def test_a_diverged_trial_has_failed(entry: Entry, empty: Path) -> None:
    tracking = Tracking(empty, "tiny", "0123456789abcdef")
    why = "loss or gradient is no longer finite"
    assert mirror_trial(tracking, 0, entry.trial.history(), entry.measurements, Ended("diverged", why))
    run = runs_of(empty, "tiny")[entry.trial.key]
    assert run.info.status == "FAILED" and (run.data.tags["status"], run.data.tags["reason"]) == ("diverged", why)


def test_artifacts_are_the_trials_own(entry: Entry, study: StoredStudy) -> None:
    run = runs_of(Path("mlruns"), "tiny")[entry.trial.key]
    folder = Path(MlflowClient("sqlite:///mlruns/mlflow.db").download_artifacts(run.info.run_id, ""))
    weights = entry.trial.snapshot_path(entry.steps[-1])
    assert (folder / "weights.safetensors").read_bytes() == weights.read_bytes()
    table = list(csv.DictReader(io.StringIO((folder / "history.csv").read_text())))
    assert [float(row["loss"]) for row in table] == [row["loss"] for row in entry.trial.history()]
    spectrum = json.loads((folder / "spectrum.json").read_text())
    assert len(spectrum["h"][str(entry.steps[-1])]) == 16 and len(spectrum["z"][str(entry.steps[-1])]) == 8
    assert (folder / "trial.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "config.yaml").stat().st_size > 0


def test_a_pick_moves_its_tag(copied: StoredStudy) -> None:
    mirror, entries = StudyMirror(copied), copied.entries
    for picked in (0, 1):
        mirror.tag_picks(entries, "mine", {entries[picked].trial.key: 60}, "consensus")
        runs = runs_of(Path("mlruns"), "tiny")
        said = {entry.number: runs[entry.trial.key].data.tags["mine"] for entry in entries}
        assert said == {0: "no", 1: "no", 2: "no"} | {picked: "consensus at step 60"}


def test_probe_scores_stand_by_images_seen(copied: StoredStudy) -> None:
    entry = copied.entries[0]
    scores = {str(step): {"mine": ProbeScore({"top1": step / 100, "error": 0.1})} for step in entry.steps}
    StudyMirror(copied).probed(entry, scores)
    run = runs_of(Path("mlruns"), "tiny")[entry.trial.key]
    batch = entry.trial.config.batch_size
    expected = [(step * batch, step / 100) for step in entry.steps]
    assert history_of(Path("mlruns"), run, "probe/mine_top1") == expected != []
    assert run.data.metrics["probe/mine_error"] == 0.1


def test_links_lead_to_each_trials_run(study: StoredStudy) -> None:
    links = StudyMirror(study).links("http://127.0.0.1:5000")
    runs = runs_of(Path("mlruns"), "tiny")
    assert links == {
        key: f"http://127.0.0.1:5000/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
        for key, run in runs.items()
        if key != "-"
    }
    assert {entry.trial.key for entry in study.entries} <= links.keys()


def test_a_folder_is_attached_without_the_list_of_who_wrote_it(copied: StoredStudy, tmp_path: Path) -> None:
    (tmp_path / "results/inner").mkdir(parents=True)
    (tmp_path / "results/inner/a.txt").write_text("a")
    (tmp_path / "results" / LIST).write_text("{}")
    StudyMirror(copied).attach(tmp_path / "results")
    run = runs_of(Path("mlruns"), "tiny")["-"]
    folder = Path(MlflowClient("sqlite:///mlruns/mlflow.db").download_artifacts(run.info.run_id, ""))
    assert (folder / "inner/a.txt").read_text() == "a"
    assert not list(folder.rglob(LIST))
