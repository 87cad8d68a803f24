"""probe's fine-tuning: of named trials only, beside what the probes say."""

from __future__ import annotations

import csv

import pytest
from mlflow import MlflowClient

from tests.project import REPORT, Project


def test_named_trials_are_tuned_and_nothing_else_changes(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    out = project.ok("probe", "study=tiny", "threads=1", "finetune.trials=[0]", "finetune.epochs=1")
    assert "finetune top1" in out
    study, probed = project.json("runs/tiny/study.json"), project.json("runs/tiny/probe.json")
    default = study["trials"][0]["trial"]
    tuned = probed["trials"][default][max(probed["trials"][default], key=int)].pop("finetune")
    assert tuned["numbers"]["top1"] == pytest.approx(tuned["right"].count("1") / 120) and len(tuned["right"]) == 120
    assert probed == finished.json("runs/tiny/probe.json")
    assert project.json("runs/tiny-confirm/probe.json") == finished.json("runs/tiny-confirm/probe.json")
    client = MlflowClient(f"sqlite:///{project.folder}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    found = {run.data.tags["stepwise.trial"] for run in runs if "probe/finetune_top1" in run.data.metrics}
    assert found == {default}
    project.ok("report", *REPORT)
    with (project.folder / "report/trials.csv").open() as file:
        column = [row["finetune_top1"] for row in csv.DictReader(file)]
    assert float(column[0]) == tuned["numbers"]["top1"] and column[1:] == [""] * 4


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        ("[7]", "finetune.trials must be numbers of study tiny, 0 to 2, got [7]"),
        ("[0,-1]", "finetune.trials.1 must be >= 0, got -1"),
        ("all", "finetune.trials must be a list like [1,2], got 'all'"),
    ],
)
def test_unknown_trials_are_refused(finished: Project, trials: str, message: str) -> None:
    kept = (finished.folder / "runs/tiny/probe.json").read_bytes()
    line = finished.refused("probe", "study=tiny", f"finetune.trials={trials}")
    assert message in line
    assert (finished.folder / "runs/tiny/probe.json").read_bytes() == kept


def test_bad_settings_are_refused(finished: Project) -> None:
    line = finished.refused("probe", "study=tiny", "finetune.trials=[0]", "finetune.epochs=0")
    assert "finetune.epochs must be >= 1, got 0" in line
