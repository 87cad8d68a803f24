"""Studies of the first release, whose trials have other names, are still read, selected from, probed and reported."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

from src.study.stored import StoredStudy
from src.trial.identity import part_name, read_trial
from tests.project import Project

FIRST_RELEASE = Path(__file__).with_name("study_of_0.1.0.tar.gz")  # of three trials, made by its own commands


def test_a_study_of_the_first_release_goes_through_all_stages_that_only_read_it(project: Project) -> None:
    with tarfile.open(FIRST_RELEASE) as kept:
        kept.extractall(project.folder, filter="data")
    before = {path: path.read_bytes() for path in (project.folder / "runs/store").rglob("*.*") if path.is_file()}
    chosen = project.json("runs/tiny/selection.json")
    project.ok("selection", "study=tiny", "draws=100")
    again = project.json("runs/tiny/selection.json")
    assert again["winners"] == chosen["winners"] and again["ranking"] == chosen["ranking"]
    project.ok("probe", "study=tiny", "threads=1")
    project.ok("budget", "study=tiny", "threads=1", "file=data/digits/budgets/5-0.csv")
    project.ok("report", "study=tiny", "resamples=100", "threads=1")
    project.ok("compare", "study=tiny", "trials=[0,1]")
    metrics = project.json("report/metrics.json")
    assert len(metrics["trials"]) == 3 and metrics["methods"] == ["simclr"]
    assert {path: path.read_bytes() for path in before} == before
    line = project.refused("confirm", "study=tiny", "top=1")
    assert "was trained by" in line and "run its study again before it is repeated" in line


def test_what_a_trial_is_called_follows_from_what_it_builds(project: Project) -> None:
    with tarfile.open(FIRST_RELEASE) as archive:
        archive.extractall(project.folder, filter="data")
    path = next((project.folder / "runs/store").glob("*/config.json"))
    config = json.loads(path.read_text())
    assert config["method"]["name"] == "simclr"  # which a trial of today doesn't keep
    kept = read_trial(path.parent).config
    parts = part_name(kept, "method"), part_name(kept, "model"), part_name(kept, "optimizer")
    assert parts == ("simclr", "cnn", "adamw")
    study = project.folder / "runs/tiny/study.json"
    content = json.loads(study.read_text())
    content["folders"] = {"store": str(project.folder / "runs/store"), "mlruns": str(project.folder / "mlruns")}
    content["data"]["folder"] = str(project.folder / "data/digits")
    study.write_text(json.dumps(content))
    found = StoredStudy(study.parent, [str(project.folder)])
    assert [entry.number for entry in found.entries] == [0, 1, 2]
