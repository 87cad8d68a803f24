"""torch.compile as an option: another trial, close to the eager one, and the same bits whenever it is run again."""

from __future__ import annotations

import shutil

import pytest

from tests.project import TINY_TRIAL, Project


def test_a_compiled_trial_repeats_itself_whatever_was_trained_before_and_stays_close_to_the_eager_one(
    project: Project,
) -> None:
    """Another batch size first, in one process, then the same trial alone and compiled anew: the same bits."""
    project.prepare()
    fixed = [*(value for value in TINY_TRIAL if not value.startswith("batch_size")), "model.depth=2"]
    alone = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}  # else it starts processes that import torch again
    first, second = (alone | {"TORCHINDUCTOR_CACHE_DIR": str(project.folder / f"cache{i}")} for i in range(2))
    swept = ["-m", "sweep=grid", "batch_size=choice(128,32)", "optimizer.learning_rate=0.005"]
    swept.append("augmentation.strength=1.0")
    project.ok("train", *swept, *fixed, "compile=true", "study=sweep", **first)
    last = next(t for t in project.json("runs/sweep/study.json")["trials"] if t["overrides"] == ["batch_size=32"])
    folder = project.folder / "runs/store" / last["trial"]
    expected = (folder / "record.json").read_bytes()
    shutil.rmtree(folder)
    project.ok("train", *fixed, "batch_size=32", "compile=true", "study=alone", **second)
    assert (folder / "record.json").read_bytes() == expected
    project.ok("train", *fixed, "batch_size=32", "study=eager")
    eager = project.json("runs/eager/study.json")["trials"][0]["trial"]
    assert eager != last["trial"]
    compiled, plain = (project.json(f"runs/store/{trial}/history.json") for trial in (last["trial"], eager))
    assert [row["step"] for row in compiled] == [row["step"] for row in plain]
    assert compiled[0]["loss"] == pytest.approx(plain[0]["loss"], rel=1e-3)


def test_without_a_compiler_it_is_refused(project: Project) -> None:
    project.prepare()
    message = "compile must be false where g++ isn't installed, got true"
    assert message in project.refused("train", *TINY_TRIAL, "compile=true", PATH="/nowhere")
    assert "compile must be true or false, got 'maybe'" in project.refused("train", *TINY_TRIAL, "compile=maybe")
