"""What the sampler is told of a proposal, and what the study keeps of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from src.data.pack import Manifest
from src.evaluation.definitions import load_criteria
from src.runtime import interrupts
from src.runtime.device import set_up
from src.runtime.records import Config
from src.study.log import Study, read_study
from src.study.stored import StoredStudy
from src.train import runner
from src.train.runner import UNFINISHED, HowToRun, StudyRunner
from src.trial.identity import Trial
from tests.composed import packed, settings_of, trial_of
from tests.project import ROOT

TOLERANT = ("evaluation.collapse.spread=0.0", "evaluation.collapse.rank=1.0")  # so short a training looks collapsed


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    set_up("cpu", 1)
    return packed(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trial(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """A trial that was trained, by a study of its own."""
    store = tmp_path_factory.mktemp("runs") / "store"
    trial = trial_of(manifest, store)
    runner = open_study(store, manifest, how_to_run(store, "rankme"), "first")
    runner.run(0, [], trial)
    runner.close()
    return trial


def how_to_run(store: Path, guide: str, *overrides: str, max_hours: float | None = None) -> HowToRun:
    """With an MLflow store that can't be written, which is said once and changes nothing."""
    settings = settings_of(f"criterion={guide}", *(overrides or TOLERANT))
    mlruns = store.parent.parent / "mlruns"
    mlruns.touch()
    return HowToRun(
        criterion=settings.criterion,
        criteria=load_criteria(ROOT / "conf" / "criterion", settings.criterion),
        protocol=settings.evaluation,
        device="cpu",
        store=store,
        mlruns=mlruns,
        checkpoint_seconds=1e9,
        max_hours=max_hours,
    )


def open_study(store: Path, manifest: Manifest, how: HowToRun, name: str) -> StudyRunner:
    identity: Config = {"criterion": how.criterion.name, "spread": how.protocol.collapse.spread}
    return StudyRunner(how, Study(store.parent / name, identity), manifest, trials=1)


@pytest.mark.parametrize(("guide", "sign"), [("rankme", 1), ("lidar", 1), ("alignment", -1), ("train_loss", -1)])
def test_the_sampler_is_told_what_is_higher_where_better(
    guide: str, sign: int, trial: Trial, manifest: Manifest
) -> None:
    store = trial.folder.parent
    study = open_study(store, manifest, how_to_run(store, guide), guide)
    told = study.run(0, ["a=1"], trial)
    study.close()
    (entry,) = read_study(store.parent / guide).trials
    assert entry.status == "complete" and entry.reason == "" and entry.overrides == ["a=1"]
    assert entry.criterion is not None and told == entry.value == sign * entry.criterion


