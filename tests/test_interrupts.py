from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.project import ROOT, clean_environment

CTRL_C = "import os, signal\ndef ctrl_c(): os.kill(os.getpid(), signal.SIGINT)\n"


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
from src import interrupts
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
try:
    ctrl_c()
    print("never")
except KeyboardInterrupt:
    print("ended at once")
"""
    result = python(code, tmp_path)
    assert result.stdout.splitlines() == ["nobody asked", "goes on", "ended at a point", "ended at once"]
    assert result.stderr == "\nends after this step; Ctrl-C again ends at once\n"


def test_an_interrupt_that_a_library_made_an_error_of_is_still_an_interrupt(tmp_path: Path) -> None:
    code = """
import sys
from src import app
def stage(config):
    try:
        ctrl_c()
    except KeyboardInterrupt:
        raise ValueError("couldn't read a file") from None
sys.argv = ["clean"]
app.run(stage, "clean")
"""
    result = python(code, tmp_path)
    assert result.returncode == 130 and "error: " not in result.stderr


def test_the_same_error_without_an_interrupt_is_the_users(tmp_path: Path) -> None:
    code = """
import sys
from src import app
def stage(config):
    raise ValueError("couldn't read a file")
sys.argv = ["clean"]
app.run(stage, "clean")
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
