"""Training throughput as a ratio to the bare step on ready-made views, measured in alternation in one run.

    python -m bench.train [hydra overrides of conf/train.yaml]

The bare step is what no pipeline can beat: forward, backward, clip and optimizer on views that are already made, in the
same precision and layout. The ratio is that of the medians, its spread the quartiles over the rounds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from src.build import build
from src.data.pack import Manifest, read_manifest
from src.device import set_up
from src.loop import Normalise, autocast, fetch, make_views
from src.pretraining import prepare, resident_images, training_steps
from src.rng import generator
from src.trial import Trial, identify

CONF = str(Path(__file__).resolve().parent.parent / "conf")
ROUNDS, STEPS_PER_ROUND = 150, 2


def ours(trial: Trial, manifest: Manifest, device: str) -> Callable[[], None]:
    """Rounds of the real loop: slicing, views, normalising, scheduling, the step."""
    method, optimizer = prepare(trial, manifest, device)
    steps = training_steps(trial, manifest, method, optimizer, device=device, first_step=0)

    def run() -> None:
        for _ in range(STEPS_PER_ROUND):
            next(steps)

    return run


def bare(trial: Trial, manifest: Manifest, device: str) -> Callable[[], None]:
    """The same step on one batch of ready-made views."""
    config = trial.config
    method, optimizer = prepare(trial, manifest, device)
    method.train()
    images = fetch(resident_images(manifest, "pretrain", device), torch.arange(config["batch_size"]), device)
    normalise = Normalise(manifest.mean, manifest.std, device)
    views = make_views(method, build(config["augmentation"]), normalise, images, generator(0, "bench"))

    def run() -> None:
        for _ in range(STEPS_PER_ROUND):
            with autocast(device, config["precision"]):
                loss = method(*views)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(method.parameters(), config["optimizer"]["clip"])
            optimizer.step()

    return run


def seconds(run: Callable[[], None], device: str) -> float:
    started = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main(overrides: list[str]) -> None:
    with initialize_config_dir(CONF, version_base="1.3"):
        settings: Any = OmegaConf.to_container(
            compose("train", overrides=["schedule.images=100000000", *overrides]), resolve=True
        )
    device, threads = settings["device"], settings["threads"]
    set_up(device, threads)
    manifest = read_manifest(Path(settings["folders"]["data"]) / settings["data"]["name"])
    trial = identify(settings, manifest, Path("unused"), device=device, threads=threads)
    runs = {"ours": ours(trial, manifest, device), "bare step": bare(trial, manifest, device)}
    for run in runs.values():
        seconds(run, device)  # warm up
    times = {name: np.array([0.0] * ROUNDS) for name in runs}
    for i in range(ROUNDS):
        for name, run in runs.items():
            times[name][i] = seconds(run, device)
    size = trial.config["batch_size"] * STEPS_PER_ROUND
    for name, values in times.items():
        print(f"{name:>10}: {size / np.median(values):8,.0f} images/s")
    ratios = times["bare step"] / times["ours"]
    low, high = np.percentile(ratios, [25, 75])
    ratio = float(np.median(times["bare step"]) / np.median(times["ours"]))
    print(f"     ratio: {ratio:.3f} of the bare step ({low:.3f} to {high:.3f} over {ROUNDS} rounds)")
    what = [trial.config[group]["name"] for group in ("model", "method")]
    what += [f"batch {trial.config['batch_size']}", trial.config["precision"]]
    print(f"   machine: {threads} threads, {device}, torch {torch.__version__}; {', '.join(what)}")


if __name__ == "__main__":
    main(sys.argv[1:])
