"""Training throughput beside the bare step, lightly's loop and stable-pretraining's, all in one run.

    python -m bench.train [cases=cnn20,cnn32,resnet18] [rounds=6] [peers=true] [device=cpu] [precision=fp32] [threads=2]
        [profile=false]

The bare step is what no pipeline can beat: forward, backward, clip and optimizer on views that are already made, in the
same precision and layout. Everything trains SimCLR with the same model, images, batch, views and AdamW. In every round
our steps and bare ones alternate, then each peer trains a stretch in a process of its own, with as many threads and
worker processes as we have threads; a ratio is one round's, and the printed ones are their median, smallest and
largest. Peers need pip install -e '.[bench]'. profile=true says instead which operations our step and the bare one
spend their time in.
"""

from __future__ import annotations

import platform
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torchvision.transforms.v2 import functional as tv

from bench.peers import Setting, lightly_loop, stable_pretraining_loop
from src.data.pack import Manifest, write_pack
from src.data.source import SPLITS, Source
from src.runtime import files
from src.runtime.build import build
from src.runtime.device import set_up
from src.runtime.records import Config
from src.runtime.rng import generator
from src.runtime.settings import hold
from src.train.settings import Settings
from src.trial.given_weights import read_start
from src.trial.identity import Trial, identify
from src.trial.loop import Normalise, autocast, fetch, make_views
from src.trial.run import prepare, resident_images, training_steps

CONF = str(Path(__file__).resolve().parent.parent / "conf")
PEERS = {"lightly": lightly_loop, "stable-pretraining": stable_pretraining_loop}
DEFAULTS: dict[str, Any] = {
    "cases": "cnn20,cnn32,resnet18",
    "rounds": 6,
    "peers": True,
    "device": "cpu",
    "precision": "fp32",
    "threads": 2,
    "overrides": "",
    "profile": False,
}


class Case(NamedTuple):
    model: str
    size: int
    batch_size: int
    steps: int  # of ours, and of the bare step, in a round
    peer_steps: int  # after so many more that empty what workers have ready


CASES = {
    "cnn20": Case("cnn", 20, 256, 40, 14),
    "cnn32": Case("cnn", 32, 256, 20, 12),
    "resnet18": Case("resnet18", 32, 64, 6, 5),
}


def photographs(n: int, size: int) -> np.ndarray:
    """Smooth colour images, uint8 (n, 3, size, size)."""
    x = tv.gaussian_blur(torch.rand(n, 3, size, size, generator=generator(0, "bench")), [9, 9], [2.0, 2.0])
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    return np.asarray((255 * (x - low) / (high - low)).to(torch.uint8).numpy())


def packed(folder: Path, size: int) -> Manifest:
    images = photographs(12_000, size)
    places = {name: 12_000 + 10 * np.full(10, number) + np.arange(10) for number, name in enumerate(SPLITS)}
    splits = {name: Source(images[:10], place, {}) for name, place in places.items()}
    splits["pretrain"] = Source(images, np.arange(12_000), {})
    return write_pack(folder / f"bench{size}", f"bench{size}", splits, {})


def trial_of(case: Case, options: dict[str, Any], manifest: Manifest, store: Path) -> Trial:
    """What src.train would train on these images under the case's settings."""
    chosen = [f"{name}={options[name]}" for name in ("device", "precision", "threads")]
    chosen += [
        f"model={case.model}",
        "augmentation=simclr",
        f"batch_size={case.batch_size}",
        "schedule.images=100000000",
    ]
    chosen += [override for override in str(options["overrides"]).split(" ") if override]
    with initialize_config_dir(CONF, version_base="1.3"):
        plain = OmegaConf.to_container(compose("train", overrides=chosen), resolve=True)
    settings = hold("", plain, Settings)
    determining = cast(Config, files.plain(settings)) | {"start": files.plain(read_start(settings.start))}
    return identify(determining, manifest, store, device=settings.device, threads=settings.threads)


def ours(trial: Trial, manifest: Manifest, device: str) -> Callable[[], None]:
    """The real loop: slicing, views, normalising, scheduling, the step."""
    method, optimizer = prepare(trial, manifest, device)
    steps = training_steps(trial, manifest, method, optimizer, device=device, first_step=0)

    def step() -> None:
        next(steps)

    return step


def bare(trial: Trial, manifest: Manifest, device: str) -> Callable[[], None]:
    """The same step on one batch of ready-made views."""
    config, clip = trial.config, trial.config.training()[0].clip
    method, optimizer = prepare(trial, manifest, device)
    method.train()
    images = fetch(resident_images(manifest, "pretrain", device), torch.arange(config.batch_size), device)
    normalise = Normalise(manifest.mean, manifest.std, device)
    views = make_views(method, build("augmentation", config.augmentation), normalise, images, generator(0, "bench"))

    def step() -> None:
        with autocast(device, config.precision):
            loss = method(*views)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(method.parameters(), clip)
        optimizer.step()

    return step


