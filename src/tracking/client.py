"""MLflow as a mirror of the study and the store: idempotent, and never in training's way."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

# before the first import of mlflow; a server that is down may cost training seconds, not minutes
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")

if TYPE_CHECKING:  # it takes seconds to import: only once there is a store to write to
    from mlflow import MlflowClient

T = TypeVar("T")
TRAINING_VIEW = {"mlflow.experimentKind": "custom_model_development"}  # the UI otherwise opens on language models
PATIENCE = 10  # a store that is down is asked again after ten times as long as the failed attempt took
LOCKED_SECONDS = 5  # as long as MLflow waits for another process that writes
ATTEMPTS = 3  # of MLflow to open its database; its own ten take almost two minutes
BATCH = 1000  # MLflow's limit of metrics in one request
REWRITTEN = ("dvc.lock", "report")  # what `dvc repro` itself rewrites


class Point(NamedTuple):
    """One value of one metric."""

    name: str
    value: float
    step: int  # images seen


class Run(NamedTuple):
    """What a trial's run holds."""

    key: str  # the trial's hash
    name: str
    params: Mapping[str, object]
    tags: dict[str, str]
    points: list[Point]


class Tracking:
    """The MLflow runs of one study: a parent, and a child for each trial.

    Whatever is already in MLflow is read from MLflow and not sent again. A store that is down or locked is reported
    once and asked again at the next call.
    """

    def __init__(self, folder: Path, study: str, identity: str) -> None:
        self.folder, self.study, self.identity = folder, study, identity
        self._client: MlflowClient | None = None
        self._runs: dict[str, str] = {}  # trial, or "" for the parent -> run id
        self._sent: dict[str, set[tuple[str, int]]] = {}  # run id -> metrics already there
        self._writable = False  # whether it was checked, and nothing has failed since
        self._warned = False
        self._quiet_until = 0.0

    def trial(self, of: Run, *, status: str | None = None, artifacts: Callable[[Path], None] | None = None) -> bool:
        """Bring a trial's child run up to date; ``status`` and ``artifacts`` end it. False where MLflow fails."""

        def mirror() -> None:
            run = self._run(of.key, of.name, parent=self._run("", self.study))
            there = self._api().get_run(run)
            if status is not None and there.info.status in ("FINISHED", "FAILED"):
                late = [point for point in of.points if point.name not in there.data.metrics]  # a criterion added since
                self._send(run, {}, {}, late)
                return
            self._send(run, of.params, of.tags, of.points)
            if artifacts is not None:
                self._artifacts(run, artifacts)
            if status is not None:
                self._api().set_terminated(run, status)
                self._sent.pop(run, None)  # else memory grows with the study

        return self._try(mirror)

    def add(self, key: str, *, points: Iterable[Point] = (), tags: dict[str, str] | None = None) -> bool:
        """Add metrics or tags to a trial that was mirrored before, or to the parent (key "")."""
        return self._try(lambda: self._send(self._run(key, key or self.study), {}, tags or {}, points))

    def finish(self, *, params: Mapping[str, object], tags: dict[str, str]) -> bool:
        """Bring the parent run up to date and end it."""

        def mirror() -> None:
            run = self._run("", self.study)
            self._send(run, params, tags, [])
            self._api().set_terminated(run, "FINISHED")

        return self._try(mirror)

    def attach(self, artifacts: Callable[[Path], None]) -> bool:
        """Add files to the parent run."""
        return self._try(lambda: self._artifacts(self._run("", self.study), artifacts))

    def places(self) -> dict[str, str]:
        """trial -> <experiment>/runs/<run>; empty where MLflow fails."""
        places: dict[str, str] = {}

        def look_up() -> None:
            experiment = self._experiment()
            query = f"tags.`stepwise.study` = '{self.identity}'"
            token = None
            # MLflow answers in pages of at most BATCH runs
            while token != "":
                runs = self._api().search_runs([experiment], query, max_results=BATCH, page_token=token)
                places.update({r.data.tags["stepwise.trial"]: f"{experiment}/runs/{r.info.run_id}" for r in runs})
                token = runs.token or ""

        self._try(look_up, writes=False)
        return {key: places[key] for key in sorted(places) if key != "-"}  # "-" is the study's own run

    def retry_now(self) -> None:
        """Ask MLflow at the next call even where it has just failed."""
        self._quiet_until = 0.0

    def _try(self, mirror: Callable[[], None], writes: bool = True) -> bool:
        started = time.monotonic()
        if started < self._quiet_until:
            return False
        try:
            if writes and not self._writable:
                self._check_writable()
                self._writable = True
            mirror()
            return True
        except Exception as error:  # whatever MLflow does, the store holds the truth
            self._writable = False
            ended = time.monotonic()
            self._quiet_until = ended + PATIENCE * (ended - started)
            if not self._warned:
                reason = " ".join(str(error).split())[:160] or type(error).__name__
                print(
                    f"warning: MLflow can't be written ({reason}); training goes on and it is tried again",
                    file=sys.stderr,
                )
            self._warned = True
            return False

    def _address(self) -> str:
        return os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{self.folder / 'mlflow.db'}")

    def _check_writable(self) -> None:
        """Ask SQLite itself, which MLflow would do for minutes. Raises OSError where the database can't be written."""
        if not self._address().startswith("sqlite:///") or "?" in self._address():
            return
        path = Path(self._address().removeprefix("sqlite:///"))
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(sqlite3.connect(path, timeout=LOCKED_SECONDS, isolation_level=None)) as database:
                database.execute("BEGIN IMMEDIATE")
                # the lock alone doesn't show that a page can be written; the table is rolled back
                database.execute("CREATE TABLE whether_it_can_be_written (x)")
                database.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise OSError(f"{path}: {error}") from None

    def _api(self) -> MlflowClient:
        if self._client is None:
            from mlflow import MlflowClient

            logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # its failures are reported here, in one line
            logging.getLogger("alembic").setLevel(logging.WARNING)
            if self._address().startswith("sqlite:///"):
                from mlflow.store.db import utils

                utils.MAX_RETRY_COUNT = ATTEMPTS
            self._client = MlflowClient(self._address())
        return self._client

    def _experiment(self) -> str:
        experiment = self._api().get_experiment_by_name(self.study)
        if experiment is not None:
            return str(experiment.experiment_id)
        local = "MLFLOW_TRACKING_URI" not in os.environ
        artifacts = (self.folder / "artifacts" / self.study).resolve().as_uri() if local else None
        return str(self._api().create_experiment(self.study, artifact_location=artifacts, tags=TRAINING_VIEW))

    def _run(self, key: str, name: str, parent: str | None = None) -> str:
        """The run of a trial (or of the study, key ""), found by its tags or created."""
        if key not in self._runs:
            experiment = self._experiment()
            wanted = {"stepwise.study": self.identity, "stepwise.trial": key or "-"}
            query = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in wanted.items())
            runs = self._api().search_runs([experiment], query, max_results=1)
            if runs:
                self._runs[key] = runs[0].info.run_id
            else:
                tags = wanted | ({"mlflow.parentRunId": parent} if parent else {})
                self._runs[key] = self._api().create_run(experiment, tags=tags, run_name=name).info.run_id
                self._sent[self._runs[key]] = set()
        return self._runs[key]

    def _already_sent(self, run: str) -> set[tuple[str, int]]:
        if run not in self._sent:
            sent: set[tuple[str, int]] = set()
            for metric in self._api().get_run(run).data.metrics:
                sent |= {(metric, point.step) for point in self._api().get_metric_history(run, metric)}
            self._sent[run] = sent
        return self._sent[run]

    def _send(self, run: str, params: Mapping[str, object], tags: dict[str, str], points: Iterable[Point]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        points = list(points)
        sent = self._already_sent(run) if points else set()
        new = [point for point in points if (point.name, point.step) not in sent]
        entries = [Param(name, str(value)) for name, value in params.items()]
        labels = [RunTag(name, value) for name, value in tags.items()]
        if entries or labels:
            self._api().log_batch(run, params=entries, tags=labels)
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            metrics = [Metric(point.name, point.value, now, point.step) for point in batch]
            self._api().log_batch(run, metrics=metrics)
            # Noted batch by batch: after a failure only the others are sent again.
            sent |= {(point.name, point.step) for point in batch}

    def _artifacts(self, run: str, write: Callable[[Path], None]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder))
            self._api().log_artifacts(run, folder)


@cache
def git_tags() -> dict[str, str]:
    """The commit and whether the tree differs from it, apart from what `dvc repro` rewrites; empty without git."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", ".", *(f":!{name}" for name in REWRITTEN))
        return {"git.commit": git("rev-parse", "HEAD"), "git.dirty": str(bool(changed)).lower()}
    except (OSError, subprocess.CalledProcessError):
        return {}
