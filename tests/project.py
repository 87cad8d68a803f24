"""A working folder in which the real commands run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.forked import Forked

ROOT = Path(__file__).resolve().parent.parent
SIZES = {"pretrain": 160, "probe": 80, "val": 60, "test": 60}
TINY = [f"data.source.sources.{split}={size}" for split, size in SIZES.items()]
TINY += [f"data.source.copies.{split}=2" for split in SIZES]
TINY_TRIAL = [
    "schedule.images=1920",
    "schedule.evaluations=2",
    "schedule.rows=2",
    "model.width=8",
    "model.features=16",
    "method.projector.width=32",
    "method.projector.dimension=8",
    "evaluation.images=64",
    "evaluation.halves=2",
    "evaluation.views=3",
    "batch_size=32",
    "threads=1",
]
TINY_STUDY = [*TINY_TRIAL, "evaluation.collapse.spread=0.0", "evaluation.collapse.rank=1.0"]  # so short looks collapsed
IN_FIRST_TRIAL = 20  # steps of writing, of the some 40 until it is recorded
HELD, GO_ON = "held-at-a-step", "go-on"  # files by which a command says that it stands still, and is told to go on
REPORT = ["study=tiny", "resamples=100", "threads=1"]
TINY_SPACE = [
    "optimizer.learning_rate=tag(log,interval(0.0005,0.02))",
    "method.temperature=tag(log,interval(0.05,1.0))",
    "optimizer.weight_decay=0.0001",
    "augmentation.strength=1.0",
    "batch_size=choice(32,64,128)",
    "model.depth=choice(2,3,4)",
    "model.width=choice(8,16,24)",
    "method.projector.width=32",
]  # holds the default configuration, which is trial 0


def clean_environment() -> dict[str, str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_TRACKING")}
    return environment | {"PYTHONPATH": str(ROOT), "COLUMNS": "150"}


def held_at(step: int) -> dict[str, str]:
    """What tells a command to stand still at this step of writing, until ``go_on``."""
    return {"KILL_AT_WRITE": str(step), "FAULT": "hold", "HELD": HELD, "GO_ON": GO_ON}


class Project:
    packed: Path | None = None  # the tiny digits as prepare left them

    def __init__(self, folder: Path, database: Path | None) -> None:
        """With a copy of this MLflow store; without one, what the folder holds is left as it is."""
        self.folder = folder
        if database is not None:
            (folder / "mlruns").mkdir(parents=True, exist_ok=True)
            shutil.copy(database, folder / "mlruns" / "mlflow.db")

    def start(self, stage: str, *arguments: str, **environment: str) -> Forked:
        return Forked(f"src.{stage}", list(arguments), self.folder, clean_environment() | environment)

    def own_code(self) -> Project:
        """Copy src and conf into the folder, where commands find them before the repository's."""
        for name in ("src", "conf"):
            shutil.copytree(ROOT / name, self.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        return self

    def run_afresh(self, stage: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """In a process of its own, nothing preloaded."""
        command = [sys.executable, "-m", f"src.{stage}", *arguments]
        return subprocess.run(command, cwd=self.folder, env=clean_environment(), capture_output=True, text=True)

    def run(self, stage: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(stage, *arguments, **environment)
        out, err = process.communicate()
        assert process.returncode is not None
        return subprocess.CompletedProcess([stage, *arguments], process.returncode, out, err)

    def ok(self, stage: str, *arguments: str, **environment: str) -> str:
        result = self.run(stage, *arguments, **environment)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def refused(self, stage: str, *arguments: str, **environment: str) -> str:
        """The one line of a refusal."""
        result = self.run(stage, *arguments, **environment)
        assert result.returncode not in (0, -signal.SIGKILL), result.stdout + result.stderr
        lines = result.stderr.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: "), result.stdout + result.stderr
        return lines[0]

    def prepare(self) -> None:
        """What prepare makes of the tiny digits; it is run for the first project, and copied for the others."""
        if Project.packed is None:
            self.ok("prepare", *TINY)
            Project.packed = Path(tempfile.mkdtemp(prefix="stepwise-tests-")) / "data"
            shutil.copytree(self.folder / "data", Project.packed)
        else:
            shutil.copytree(Project.packed, self.folder / "data")

    def sweep(self, *arguments: str, trials: int = 3) -> list[str]:
        swept = {override.partition("=")[0] for override in TINY_SPACE}
        fixed = [override for override in TINY_STUDY if override.partition("=")[0] not in swept]
        size = f"hydra.sweeper.n_trials={trials}"
        return ["-m", "sweep=random", "study=tiny", *fixed, *TINY_SPACE, size, *arguments]

    def json(self, path: str) -> Any:
        return json.loads((self.folder / path).read_text())

    def fingerprint(self) -> dict[str, bytes]:
        """Everything that must come out identical: studies, trials and picks, without timings and databases."""
        decisions = ("study.json", "selection.json", "confirmation.json")
        patterns = (*decisions, "record.json", "history.json", "config.json", "*.safetensors")
        names = [path for pattern in patterns for path in (self.folder / "runs").rglob(pattern)]
        names += list((self.folder / "runs").glob("store/*/criteria/*.json"))
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(names)
            if "features" not in path.parts
        }

    def hold(self, step: int, stage: str, *arguments: str, **environment: str) -> Forked:
        """Start a stage that stands still once it gets to this step of writing, until ``go_on``."""
        return self.start(stage, *arguments, **held_at(step), **environment)

    def held(self, step: int, stage: str, *arguments: str, **environment: str) -> Forked:
        """Start a stage and wait until it stands still."""
        process = self.hold(step, stage, *arguments, **environment)
        self.wait_for(HELD, process)
        return process

    def go_on(self) -> None:
        (self.folder / GO_ON).touch()

    def wait_for(self, pattern: str, process: Forked | subprocess.Popen[str], seconds: float = 60) -> Path:
        """Wait until a file that matches appears."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and process.poll() is None:
            found = next(iter(self.folder.glob(pattern)), None)
            if found is not None:
                return found
            time.sleep(0.02)
        raise AssertionError(f"{pattern} never appeared: {process.communicate()}")

    def copy_of(self, other: Project) -> Project:
        """Fill this folder with another's content."""
        shutil.copytree(other.folder, self.folder, dirs_exist_ok=True)
        return self

    def unconfirmed(self, finished: Project) -> Project:
        """Fill this folder with the finished study as it was before confirm."""
        self.copy_of(finished)
        shutil.rmtree(self.folder / "runs/tiny-confirm")
        (self.folder / "runs/tiny/confirmation.json").unlink()
        listed = {trial["trial"] for trial in self.json("runs/tiny/study.json")["trials"]}
        for record in (self.folder / "runs/store").glob("*/record.json"):
            if record.parent.name not in listed:
                shutil.rmtree(record.parent)
        return self

    def files(self) -> list[Path]:
        """Everything below the folder but the MLflow store."""
        return sorted(path for path in self.folder.rglob("*") if "mlruns" not in path.parts)


def finished_study(project: Project) -> Project:
    project.prepare()
    project.ok("train", *project.sweep())
    project.ok("selection", "study=tiny", "draws=100")
    project.ok("confirm", "study=tiny", "top=2", "seeds=[1]")
    project.ok("probe", "study=tiny", "threads=1")
    project.ok("budget", "study=tiny", "threads=1")
    project.ok("report", *REPORT)
    return project
