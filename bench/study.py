"""What a sweep costs beyond training, as it grows: time and memory per trial, MLflow, log and store included.

    python -m bench.study [trials=1000] [any overrides of conf/train.yaml]

Runs the real sweep in a process of its own, in a temporary folder, with a training loop that computes nothing. All else
is real: proposing, naming, checkpoints, snapshots, criteria (on few images), the log, the record, MLflow.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["evaluation.images=64", "evaluation.views=2", "evaluation.halves=2", "schedule.evaluations=1", "model=cnn"]
SMALL += ["evaluation.collapse.spread=0.0", "evaluation.collapse.rank=1.0", "schedule.images=7680", "model.features=16"]
SWEPT = ["optimizer.learning_rate=tag(log,interval(0.0005,0.02))", "augmentation.strength=interval(0.25,1.5)"]
SWEPT += ["batch_size=128", "model.depth=4", "model.width=24", "method.projector.width=256", "method.temperature=0.2"]
SWEPT += ["optimizer.weight_decay=0.0001"]


def resident() -> float:
    """MB of this process."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def sweep(arguments: list[str]) -> None:
    """In the child: src.train without training, with a note of time and memory after every trial."""
    import torch

    import src.trial.run
    from src.train.runner import StudyRunner
    from src.trial.loop import Step

    def idle(trial: Any, *_: Any, first_step: int, **__: Any) -> Iterator[Step]:
        for number in range(first_step, trial.steps):
            yield Step(number + 1, torch.tensor(1 / (number + 1)), torch.tensor(1.0), 0.001, {})

    notes: list[tuple[float, float]] = []
    original = StudyRunner.run

    def noted(self: StudyRunner, *given: Any) -> float:
        value = original(self, *given)
        notes.append((time.monotonic(), resident()))
        return value

    src.trial.run.training_steps = idle
    StudyRunner.run = noted  # type: ignore[assignment, method-assign]
    sys.argv = ["train", *arguments]
    try:
        runpy.run_module("src.train", run_name="__main__", alter_sys=True)
    finally:
        Path("notes.json").write_text(json.dumps(notes))


def main(arguments: list[str]) -> None:
    wanted = [argument for argument in arguments if argument.startswith("trials=")]
    count = int(wanted[-1].partition("=")[2]) if wanted else 1000
    overrides = [argument for argument in arguments if argument not in wanted]
    sweep_overrides = [
        "-m",
        "sweep=random",
        "study=bench",
        f"hydra.sweeper.n_trials={count}",
        *SMALL,
        *SWEPT,
        *overrides,
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(
            [sys.executable, "-m", "src.prepare"], cwd=folder, env=environment, check=True, capture_output=True
        )
        command = [sys.executable, "-m", "bench.study", "child", *sweep_overrides]
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        notes = np.array(json.loads((folder / "notes.json").read_text()))
        sizes = {
            "MLflow database": folder / "mlruns" / "mlflow.db",
            "log": next((folder / "runs/bench").glob("log-*.jsonl")),
            "study.json": folder / "runs/bench/study.json",
        }
        kept = {what: path.stat().st_size / 1e6 for what, path in sizes.items()}
        store = sum(path.stat().st_size for path in (folder / "runs/store").rglob("*") if path.is_file()) / 1e6
    seconds = np.diff(notes[:, 0])
    print(f"{count} trials without training, {notes[-1, 0] - notes[0, 0]:.0f} s after the first")
    print(f"{'trials':>14} {'ms per trial':>14} {'slowest':>9} {'MB resident':>12}")
    for start, end in ((1, 10), (10, 100), (100, 200), (200, 400), (400, 600), (600, 800), (800, 1000)):
        part = seconds[start - 1 : min(end, count) - 1]
        if len(part):
            shown = f"{start + 1} to {start + len(part)}"
            row = f"{1000 * np.median(part):14.0f} {1000 * part.max():9.0f} {notes[start + len(part) - 1, 1]:12.0f}"
            print(f"{shown:>14} {row}")
    print(", ".join(f"{what} {size:.1f} MB" for what, size in kept.items()) + f", store {store:.0f} MB")


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        sweep(sys.argv[2:])
    else:
        main(sys.argv[1:])