def test_what_is_in_the_store_is_not_trained_again(
    trial: Trial, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **keywords: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(runner, "run_trial", refuse)
    store = trial.folder.parent
    before = {path: path.read_bytes() for path in trial.folder.rglob("*") if path.is_file()}
    told = []
    for name in ("second", "third", "third"):  # the third study is asked twice
        study = open_study(store, manifest, how_to_run(store, "rankme"), name)
        told.append(study.run(0, [], trial))
        study.close()
    assert len(set(told)) == 1
    assert {path: path.read_bytes() for path in trial.folder.rglob("*") if path.is_file()} == before
    (log,) = (store.parent / "third").glob("log-*.jsonl")
    assert len(log.read_text().splitlines()) == 1


def test_a_collapsed_trial_is_told_as_the_worst_and_keeps_its_value(trial: Trial, manifest: Manifest) -> None:
    store = trial.folder.parent
    for guide, worst in (("rankme", 0.0), ("alignment", -4.0)):
        strict = how_to_run(store, guide, "evaluation.collapse.rank=1e6")
        study = open_study(store, manifest, strict, f"strict-{guide}")
        assert study.run(0, [], trial) == worst
        study.close()
        (entry,) = read_study(store.parent / f"strict-{guide}").trials
        assert entry.status == "collapsed" and "1e+06" in entry.reason.replace("1000000", "1e+06")
        assert entry.criterion is not None and entry.criterion not in (worst, -worst)


def test_a_diverged_trial_has_no_value_and_is_told_as_the_worst(manifest: Manifest, tmp_path: Path) -> None:
    store = tmp_path / "runs/store"
    trial = trial_of(manifest, store, "optimizer.learning_rate=1e30", "schedule.warmup=0")
    study = open_study(store, manifest, how_to_run(store, "alignment"), "one")
    assert study.run(0, [], trial) == -4.0
    study.close()
    (entry,) = read_study(tmp_path / "runs/one").trials
    assert (entry.status, entry.criterion, entry.value) == ("diverged", None, -4.0)
    assert "finite" in entry.reason


def test_out_of_time_leaves_the_trial_as_stopped_and_nothing_in_the_log(manifest: Manifest, tmp_path: Path) -> None:
    store = tmp_path / "runs/store"
    trial = trial_of(manifest, store)
    study = open_study(store, manifest, how_to_run(store, "rankme", max_hours=0.0), "one")
    with pytest.raises(interrupts.OutOfTime):
        study.run(0, ["a=1"], trial)
    study.close()
    (entry,) = read_study(tmp_path / "runs/one").trials
    assert (entry.status, entry.reason, entry.value) == ("stopped", UNFINISHED, None)
    assert not list((tmp_path / "runs/one").glob("log-*.jsonl"))
    assert trial.record() is None


def test_another_proposal_under_a_known_number_is_refused(trial: Trial, manifest: Manifest) -> None:
    store = trial.folder.parent
    study = open_study(store, manifest, how_to_run(store, "rankme"), "renumbered")
    study.run(0, ["a=1"], trial)
    with pytest.raises(ValueError, match=r"proposal 0 of study renumbered is a=2 but log-.* says a=1: the sampler's"):
        study.run(0, ["a=2"], trial)
    study.close()


def test_a_study_is_held_by_one_runner(trial: Trial, manifest: Manifest) -> None:
    store = trial.folder.parent
    study = open_study(store, manifest, how_to_run(store, "rankme"), "held")
    with pytest.raises(ValueError, match="study held is being written by another process"):
        open_study(store, manifest, how_to_run(store, "rankme"), "held")
    study.run(0, [], trial)
    study.close()
    again = open_study(store, manifest, how_to_run(store, "rankme"), "held")
    again.run(0, [], trial)
    again.close()


def test_the_summary_states_what_later_stages_need(trial: Trial, manifest: Manifest) -> None:
    store = trial.folder.parent
    how = how_to_run(store, "lidar")
    study = open_study(store, manifest, how, "summed")
    study.run(0, [], trial)
    path = study.close()
    kept = json.loads(path.read_text())
    assert kept["study"] == "summed" and kept["criterion"] == "lidar_z" and kept["identity"]["criterion"] == "lidar"
    summary = read_study(path.parent)
    assert summary.evaluation == how.protocol and summary.criteria == how.criteria
    assert summary.data.name == manifest.name and Path(summary.data.folder) == manifest.folder
    assert (summary.folders.store, summary.folders.mlruns) == (str(store), str(how.mlruns))


def test_a_mirror_that_is_down_is_caught_up_at_the_end(
    trial: Trial, manifest: Manifest, database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = trial.folder.parent
    how = replace(how_to_run(store, "rankme"), mlruns=tmp_path / "mlruns")
    how.mlruns.touch()
    study = open_study(store, manifest, how, "down")
    for number in range(3):
        study.run(number, [f"a={number}"], trial)
    assert capsys.readouterr().err.count("warning: MLflow can't be written") == 1
    how.mlruns.unlink()
    how.mlruns.mkdir()
    shutil.copy(database, how.mlruns)
    study.close()
    client = MlflowClient(f"sqlite:///{how.mlruns}/mlflow.db")
    experiment = client.get_experiment_by_name("down")
    assert experiment is not None
    runs = {run.data.tags["stepwise.trial"]: run for run in client.search_runs([experiment.experiment_id])}
    assert {key: run.info.status for key, run in runs.items()} == {"-": "FINISHED", trial.key: "FINISHED"}
    assert runs["-"].data.params == {"criterion": "rankme_z"} and runs["-"].data.tags["trials"] == "3"
    (entry, *_) = study.study.entries.values()
    assert runs[trial.key].data.metrics["criterion/rankme_z"] == entry.criterion


def test_repeating_a_studys_trials_takes_what_that_study_was_run_with(trial: Trial, manifest: Manifest) -> None:
    store = trial.folder.parent
    how = how_to_run(store, "alignment")
    study = open_study(store, manifest, how, "repeated")
    study.run(0, [], trial)
    study.close()
    kept = StoredStudy(store.parent / "repeated", trusted=[str(manifest.folder), str(how.mlruns)])
    assert runner.as_in(kept, "cpu", 5.0, 2.0) == replace(how, checkpoint_seconds=5.0, max_hours=2.0)
