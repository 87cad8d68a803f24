"""A store that can't be written is found out before MLflow is asked, which would try for minutes."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from src.tracking import client
from src.tracking.client import Point, Tracking
from tests.project import ROOT, clean_environment

ASK = """
import os, runpy, sys
from pathlib import Path
from src.tracking.client import Tracking
if "FAULT" in os.environ:
    runpy.run_path(sys.argv[1])
print(Tracking(Path("mlruns"), "study", "0123456789abcdef").add("", tags={"a": "b"}), "mlflow" in sys.modules)
"""


def ask(folder: Path, **environment: str) -> tuple[str, str]:
    """Whether something was written, and MLflow asked; what was said."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(ROOT / "tests/killer.py")],
        cwd=folder,
        env=clean_environment() | {"MLFLOW_DISABLE_TELEMETRY": "true"} | environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done.stdout.strip(), done.stderr


def a_file_for_the_folder(folder: Path, database: Path) -> str:
    folder.write_text("")
    return "[Errno 17] File exists: 'mlruns'"


def a_folder_for_the_database(folder: Path, database: Path) -> str:
    (folder / "mlflow.db").mkdir(parents=True)
    return "mlruns/mlflow.db: unable to open database file"


def no_database(folder: Path, database: Path) -> str:
    folder.mkdir()
    (folder / "mlflow.db").write_text("something else, which is long enough to be looked at" * 20)
    return "mlruns/mlflow.db: file is not a database"


def an_empty_read_only_folder(folder: Path, database: Path) -> str:
    folder.mkdir(mode=0o555)
    return "mlruns/mlflow.db: unable to open database file"


def a_read_only_database(folder: Path, database: Path) -> str:
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(database.read_bytes())
    (folder / "mlflow.db").chmod(0o444)
    return "mlruns/mlflow.db: attempt to write a readonly database"


def a_database_in_a_read_only_folder(folder: Path, database: Path) -> str:
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(database.read_bytes())
    folder.chmod(0o555)
    return "mlruns/mlflow.db: attempt to write a readonly database"


@pytest.mark.parametrize(
    "make",
    [
        a_file_for_the_folder,
        a_folder_for_the_database,
        no_database,
        an_empty_read_only_folder,
        a_read_only_database,
        a_database_in_a_read_only_folder,
    ],
    ids=lambda make: make.__name__,
)
def test_a_store_that_cannot_be_written_is_one_line_before_mlflow_is_asked(
    make: Callable[[Path, Path], str], tmp_path: Path, database: Path
) -> None:
    reason = make(tmp_path / "mlruns", database)
    out, err = ask(tmp_path, FAULT="unprivileged", KILL_AT_WRITE="1")
    assert out == "False False"
    assert err == f"warning: MLflow can't be written ({reason}); training goes on and it is tried again\n"


def test_a_store_that_is_not_there_is_made_in_silence(tmp_path: Path) -> None:
    out, err = ask(tmp_path)
    assert out == "True True" and err == ""
    assert (tmp_path / "mlruns/mlflow.db").stat().st_size > 0


def test_looking_whether_it_can_be_written_leaves_nothing(tmp_path: Path, database: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(database.read_bytes())
    Tracking(tmp_path, "study", "0123456789abcdef")._check_writable()
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]
    assert (tmp_path / "mlflow.db").read_bytes() == database.read_bytes()


def test_a_store_that_is_written_by_another_for_a_moment_is_waited_for(
    tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LOCKED_SECONDS", 60)  # so that a slow machine's moment isn't too long
    (tmp_path / "mlflow.db").write_bytes(database.read_bytes())
    other = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    threading.Timer(0.5, other.rollback).start()
    assert Tracking(tmp_path, "study", "0123456789abcdef").add("", points=[Point("a", 1.0, 1)])
    other.close()


def test_a_store_that_fails_is_looked_at_again(
    tmp_path: Path, database: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    (tmp_path / "mlflow.db").write_bytes(database.read_bytes())
    store = Tracking(tmp_path, "study", "0123456789abcdef")
    assert store.add("", tags={"a": "b"})
    (tmp_path / "mlflow.db").rename(tmp_path / "away")
    (tmp_path / "mlflow.db").mkdir()
    assert not store.add("", tags={"a": "c"})  # MLflow has opened it before
    store.retry_now()
    assert not store.add("", tags={"a": "c"})
    assert sum(pauses) < 5 and capsys.readouterr().err.count("warning: ") == 1
    (tmp_path / "mlflow.db").rmdir()
    (tmp_path / "away").rename(tmp_path / "mlflow.db")
    store.retry_now()
    assert store.add("", tags={"a": "c"})


def test_mlflow_itself_does_not_try_for_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the database breaks between the look at it and MLflow's own."""
    pauses: list[float] = []
    monkeypatch.setattr(Tracking, "_check_writable", lambda self: None)
    monkeypatch.setattr(time, "sleep", pauses.append)
    (tmp_path / "mlflow.db").mkdir()
    assert not Tracking(tmp_path, "study", "0123456789abcdef").add("", tags={"a": "b"})
    assert len(pauses) == client.ATTEMPTS - 1 and sum(pauses) < 5


def test_points_that_went_through_before_a_failure_are_not_sent_again(
    tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlflow.db").write_bytes(database.read_bytes())
    store = Tracking(tmp_path, "study", "0123456789abcdef")
    points = [Point("a", float(step), step) for step in range(client.BATCH + 5)]
    really = MlflowClient.log_batch

    def fails_on_the_rest(self: MlflowClient, run: str, metrics: Sequence[Metric] = (), **others: Any) -> Any:
        if 0 < len(metrics) < client.BATCH:
            raise OSError("gone")
        return really(self, run, metrics=metrics, **others)

    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "log_batch", fails_on_the_rest)
        assert not store.add("", points=points)
    store.retry_now()
    assert store.add("", points=points)
    api = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = api.search_runs(["1"])
    history = api.get_metric_history(run.info.run_id, "a")
    assert sorted(point.step for point in history) == list(range(client.BATCH + 5))
