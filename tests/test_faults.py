"""What may go wrong outside: kills, signals, a full disk, no memory, an MLflow store that can't be written."""

from __future__ import annotations

import errno
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from src.runtime.memory import out_of_memory
from tests.faults import ASIDE, ENDED, IN_SUITE, KINDS, mirrored, survive, sweep_of, unbroken
from tests.project import TINY_TRIAL, Project, clean_environment


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    return unbroken(tmp_path_factory.mktemp("unbroken"), database)


@pytest.mark.parametrize("number", range(IN_SUITE), ids=KINDS[:IN_SUITE])
def test_the_same_command_goes_on_to_the_identical_study(
    number: int, tmp_path: Path, database: Path, reference: Project
) -> None:
    done = survive(number, tmp_path / "project", database, reference)
    assert not done.startswith(ENDED) and done.endswith("identical")


def test_a_locked_mlflow_store_does_not_stop_training_and_is_caught_up(project: Project, reference: Project) -> None:
    project.prepare()
    lock = sqlite3.connect(project.folder / "mlruns/mlflow.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    result = project.run("train", *sweep_of(project), FAULT="impatient", KILL_AT_WRITE="1")
    lock.rollback()
    lock.close()
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("warning: MLflow can't be written") == 1
    assert "training goes on" in result.stderr and "Traceback" not in result.stderr
    project.ok("train", *sweep_of(project))
    assert mirrored(project) == mirrored(reference)


def test_an_unreachable_tracking_server_does_not_stop_training(project: Project) -> None:
    project.prepare()
    result = project.run("train", *project.sweep(trials=1), MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert result.returncode == 0 and result.stderr.count("warning: MLflow can't be written") == 1


def test_a_full_disk_is_one_line_and_nothing_is_half_written(project: Project, reference: Project) -> None:
    """A limit on the size of files stands in for a full disk: the same call fails, with the system's own error."""
    project.prepare()
    limit = {"FAULT": "small", "LARGEST": "20000", "KILL_AT_WRITE": "1", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    result = project.run("train", *sweep_of(project), **limit)
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode != 0 and len(lines) == 1 and "File too large" in lines[0], result.stderr
    assert "Traceback" not in result.stderr
    assert not list(project.folder.glob("runs/store/*/record.json"))
    assert not list(project.folder.glob("runs/store/*/snapshots/.*"))
    project.ok("train", *sweep_of(project))
    project.ok("selection", "study=tiny")
    assert project.fingerprint() == reference.fingerprint()


def test_a_summary_that_cannot_be_written_is_one_line_too(project: Project, reference: Project) -> None:
    """The last thing that train writes, after whatever else ended it."""
    project.prepare()
    process = project.start("train", *sweep_of(project))
    project.wait_for("runs/store/*/record.json", process)
    (project.folder / "runs/tiny/study.json").mkdir()
    _, err = process.communicate()
    assert process.returncode == 1
    assert re.fullmatch(r"error: \S*study.json\S*: Is a directory; what was finished is kept, run this again\n", err)
    (project.folder / "runs/tiny/study.json").rmdir()
    project.ok("train", *sweep_of(project))
    project.ok("selection", "study=tiny")
    assert project.fingerprint() == reference.fingerprint()


FULL_OUTPUT = "error: No space left on device; what was finished is kept, run this again\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
def test_an_output_on_a_full_disk_is_one_line(project: Project) -> None:
    project.prepare()
    sweep = [*project.sweep(), "dry_run=true"]
    result = project.run("train", *sweep, FAULT="output", KILL_AT_WRITE="1")
    assert result.returncode == 1 and result.stderr == FULL_OUTPUT
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "src.sheet", "--help"]
        done = subprocess.run(
            command, cwd=project.folder, env=clean_environment(), stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1 and done.stderr == FULL_OUTPUT


def test_no_memory_left_says_what_to_lower_and_keeps_what_is_finished(project: Project) -> None:
    """The system refuses the process more than it has, once it has written its first checkpoints."""
    project.prepare()
    large = [*TINY_TRIAL, "model.width=64", "batch_size=320", "schedule.images=3200", "checkpoint_seconds=0.0"]
    result = project.run("train", *large, KILL_AT_WRITE="52", FAULT="memory", MORE_MEMORY="0")
    assert result.returncode == 1, result.stdout + result.stderr
    lower = "batch_size, model.width, evaluation.images or data.source.size"
    line = f"error: out of memory: lower {lower} and run this again; what was finished is kept"
    assert [found for found in result.stderr.splitlines() if not found.startswith(ASIDE)] == [line]
    assert list(project.folder.glob("runs/store/*/checkpoint.pt"))
    assert "written: runs/hand/study.json" in result.stdout
    project.ok("train", *large)


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
            True,
        ),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("can't start new thread"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
    ids=repr,
)
def test_what_is_a_want_of_memory(error: BaseException, memory: bool) -> None:
    assert out_of_memory(error) == memory
