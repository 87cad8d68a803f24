"""train, selection and confirm see no label: without labels/ and budgets/ they give identical bytes."""

from __future__ import annotations

import shutil

from tests.project import Project


def test_train_selection_and_confirm_without_labels_give_identical_bytes(finished: Project, project: Project) -> None:
    project.prepare()
    for name in ("labels", "budgets"):
        shutil.rmtree(project.folder / "data/digits" / name)
    project.ok("train", *project.sweep())
    project.ok("selection", "study=tiny", "draws=100")
    project.ok("confirm", "study=tiny", "top=2", "seeds=[1]")
    ours, theirs = project.fingerprint(), finished.fingerprint()
    assert "runs/tiny/confirmation.json" in ours and "runs/tiny-confirm/study.json" in ours
    assert ours.keys() == theirs.keys() and [name for name in ours if ours[name] != theirs[name]] == []
    assert "no labels in data/digits/labels" in project.refused("probe", "study=tiny")
    assert "no label file in data/digits/budgets" in project.refused("budget", "study=tiny")