def seconds(step: Callable[[], None], device: str) -> float:
    started = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def peer_setting(trial: Trial, manifest: Manifest, options: dict[str, Any]) -> Setting:
    method, _ = prepare(trial, manifest, "cpu")
    config = trial.config
    return Setting(
        encoder=method.encoder,
        projector=method.projector,
        images=np.load(manifest.folder / "images" / "pretrain.npy"),
        batch_size=config.batch_size,
        temperature=float(str(config.method["temperature"])),
        learning_rate=config.training()[0].learning_rate,
        device=options["device"],
        precision=options["precision"],
        workers=options["threads"],
    )


def warmed(case: Case, folder: Path, options: dict[str, Any]) -> tuple[Trial, Manifest, dict[str, Callable[[], None]]]:
    """Our step and the bare one, a few of each taken."""
    device = options["device"]
    manifest = packed(folder, case.size)
    trial = trial_of(case, options, manifest, folder / "unused")
    pair = {"ours": ours(trial, manifest, device), "bare step": bare(trial, manifest, device)}
    for step in pair.values():
        for _ in range(3):
            seconds(step, device)
    return trial, manifest, pair


def profile(name: str, folder: Path, options: dict[str, Any]) -> None:
    for contestant, step in warmed(CASES[name], folder, options)[2].items():
        with torch.profiler.profile() as seen:
            for _ in range(CASES[name].steps):
                seconds(step, options["device"])
        print(f"\n{name}, {contestant}")
        print(seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=50))


def measure(case: Case, folder: Path, options: dict[str, Any]) -> dict[str, list[float]]:
    """Seconds per step of each contestant, one number a round."""
    device = options["device"]
    trial, manifest, pair = warmed(case, folder, options)
    times: dict[str, list[float]] = {name: [] for name in pair}
    for number in range(options["rounds"]):
        spent = dict.fromkeys(pair, 0.0)
        for _ in range(case.steps):
            for name, step in pair.items():
                spent[name] += seconds(step, device)
        for name, value in spent.items():
            times[name].append(value / case.steps)
        for name, loop in PEERS.items():
            if options["peers"] and installed(name):
                warm = 2 * 2 * options["threads"]  # DataLoader has two batches a worker ready
                setting = peer_setting(trial, manifest, options)
                spent_there = alone(loop, setting, min(warm, case.peer_steps), case.peer_steps)
                times.setdefault(name, []).append(spent_there / case.peer_steps)
        print(f"round {number + 1} of {options['rounds']}", end="\r", file=sys.stderr)
    return times


def alone(loop: Callable[[Setting, int, int], float], setting: Setting, warm: int, steps: int) -> float:
    """In a process that knows nothing of what src.runtime.device.set_up sets."""
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(setting.workers,)
    ) as process:
        return process.submit(loop, setting, warm, steps).result()


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def show(name: str, case: Case, times: dict[str, list[float]]) -> None:
    print(f"\n{name}: {case.model}, 3 x {case.size} x {case.size}, batch {case.batch_size}, SimCLR")
    for contestant, values in times.items():
        line = f"  {contestant:<20}{case.batch_size / np.median(values):9,.0f} images/s"
        for other in ("bare step", "lightly", "stable-pretraining"):
            if other in times and other != contestant and contestant in ("ours", "lightly", "stable-pretraining"):
                ratio = np.array(times[other]) / np.array(values)
                line += f"   {np.median(ratio):.3f} of {other} ({ratio.min():.3f} to {ratio.max():.3f})"
        print(line)


def main(arguments: list[str]) -> None:
    given = {key: yaml.safe_load(value) for key, _, value in (argument.partition("=") for argument in arguments)}
    unknown = set(given) - set(DEFAULTS)
    if unknown or set(str(given.get("cases", "cnn20")).split(",")) - set(CASES):
        sys.exit(f"error: options are {', '.join(DEFAULTS)}; cases are {', '.join(CASES)}; got {' '.join(arguments)}")
    options = DEFAULTS | given
    set_up(options["device"], options["threads"])
    versions = [f"{name} {installed(name) or '(not installed)'}" for name in ("torch", "torchvision", *PEERS)]
    machine = torch.cuda.get_device_name() if options["device"] == "cuda" else platform.machine()
    print(
        f"{machine}, {options['threads']} threads, {options['precision']}, Python {platform.python_version()}, ", end=""
    )
    print(", ".join(versions))
    for name in str(options["cases"]).split(","):
        with tempfile.TemporaryDirectory() as folder:
            if options["profile"]:
                profile(name, Path(folder), options)
            else:
                show(name, CASES[name], measure(CASES[name], Path(folder), options))


if __name__ == "__main__":
    main(sys.argv[1:])
