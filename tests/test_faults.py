"""What may go wrong outside: kills, a full disk, a locked or unreachable MLflow store."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import IN_SUITE, KINDS, mirrored, survive, unbroken
from tests.project import ROOT, Project


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    return unbroken(tmp_path_factory.mktemp("unbroken"), database)


@pytest.mark.parametrize("number", range(IN_SUITE), ids=KINDS[:IN_SUITE])
def test_a_kill_and_a_rerun_give_the_identical_study(
    number: int, tmp_path: Path, database: Path, reference: Project
) -> None:
    done = survive(number, tmp_path / "killed", database, reference)
    assert done.startswith("killed") and done.endswith("identical")


def test_a_locked_mlflow_store_does_not_stop_training_and_is_caught_up(project: Project, reference: Project) -> None:
    project.prepare()
    lock = sqlite3.connect(project.folder / "mlruns/mlflow.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    result = project.run("train", *project.sweep("checkpoint_seconds=0.0"))
    lock.rollback()
    lock.close()
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("warning: MLflow can't be written") == 1
    assert "training goes on" in result.stderr and "Traceback" not in result.stderr
    project.ok("train", *project.sweep("checkpoint_seconds=0.0"))
    assert mirrored(project) == mirrored(reference)


def test_an_unreachable_tracking_server_does_not_stop_training(project: Project) -> None:
    project.prepare()
    result = project.run("train", *project.sweep(trials=1), MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert result.returncode == 0 and result.stderr.count("warning: MLflow can't be written") == 1


def test_a_full_disk_is_one_line_and_nothing_is_half_written(project: Project, reference: Project) -> None:
    """A limit on the size of files stands in for a full disk: the same call fails, with the system's own error."""
    project.prepare()
    limit = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, -1)); "
    code = limit + "sys.argv[0] = 'src.train'; runpy.run_module('src.train', run_name='__main__')"
    result = subprocess.run(
        [sys.executable, "-c", code, *project.sweep("checkpoint_seconds=0.0")],
        cwd=project.folder,
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
    )
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode != 0 and len(lines) == 1 and "File too large" in lines[0], result.stderr
    assert "Traceback" not in result.stderr
    assert not list(project.folder.glob("runs/store/*/record.json"))
    assert not list(project.folder.glob("runs/store/*/snapshots/.*"))
    project.ok("train", *project.sweep("checkpoint_seconds=0.0"))
    project.ok("selection", "study=tiny")
    assert project.fingerprint() == reference.fingerprint()
