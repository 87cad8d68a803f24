"""Kills at random moments: `python -m tests.faults 50` draws fifty, the suite runs the first five.

Each scenario starts a sweep, kills it (by the clock, at the n-th step of a file write, or `dvc repro` with all its
children), runs the same command again to its end, and compares with an unbroken run: the study, every trial and
snapshot, the criteria and the selection byte for byte, and MLflow for missing or doubled points.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.pipeline import DVC, environment, make_pipeline, repro
from tests.project import Project

KINDS = ("write", "clock", "write", "clock", "write", "repro")
IN_SUITE = 5  # a killed `dvc repro` takes a minute; tests/test_pipeline.py has one
FEWEST_WRITES, MOST_WRITES = 2, 60
EARLIEST, LATEST = 0.5, 4.0  # seconds: from composing the configuration to the last trial


def unbroken(folder: Path, database: Path) -> Project:
    """The run that every other is compared with."""
    project = Project(folder, database)
    project.prepare()
    project.ok("train", *_sweep(project))
    project.ok("selection", "study=tiny")
    return project


def _sweep(project: Project) -> list[str]:
    return project.sweep("checkpoint_seconds=0.0")


def survive(number: int, folder: Path, database: Path, reference: Project) -> str:
    """One scenario; raises AssertionError where the outcome differs, returns what was done."""
    draw = random.Random(number)
    kind = KINDS[number % len(KINDS)]
    if kind == "repro":
        return _kill_repro(draw, folder, database, reference)
    project = Project(folder, database)
    project.prepare()
    if kind == "write":
        moment = draw.randint(FEWEST_WRITES, MOST_WRITES)
        killed = project.run("train", *_sweep(project), KILL_AT_WRITE=str(moment)).returncode < 0
        done = f"write {moment}"
    else:
        seconds = draw.uniform(EARLIEST, LATEST)
        killed = project.kill_after(seconds, "train", *_sweep(project))
        done = f"after {seconds:.1f} s"
    project.ok("train", *_sweep(project))
    project.ok("selection", "study=tiny")
    ours, theirs = project.fingerprint(), reference.fingerprint()
    assert ours.keys() == theirs.keys(), sorted(ours.keys() ^ theirs.keys())
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert mirrored(project) == mirrored(reference)
    return f"{'killed' if killed else 'ended before the kill'}, {done}: identical"


def _kill_repro(draw: random.Random, folder: Path, database: Path, reference: Project) -> str:
    project = make_pipeline(folder, database)
    seconds = draw.uniform(3.0, 25.0)
    process = subprocess.Popen(
        [DVC, "repro"],
        cwd=project.folder,
        env=environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    result = repro(project)
    assert result.returncode == 0, result.stdout + result.stderr
    ours, theirs = project.fingerprint(), reference.fingerprint()
    trials = [name for name in theirs if name.startswith("runs/store")]  # ours has those that confirm added, too
    assert len(trials) > 3 * 4 and all(ours[name] == theirs[name] for name in trials)
    picks = [p.json("runs/tiny/selection.json")["winners"][0]["trial"] for p in (project, reference)]
    assert picks[0] == picks[1]
    return f"killed, dvc repro after {seconds:.1f} s: identical"


def mirrored(project: Project) -> dict[str, Any]:
    """What MLflow holds of each trial: every metric's points, sorted, and its status."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project.folder}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    found = {}
    for run in client.search_runs([experiment.experiment_id]):
        points = [
            (point.key, point.step, point.value)
            for metric in run.data.metrics
            for point in client.get_metric_history(run.info.run_id, metric)
        ]
        artifacts = [artifact.path for artifact in client.list_artifacts(run.info.run_id)]
        found[run.data.tags["stepwise.trial"]] = (run.info.status, sorted(points), sorted(artifacts))
    return found


def main(scenarios: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        database = base / "mlflow.db"
        make = f"from mlflow import MlflowClient; MlflowClient('sqlite:///{database}').search_experiments()"
        subprocess.run([sys.executable, "-c", make], check=True, stderr=subprocess.DEVNULL)
        reference = unbroken(base / "reference", database)
        for number in range(scenarios):
            print(
                f"{number + 1:>3} of {scenarios}: {survive(number, base / str(number), database, reference)}",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else IN_SUITE)
