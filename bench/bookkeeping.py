"""What a trial costs beyond training: bookkeeping, evaluation, reading back.

    python -m bench.bookkeeping

Bookkeeping is the difference in wall time between a sweep of 12 and one of 2 tiny trials, per trial, less what they
spent in training and evaluation: composing the config, naming the trial, checkpoints, the record, the log, MLflow with
its metrics, weights and figure. Runs in a temporary folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from src.data.pack import read_manifest
from src.definitions import load_criteria
from src.device import set_up
from src.evaluation import Evaluation
from src.pretraining import run_trial
from src.trial import Trial, identify, read_trial, trial_flops

ROOT = Path(__file__).resolve().parent.parent
FEW, MANY = 2, 12
TINY = ["schedule.images=15360", "study=bench", "sweep=random"]


def stage(folder: Path, name: str, *arguments: str) -> float:
    started = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", f"src.{name}", *arguments], cwd=folder, env=environment, check=True)
    return time.perf_counter() - started


def evaluation_seconds(trial: Trial, evaluation: Evaluation) -> float:
    """Measure every snapshot again, and each row's spectrum, into a file of its own."""
    evaluation.values, evaluation.path = {}, trial.folder / "bench.json"
    rows = trial.history()
    method = trial.method(trial.snapshot_steps()[0], evaluation.manifest.shape)
    started = time.perf_counter()
    for row in rows:
        if int(row["step"]) in trial.snapshot_steps():
            evaluation.measure(int(row["step"]), row["loss"])
        else:
            evaluation.watch(int(row["step"]), method)
    return time.perf_counter() - started


def main() -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        settings: Any = OmegaConf.to_container(compose("train"), resolve=True)
    set_up("cpu", settings["threads"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stage(folder, "prepare")
        walls = [stage(folder, "train", "-m", *TINY, f"hydra.sweeper.n_trials={n}") for n in (FEW, FEW, MANY)]
        manifest = read_manifest(folder / "data/digits")
        criteria = load_criteria(ROOT / "conf/criterion", settings["criterion"])
        listed = json.loads((folder / "runs/bench/study.json").read_text())["trials"]
        trials = [read_trial(folder / "runs/store" / entry["trial"]) for entry in listed]
        trained = [json.loads((t.folder / "timing.json").read_text())["train_seconds"] for t in trials]
        evaluated = [
            evaluation_seconds(t, Evaluation(t, manifest, settings["evaluation"], criteria)) for t in trials[FEW:]
        ]
        total = walls[2] - walls[1]  # the first two trials are read back in both
        rest = (total - sum(trained[FEW:]) - sum(evaluated)) / (MANY - FEW)
        print(f"bookkeeping: {rest:.2f} s per trial ({MANY - FEW} trials, {total:.1f} s in all, "
              f"{sum(trained[FEW:]):.1f} training, {sum(evaluated):.1f} evaluation)")  # fmt: skip

        trial = identify(settings, manifest, folder / "runs/store", device="cpu", threads=settings["threads"])
        steps = list(run_trial(trial, manifest, device="cpu", checkpoint_seconds=1e9))
        reads = []
        for _ in range(20):
            started = time.perf_counter()
            trial.record()
            reads.append(time.perf_counter() - started)
        size = sum(path.stat().st_size for path in trial.folder.rglob("*") if path.is_file())
        print(f"reading back: {1000 * np.median(reads):.1f} ms for {size / 1e6:.1f} MB, checksums included")

        protocol, schedule = settings["evaluation"], settings["schedule"]
        per_image = trial_flops(trial, manifest) / (3 * 2 * settings["batch_size"])
        forwards = schedule["evaluations"] * protocol["images"] * (1 + 2 * protocol["views"])
        forwards += (len(steps) - schedule["evaluations"]) * protocol["images"]
        ratio = forwards * per_image / (trial.steps * trial_flops(trial, manifest))
        print(f"evaluation: {100 * ratio:.1f} % of the training FLOPs")


if __name__ == "__main__":
    main()
