"""train and selection see no label: without labels/ they give identical bytes."""

from __future__ import annotations

import shutil

from tests.project import Project


def test_train_and_selection_without_labels_give_identical_bytes(finished: Project, project: Project) -> None:
    project.prepare()
    shutil.rmtree(project.folder / "data/digits/labels")
    project.ok("train", *project.sweep())
    project.ok("selection", "study=tiny")
    assert project.fingerprint() == finished.fingerprint()
    assert "no labels in data/digits/labels" in project.refused("probe", "study=tiny")
