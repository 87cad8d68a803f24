"""What a machine may do: `python -m tests.faults 50` draws fifty scenarios, the suite runs the first seven.

Each scenario lets something happen to a command: it is killed (from outside, by itself at the n-th step of writing a
file, or as `dvc repro` with all its children), asked to end, finds the disk full at the n-th step, or MLflow's store
unwritable or gone. Then the same command runs to its end, and is compared with an unbroken run: the study, every trial
and snapshot, the criteria and the selection byte for byte, and MLflow for missing or doubled points.

No outcome depends on how fast the machine is: what comes from outside comes while the command holds still at a step
of writing, or before it gets there, so that it can't have ended. The suite waits for that step, the fifty come by the
clock.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from src.prepare.staging import CHUNK
from tests.forked import Forked
from tests.pipeline import DVC, environment, make_pipeline, repro
from tests.project import Project

KINDS = (
    *("write", "full", "terminated", "unwritable", "outside", "workers", "missing"),
    *("filling", "write", "full", "terminated", "repro"),
)
IN_SUITE = 7  # each of the others takes minutes, or is one of these at another moment
TRIALS = 2
MOST_STEPS = 300  # of writing, of the some 400 in a sweep
EARLIEST, LATEST = 0.2, 4.0  # seconds: from composing the configuration to the step that it holds still at
ENDED = "ended before"
ASIDE = ("warning: MLflow can't be written", "ends after this step")  # what else may be said on stderr
WORKERS = 2
GIVEN_AT_FIRST = 4 * WORKERS  # pieces of work; each more once one came back
PIECES = GIVEN_AT_FIRST + 3
PHOTOS = ["data=folder", "data.name=photos", "data.source.root=photos", f"data.source.workers={WORKERS}"]
PHOTOS += ["data.source.size=9"]


def unbroken(folder: Path, database: Path) -> Project:
    """The run that every other is compared with."""
    project = Project(folder, database)
    project.prepare()
    project.ok("train", *sweep_of(project))
    project.ok("selection", "study=tiny")
    return project


def sweep_of(project: Project) -> list[str]:
    return project.sweep("checkpoint_seconds=0.0", trials=TRIALS)


def survive(number: int, folder: Path, database: Path, reference: Project) -> str:
    """One scenario; raises AssertionError where the outcome differs, returns what was done."""
    draw = random.Random(number)
    kind = KINDS[number % len(KINDS)]
    if kind == "filling" and number > len(KINDS):
        kind = "full"  # that one takes minutes and has nothing to draw
    if kind == "repro":
        return _kill_repro(draw, folder, database, reference)
    project = Project(folder, database)
    if kind == "workers":
        return _kill_the_parent_of_workers(draw, project)
    shutil.copytree(reference.folder / "data", project.folder / "data")
    done = SWEEPS[kind](draw, project, number >= IN_SUITE)
    project.ok("train", *sweep_of(project))
    project.ok("selection", "study=tiny")
    ours, theirs = project.fingerprint(), reference.fingerprint()
    assert ours.keys() == theirs.keys(), sorted(ours.keys() ^ theirs.keys())
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert mirrored(project) == mirrored(reference)
    return f"{done}: identical"


def _ended(reached: bool, what: str) -> str:
    return what if reached else f"{ENDED} it was {what}"


def _in_one_line(err: str, beginning: str, content: str) -> None:
    lines = [line for line in err.splitlines() if line and not line.startswith(ASIDE)]
    assert len(lines) == 1 and lines[0].startswith(beginning) and content in lines[0], err


def _held(draw: random.Random, project: Project, clock: bool) -> tuple[Forked, str]:
    """A sweep at a moment of its life, and which: it stands still at a step of writing until told to go on.

    It is at that step or, where ``clock`` decides, at most there: it can't have ended, however fast the machine is.
    """
    if clock:
        process = project.hold(MOST_STEPS, "train", *sweep_of(project))
        time.sleep(seconds := draw.uniform(EARLIEST, LATEST))
        return process, f"after {seconds:.1f} s, no later than at step {MOST_STEPS} of writing"
    step = draw.randint(2, MOST_STEPS)
    return project.held(step, "train", *sweep_of(project)), f"at step {step} of writing"


def _kill_at_write(draw: random.Random, project: Project, clock: bool) -> str:
    moment = draw.randint(2, MOST_STEPS)
    killed = project.run("train", *sweep_of(project), KILL_AT_WRITE=str(moment)).returncode < 0
    return _ended(killed, f"killed at step {moment} of writing")


def _kill_from_outside(draw: random.Random, project: Project, clock: bool) -> str:
    process, moment = _held(draw, project, clock)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    return f"killed with all its children {moment}"


def _fill_the_disk(draw: random.Random, project: Project, clock: bool) -> str:
    moment = draw.randint(2, MOST_STEPS)
    found = project.run("train", *sweep_of(project), KILL_AT_WRITE=str(moment), FAULT="full")
    if found.returncode:
        _in_one_line(found.stderr, "error: ", "No space left on device")
    return _ended(found.returncode != 0, f"without space from step {moment} of writing")


def _fill_the_disk_again_and_again(draw: random.Random, project: Project, clock: bool) -> str:
    """At the first step of writing, then at the second of what was left to do, and so on to the end."""
    for moment in itertools.count(1):
        found = project.run("train", *project.sweep(trials=TRIALS), KILL_AT_WRITE=str(moment), FAULT="full")
        if found.returncode:
            _in_one_line(found.stderr, "error: ", "No space left on device")
        elif not found.stderr:
            break
    return f"without space {moment - 1} times, each a step of writing later"


def _terminate(draw: random.Random, project: Project, clock: bool) -> str:
    number = draw.choice((signal.SIGTERM, signal.SIGHUP))
    process, moment = _held(draw, project, clock)
    process.send_signal(number)
    project.go_on()
    _, err = process.communicate()
    deaf = clock and process.returncode == -number  # it hadn't begun to listen
    if not deaf:
        assert process.returncode == 128 + number, err
        _in_one_line(err, "interrupted; what was finished is kept", "goes on: python -m src.train -m sweep=random")
    return f"asked to end by {number.name} {moment}"


def _forbid_the_store(draw: random.Random, project: Project, clock: bool) -> str:
    """SQLite says so at once, in the warning; MLflow itself would try for minutes."""
    mlruns, database = project.folder / "mlruns", project.folder / "mlruns" / "mlflow.db"
    empty = draw.random() < 0.5
    if empty:
        database.rename(project.folder / "elsewhere")
    else:
        database.chmod(0o444)
    mlruns.chmod(0o555)
    found = project.run("train", *sweep_of(project), KILL_AT_WRITE="1", FAULT="unprivileged")
    assert found.returncode == 0 and found.stderr.count("\n") == 1, found.stderr
    assert found.stderr.startswith("warning: MLflow can't be written (mlruns/mlflow.db: "), found.stderr
    mlruns.chmod(0o755)
    if empty:
        (project.folder / "elsewhere").rename(database)
    database.chmod(0o644)
    return f"with {'an empty' if empty else 'a'} read-only mlruns"


def _lose_the_store(draw: random.Random, project: Project, clock: bool) -> str:
    """While the command runs; by the clock, half of the times before it."""
    before = clock and draw.random() < 0.5
    if before:
        shutil.rmtree(project.folder / "mlruns")
    process, moment = _held(draw, project, clock)
    shutil.rmtree(project.folder / "mlruns", ignore_errors=True)  # which may be written to just then
    project.go_on()
    _, err = process.communicate()
    assert process.returncode == 0 and all(line.startswith(ASIDE) for line in err.splitlines()), err
    return f"without mlruns {'from the start and again ' if before else ''}{moment}"


SWEEPS: dict[str, Callable[[random.Random, Project, bool], str]] = {
    "write": _kill_at_write,
    "outside": _kill_from_outside,
    "full": _fill_the_disk,
    "filling": _fill_the_disk_again_and_again,
    "terminated": _terminate,
    "unwritable": _forbid_the_store,
    "missing": _lose_the_store,
}


def _kill_the_parent_of_workers(draw: random.Random, project: Project) -> str:
    """Those that decode images end with whoever started them, and the same command packs what an unbroken one does.

    It is killed as it gives out a piece of work beyond the first, so after some came back and while others are done.
    """
    for number, image in enumerate(np.random.default_rng(0).integers(0, 256, (PIECES * CHUNK, 9, 9), dtype=np.uint8)):
        path = project.folder / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    moment = draw.randint(GIVEN_AT_FIRST + 1, PIECES)
    process = project.start("prepare", *PHOTOS, KILL_AT_WRITE=str(moment), STEPS="work")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    end = time.monotonic() + 30
    while left := _session(process.pid):
        assert time.monotonic() < end, f"processes {left} of a killed prepare go on"
        time.sleep(0.05)
    packed = []
    for _ in range(2):
        project.ok("prepare", *PHOTOS)
        packed.append({path.name: path.read_bytes() for path in (project.folder / "data/photos/images").iterdir()})
    assert packed[0] == packed[1]
    return f"killed at piece {moment} of {PIECES} of decoding: identical"


def _session(leader: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
            if state != "Z" and int(session) == leader:
                found.append(int(path.parent.name))
    return found


def _kill_repro(draw: random.Random, folder: Path, database: Path, reference: Project) -> str:
    project = make_pipeline(folder, database, TRIALS)
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
    if reached := process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    result = repro(project)
    assert result.returncode == 0, result.stdout + result.stderr
    ours, theirs = project.fingerprint(), reference.fingerprint()
    trials = [name for name in theirs if name.startswith("runs/store")]  # ours has those that confirm added, too
    assert len(trials) > TRIALS * 4 and all(ours[name] == theirs[name] for name in trials)
    picks = [p.json("runs/tiny/selection.json")["winners"][0]["trial"] for p in (project, reference)]
    assert picks[0] == picks[1]
    return _ended(reached, f"killed, dvc repro after {seconds:.1f} s") + ": identical"


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
        reached = 0
        for number in range(scenarios):
            done = survive(number, base / str(number), database, reference)
            reached += not done.startswith(ENDED)
            print(f"{number + 1:>3} of {scenarios}: {done}", flush=True)
        print(f"{reached} of {scenarios} happened before the command had ended, all came out identical")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else IN_SUITE)
