from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.project import HELD, ROOT, Project, clean_environment, held_at
from tests.trial.test_sharing import HALFWAY, SHARED, finished_pair, launched

# as in a terminal, also where the suite itself runs under nohup
CTRL_C = "import os, signal\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
CTRL_C += "def ctrl_c(): os.kill(os.getpid(), signal.SIGINT)\n"


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CTRL_C + code],
        cwd=folder,
        env=clean_environment() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_patient_stage_is_interrupted_at_its_next_point_and_at_once_when_asked_twice(tmp_path: Path) -> None:
    code = """
from src.runtime import interrupts
interrupts.listen()
interrupts.wait_for_points(True)
interrupts.point()
print("nobody asked")
ctrl_c()
print("goes on")
try:
    interrupts.point()
except KeyboardInterrupt:
    print("ended at a point")
os.kill(os.getpid(), signal.SIGTERM)
print("so soon it is the same wish")
for again in (ctrl_c, lambda: os.kill(os.getpid(), signal.SIGTERM)):
    try:
        again()
        print("never")
    except KeyboardInterrupt:
        print("ended at once")
    interrupts.AGAIN_SECONDS = 0.0
"""
    result = python(code, tmp_path)
    said = ["nobody asked", "goes on", "ended at a point", "so soon it is the same wish"]
    said += ["ended at once", "ended at once"]
    assert result.stdout.splitlines() == said
    assert result.stderr == "\nends after this step; Ctrl-C again ends at once\n"


STAGE = """
import os, signal, sys, time
from src.clean import Settings
from src.runtime import app, interrupts
def stage(settings):
    interrupts.wait_for_points(True)
    print("begun", flush=True)
    while True:
        interrupts.point()
        time.sleep(0.01)
sys.argv = ["clean"]
app.run(stage, "clean", Settings)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_each_of_three_signals_ends_a_stage_with_its_own_exit_code(number: signal.Signals, tmp_path: Path) -> None:
    code = STAGE.replace('print("begun", flush=True)', f"os.kill(os.getpid(), {int(number)})")
    result = python(code, tmp_path)
    assert result.returncode == 128 + number
    assert "ends after this step" in result.stderr.splitlines()[1]
    assert result.stderr.splitlines()[2:] == [
        "interrupted; what was finished is kept, the same command goes on: python -m src.clean"
    ]


def test_under_nohup_a_hang_up_is_nothing(tmp_path: Path) -> None:
    code = """
import os, signal
from src.runtime import interrupts
signal.signal(signal.SIGHUP, signal.SIG_IGN)
interrupts.listen()
os.kill(os.getpid(), signal.SIGHUP)
print(interrupts.asked(), signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)
"""
    assert python(code, tmp_path).stdout == "False True\n"


def test_a_terminal_that_is_gone_keeps_nobody_from_ending_well(tmp_path: Path) -> None:
    """What is printed to it fails, and would keep study.json from being written."""
    ours, theirs = pty.openpty()
    code = STAGE.replace(
        'app.run(stage, "clean", Settings)',
        """
try:
    app.run(stage, "clean", Settings)
finally:
    print("a summary", flush=True)
    open("written", "w").close()
""",
    )
    process = subprocess.Popen(
        [sys.executable, "-c", CTRL_C + code],
        cwd=tmp_path,
        env=clean_environment() | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,  # the system may hang up on ours too: a second signal while Python ends kills it
    )
    os.close(theirs)
    assert os.read(ours, 5) == b"begun"
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 128 + signal.SIGHUP
    assert (tmp_path / "written").exists()


def test_a_sweep_that_is_asked_to_end_keeps_its_last_step_and_says_how_to_go_on(project: Project) -> None:
    """In the middle of a row, whose steps are not trained again: the checkpoint is the only one."""
    project.prepare()
    long = ["schedule.images=32000", "schedule.rows=1", "schedule.evaluations=1", "checkpoint_seconds=1e9"]
    process = project.start("train", *project.sweep(*long, trials=2))
    config = project.wait_for("runs/store/*/config.json", process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "Traceback" not in err and err.count("interrupted; ") == 1
    assert "the same command goes on: python -m src.train -m sweep=random" in err
    assert "written: runs/tiny/study.json" in out
    assert [trial["status"] for trial in project.json("runs/tiny/study.json")["trials"]] == ["stopped"]
    state = checkpoint(config.parent)
    assert state["step"] > 0 and state["rows"] == []


def checkpoint(folder: Path) -> Any:
    content = (folder / "checkpoint.pt").read_bytes().partition(b"\n")[2]
    return torch.load(io.BytesIO(content), weights_only=True)


def test_two_processes_that_are_stopped_go_on_to_the_identical_record(project: Project) -> None:
    """By the clock, at a row that is told again, and by SIGTERM to torchrun, which hands it to both."""
    project.prepare()
    finished_pair(project, *SHARED, "study=unbroken")
    folder = project.folder / "runs/store" / project.json("runs/unbroken/study.json")["trials"][0]["trial"]
    expected = (folder / "record.json").read_bytes()
    folder.rename(project.folder / "kept")
    finished_pair(project, *SHARED, "study=broken", "max_hours=0.0000001")
    first = checkpoint(folder)
    assert first["rows"] == [] and first["step"] == len(first["since_row"]["learning_rate"]) == 15
    process = launched(project, *SHARED, "study=broken", "checkpoint_seconds=0", **held_at(HALFWAY))
    project.wait_for(HELD, process)
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    while "ends after this step" not in process.stderr.readline():
        assert process.poll() is None
    project.go_on()
    _, err = process.communicate(timeout=60)
    assert err.count("interrupted; what was finished is kept") == 1, err
    assert 15 < checkpoint(folder)["step"] < 60 and not (folder / "record.json").exists()
    finished_pair(project, *SHARED, "study=broken")
    assert (folder / "record.json").read_bytes() == expected


def test_an_interrupt_that_a_library_made_an_error_of_is_still_an_interrupt(tmp_path: Path) -> None:
    code = """
import sys
from src.clean import Settings
from src.runtime import app
def stage(settings):
    try:
        ctrl_c()
    except KeyboardInterrupt:
        raise ValueError("couldn't read a file") from None
sys.argv = ["clean"]
app.run(stage, "clean", Settings)
"""
    result = python(code, tmp_path)
    assert result.returncode == 130 and "error: " not in result.stderr


def test_the_same_error_without_an_interrupt_is_the_users(tmp_path: Path) -> None:
    code = """
import sys
from src.clean import Settings
from src.runtime import app
def stage(settings):
    raise ValueError("couldn't read a file")
sys.argv = ["clean"]
app.run(stage, "clean", Settings)
"""
    result = python(code, tmp_path)
    assert result.returncode == 1 and result.stderr.strip() == "error: couldn't read a file"


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m src.sheet --help | head -n 1"
    environment = clean_environment() | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert result.stdout.startswith("What a recipe of views makes") and result.stderr == ""
