"""Skill by a few labels: from label files alone, and not from labels/."""

from __future__ import annotations

import shutil

import pytest

from src.runtime import files
from tests.project import Project


def test_every_label_file_scores_every_trial_of_the_study_and_of_what_confirmed_it(finished: Project) -> None:
    paths = sorted((finished.folder / "data/digits/budgets").glob("*.csv"))
    assert {path.stem for path in paths} >= {"1-0", "1-4", "5-0", "all"} and "10-0" not in {p.stem for p in paths}
    for study in ("tiny", "tiny-confirm"):
        found = finished.json(f"runs/{study}/budget.json")["files"]
        trials = {trial["trial"] for trial in finished.json(f"runs/{study}/study.json")["trials"]}
        assert set(found) == {path.stem for path in paths}
        for path in paths:
            budget = found[path.stem]
            assert set(budget["trials"]) == trials
            assert all(scored["skill"] <= 1 and len(scored["halves"]) == 10 for scored in budget["trials"].values())
            assert budget["checksum"] == files.checksum(path)
            assert budget["labels"] == path.read_text().count("\n") - 1


def test_without_labels_the_label_files_give_identical_bytes(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    shutil.rmtree(project.folder / "data/digits/labels")
    for study in ("tiny", "tiny-confirm"):
        (project.folder / f"runs/{study}/budget.json").unlink()
    project.ok("budget", "study=tiny", "threads=1")
    for study in ("tiny", "tiny-confirm"):
        path = f"runs/{study}/budget.json"
        assert (project.folder / path).read_bytes() == (finished.folder / path).read_bytes()


def test_a_file_of_ones_own_is_added_and_can_be_selected_by(finished: Project, project: Project) -> None:
    """Two classes of two images each: as few as can be held out."""
    project.copy_of(finished)
    (project.folder / "mine.csv").write_text("index,class,group\n0,0,0\n9,1,9\n20,0,20\n31,1,31\n")
    out = project.ok("budget", "study=tiny", "threads=1", "file=mine.csv")
    assert "next: python -m src.selection study=tiny rule=labels_mine" in out
    found, before = (one.json("runs/tiny/budget.json")["files"] for one in (project, finished))
    assert {name: found[name] for name in before} == before and set(found) - set(before) == {"mine"}
    assert found["mine"]["labels"] == 4 and len(found["mine"]["trials"]) == 3
    project.ok("selection", "study=tiny", "rule=labels_mine", "draws=100")
    scores = {line["trial"]: line["score"] for line in project.json("runs/tiny/selection.json")["ranking"]}
    assert scores == {trial: scored["skill"] for trial, scored in found["mine"]["trials"].items()}


def test_a_class_with_a_single_image_is_held_out_view_by_view(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    (project.folder / "few.csv").write_text("index,class,group\n0,0,0\n9,1,9\n20,0,20\n")
    skills = []
    for views in (4, 6):
        project.ok("budget", "study=tiny", "threads=1", "file=few.csv", f"views={views}")
        skills.append(project.json("runs/tiny/budget.json")["files"]["few"]["trials"])
    assert len(skills[0]) == 3 and all(skills[0][trial] != skills[1][trial] for trial in skills[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "mine.csv doesn't exist: it holds columns class, index"),
        ("", "must have the columns class, index (in the probe split) or file, and group"),
        ("index,class,group\n", "must label images of at least 2 classes, got 0 images"),
        ("index,class,group\n0,1\n1,2,1\n", "line 2: group is empty"),
        ("file,class\na.png,1\nb.png,2\n", "'a.png' is no file of the probe split: give column index instead"),
        ("index,class,group\n0,1,0\n1,1,1\n", "must label images of at least 2 classes, got 2 images"),
        ("index,class,group\n0,1,0\n160,2,1\n", "mine.csv names image 160; the probe split has 160"),
        ("index,class,group\n0,1,0\n-1,2,1\n", "line 3: index must be a whole number >= 0, got '-1'"),
        ("index,class,group\n3,1,0\n4,2,1\n3,1,0\n", "mine.csv names image 3 2 times: give each image one line"),
        (b"PK\x03\x04\xff\xfe", "isn't a table of comma-separated values"),
    ],
)
def test_bad_label_files_are_one_line(
    finished: Project, project: Project, content: str | bytes | None, message: str
) -> None:
    path = project.folder / "mine.csv"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    kept = (finished.folder / "runs/tiny/budget.json").read_bytes()
    folders = [f"file={path}", "study=tiny"]
    assert message in finished.refused("budget", *folders)
    assert (finished.folder / "runs/tiny/budget.json").read_bytes() == kept


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("views=1", "views must be >= 2, got 1"),
        ("folds=1", "folds must be >= 2, got 1"),
        ("strengths=[0]", "strengths.0 must be > 0, got 0"),
        ("strengths=[]", "strengths must be a list like [1,2] with at least one entry, got []"),
        ("study=nothing", "run python -m src.train -m study=nothing first"),
    ],
)
def test_refusals(finished: Project, argument: str, message: str) -> None:
    before = finished.files()
    assert message in finished.refused("budget", "study=tiny", argument)
    assert finished.files() == before


def test_without_a_label_file_it_says_where_they_come_from(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    shutil.rmtree(project.folder / "data/digits/budgets")
    line = project.refused("budget", "study=tiny")
    assert "no label file in data/digits/budgets: python -m src.prepare draws some where images have classes" in line
