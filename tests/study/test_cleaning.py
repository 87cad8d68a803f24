"""clean removes what a valid record proves to be a trial that no study knows, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.project import TINY_TRIAL, Project


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, finished: Project) -> Project:
    """A study of three trials, probed, and one of a trial that is to be forgotten."""
    project = Project(tmp_path_factory.mktemp("swept"), database=None).unconfirmed(finished)
    project.ok("train", *TINY_TRIAL, "study=old", "seed=9")
    return project


@pytest.fixture
def here(swept: Project, project: Project) -> Project:
    return project.copy_of(swept)


def trials(project: Project) -> set[str]:
    return {path.name for path in (project.folder / "runs/store").iterdir() if re.fullmatch(r"[0-9a-f]{16}", path.name)}


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def forget(project: Project) -> str:
    """Delete the study ``old``; the trial that nobody needs then."""
    trial: str = project.json("runs/old/study.json")["trials"][0]["trial"]
    shutil.rmtree(project.folder / "runs/old")
    return trial


def test_listing_changes_nothing_and_names_what_would_go(here: Project) -> None:
    trial = forget(here)
    before = everything(here.folder)
    out = here.ok("clean")
    assert trial in out and "trial that no study lists" in out and out.count("cached features") == 3
    assert "nothing was removed" in out
    assert everything(here.folder) == before


def test_what_goes_is_in_the_trash_and_can_be_brought_back(here: Project) -> None:
    before = everything(here.folder / "runs/store")
    trial = forget(here)
    out = here.ok("clean", "delete=true")
    found = re.search(r"moved what is listed to (runs/store/trash/\d{4}-\d\d-\d\d): 4", out)
    assert found is not None, out
    assert trial not in trials(here) and len(trials(here)) == 3
    trash = here.folder / found[1]
    assert sorted(path.name for path in (trash / trial).iterdir())[-2:] == ["snapshots", "timing.json"]
    shutil.copytree(trash, here.folder / "runs/store", dirs_exist_ok=True)
    shutil.rmtree(here.folder / "runs/store/trash")
    assert everything(here.folder / "runs/store") == before
    forgotten = here.ok("clean", "delete=true")
    assert f"{found[1]}: 4" in forgotten
    here.ok("probe", "study=tiny", "threads=1")  # makes its features again
    assert f"{found[1]}-2: 3" in here.ok("clean", "delete=true")  # another folder on the same day


def test_forever_deletes_it(here: Project) -> None:
    trial = forget(here)
    assert "deleted what is listed: 4" in here.ok("clean", "delete=true", "forever=true")
    assert trial not in trials(here) and not (here.folder / "runs/store/trash").exists()
    here.ok("selection", "study=tiny", "draws=100")


def test_without_a_study_nothing_is_known_and_nothing_goes(here: Project) -> None:
    before = everything(here.folder)
    (here.folder / "empty").mkdir()
    for runs in ("absent", "empty"):
        line = here.refused("clean", f"folders.runs={runs}", "folders.store=empty", "delete=true")
        assert f"no study in {runs}: without one nothing says which trials" in line
    (here.folder / "runs/store/used-by").rename(here.folder / "elsewhere")  # a store of an earlier release
    line = here.refused("clean", "delete=true")
    assert "runs/store doesn't know which studies use it" in line
    (here.folder / "elsewhere").rename(here.folder / "runs/store/used-by")
    assert everything(here.folder) == before


def test_a_folder_that_is_no_store_loses_nothing(here: Project) -> None:
    home = here.folder / "home"
    for name in ("letters", "photos", "0123456789abcdef"):
        (home / name).mkdir(parents=True)
        (home / name / "mine.txt").write_text("mine")
    before = everything(home)
    for flags in (["delete=true"], ["delete=true", "forever=true"]):
        here.run("clean", "folders.store=home", *flags)
        assert everything(home) == before


@pytest.mark.parametrize("damage", ["notes", "config", "record", "weights", "unfinished", "checkpoint", "link"])
def test_what_is_not_proved_a_whole_trial_stays(here: Project, tmp_path: Path, damage: str) -> None:
    trial = here.folder / "runs/store" / forget(here)
    if damage == "notes":
        (trial / "snapshots/notes.txt").write_text("mine")
    elif damage == "config":
        config = json.loads((trial / "config.json").read_text())
        (trial / "config.json").write_text(json.dumps(config | {"seed": 77}))
    elif damage == "record":
        (trial / "record.json").write_text('{"files": {}}')
    elif damage == "weights":
        next((trial / "snapshots").iterdir()).write_bytes(b"others")
    elif damage == "unfinished":
        (trial / "record.json").unlink()
    elif damage == "checkpoint":
        (trial / "checkpoint.pt").write_bytes(b"")
    else:
        shutil.move(trial, tmp_path / "outside")
        trial.symlink_to(tmp_path / "outside")
    before = everything(trial)
    out = here.ok("clean", "delete=true", "forever=true")
    assert everything(trial) == before
    assert damage == "link" or f"kept: runs/store/{trial.name}, which" in out.replace("\n", " ")


def test_a_trial_killed_in_the_middle_is_kept_and_trained_on(here: Project) -> None:
    trial = [*TINY_TRIAL, "study=long", "seed=11", "checkpoint_seconds=0.0"]
    assert here.run("train", *trial, KILL_AT_WRITE="80").returncode == -signal.SIGKILL
    (checkpoint,) = (here.folder / "runs/store").glob("*/checkpoint.pt")
    before = everything(checkpoint.parent)
    here.ok("clean", "delete=true")
    assert everything(checkpoint.parent) == before
    here.ok("train", *trial)
    assert here.json("runs/long/study.json")["trials"][0]["trial"] == checkpoint.parent.name
    assert (checkpoint.parent / "record.json").exists()


def link(project: Project) -> None:
    shutil.move(project.folder / "runs/old", project.folder / "kept elsewhere")
    (project.folder / "runs/old").symlink_to(project.folder / "kept elsewhere")


def another(project: Project) -> None:
    project.ok("train", *TINY_TRIAL, "study=third", "seed=21", "folders.runs=runs2")


def test_studies_behind_links_and_in_other_folders_keep_their_trials(here: Project) -> None:
    link(here)
    another(here)
    whole = trials(here)
    assert len(whole) == 5
    assert "trial that no study lists" not in here.ok("clean", "delete=true", "forever=true")
    assert trials(here) == whole
    shutil.move(here.folder / "runs2", here.folder / "runs3")  # as if its disk weren't there
    line = here.refused("clean", "delete=true")
    assert "runs2 have trials in runs/store, and that folder isn't there: bring it back, or delete" in line
    note = line.rpartition("or delete ")[2].split(" if ")[0]
    (here.folder / note).unlink()
    assert "trial that no study lists" in here.ok("clean")


def test_a_study_that_cannot_be_read_stops_it(here: Project) -> None:
    forget(here)
    whole = trials(here)
    path = here.folder / "runs/tiny/study.json"
    path.write_text("{}")
    assert "runs/tiny/study.json isn't as it was written" in here.refused("clean", "delete=true")
    assert trials(here) == whole


def test_an_unfinished_searchs_log_alone_keeps_its_trials(here: Project) -> None:
    (here.folder / "runs/old/study.json").unlink()
    assert "trial that no study lists" not in here.ok("clean")
    next((here.folder / "runs/old").glob("log-*.jsonl")).unlink()
    assert "trial that no study lists" in here.ok("clean")


def test_a_moved_project_still_knows_its_studies(here: Project, tmp_path: Path) -> None:
    trial = forget(here)
    moved: Any = here
    shutil.move(here.folder, tmp_path / "moved")
    moved.folder = tmp_path / "moved"
    assert trial in moved.ok("clean")
