"""A trial is a training trajectory; its name is a hash of what determines the weights. The store keeps its record."""

from __future__ import annotations

import io
import math
import pickle
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from src import check, files
from src.build import build
from src.data.pack import Manifest, open_images
from src.loop import Normalise, Step, step_flops, train
from src.optim import SCALING, make_optimizer, scaled_learning_rate
from src.rng import global_generator
from src.source import source_checksum

if TYPE_CHECKING:
    from src.methods.method import Method

RECORD = "record.json"
CHECKPOINT = "checkpoint.pt"
RESIDENT_BYTES = 2**30  # larger data sets stay memory-mapped
PRECISIONS = ("fp32", "bf16")
DETERMINES_WEIGHTS = ("model", "method", "augmentation", "optimizer", "schedule", "batch_size", "seed", "precision")


class Progress(NamedTuple):
    """Where a running trial stands after a row of its history."""

    row: dict[str, float]
    snapshot: bool  # whether this row's weights were kept
    method: Method  # as it is now, in training


@dataclass(frozen=True)
class Trial:
    config: dict[str, Any]  # what determines the weights, nothing else
    folder: Path

    @property
    def key(self) -> str:
        return self.folder.name

    @property
    def steps(self) -> int:
        return int(self.config["schedule"]["images"] // self.config["batch_size"])

    def record(self) -> dict[str, Any] | None:
        """The finished record, every file's checksum verified, or None for unfinished work.

        Raises ValueError where a recorded file is missing or altered.
        """
        path = self.folder / RECORD
        if not path.exists():
            return None
        record: dict[str, Any] = files.read_json(path)
        for name, expected in record["files"].items():
            if not (self.folder / name).exists() or files.checksum(self.folder / name) != expected:
                raise ValueError(
                    f"{self.folder / name} is missing or altered: delete {self.folder} and train the trial again"
                )
        return record

    def history(self) -> list[dict[str, float]]:
        rows: list[dict[str, float]] = files.read_json(self.folder / "history.json")
        return rows

    def snapshot_steps(self) -> list[int]:
        return sorted(int(path.stem) for path in (self.folder / "snapshots").glob("*.safetensors"))

    def snapshot_path(self, step: int) -> Path:
        return self.folder / "snapshots" / f"{step:07d}.safetensors"

    def method(self, step: int, channels: int) -> Method:
        """The method with the weights of a snapshot, in eval mode."""
        method = build_method(self.config, channels)
        method.load_state_dict(load_file(self.snapshot_path(step)))
        method.eval()
        return method


def identify(config: dict[str, Any], manifest: Manifest, store: Path, *, device: str, threads: int) -> Trial:
    """Name the trial of a composed config, after checking every value. Trains and writes nothing.

    Raises ValueError on any value out of range.
    """
    trial_config = {key: config[key] for key in DETERMINES_WEIGHTS}
    trial_config["data"] = {
        "pretrain": manifest.splits["pretrain"]["checksum"],
        "mean": list(manifest.mean),
        "std": list(manifest.std),
    }
    _check(trial_config, manifest)
    targets = [trial_config[group]["_target_"].rpartition(".")[0] for group in ("model", "method", "augmentation")]
    targets.append(trial_config["method"]["projector"]["_target_"].rpartition(".")[0])
    trial_config |= {
        "device": torch.device(device).type,
        "threads": threads,
        "torch": torch.__version__.partition("+")[0],
        "source": source_checksum("src.loop", "src.optim", *targets),
    }
    return Trial(trial_config, store / files.fingerprint(trial_config))


def read_trial(folder: Path) -> Trial:
    """The trial kept in a folder of the store. Raises ValueError where it isn't there or isn't what its name says."""
    path = folder / "config.json"
    if not path.exists():
        raise ValueError(f"trial {folder.name} isn't in {folder.parent}: run the study's python -m src.train -m again")
    config = files.read_json(path)
    if files.fingerprint(config) != folder.name:
        raise ValueError(f"{path} was altered: it no longer hashes to {folder.name}; delete the folder and train again")
    return Trial(config, folder)


def _check(config: dict[str, Any], manifest: Manifest) -> None:
    schedule, optimizer, count = config["schedule"], config["optimizer"], manifest.splits["pretrain"]["count"]
    check.number("batch_size", config["batch_size"], at_least=2, whole=True)
    check.number("seed", config["seed"], at_least=0, whole=True)
    check.choice("precision", config["precision"], PRECISIONS)
    check.number("optimizer.learning_rate", optimizer["learning_rate"], above=0)
    check.number("optimizer.weight_decay", optimizer["weight_decay"], at_least=0)
    check.number("optimizer.clip", optimizer["clip"], above=0)
    check.choice("optimizer.scaling", optimizer["scaling"], tuple(SCALING))
    check.choice("schedule.decay", schedule["decay"], ("cosine", "constant"))
    check.number("schedule.warmup", schedule["warmup"], at_least=0, below=1)
    check.number("schedule.evaluations", schedule["evaluations"], at_least=1, whole=True)
    check.number("schedule.rows", schedule["rows"], at_least=1, whole=True)
    check.number("schedule.images", schedule["images"], at_least=1, whole=True)
    if config["batch_size"] > count:
        raise ValueError(f"batch_size must be at most the {count} pretrain images, got {config['batch_size']}")
    rows = schedule["rows"] * schedule["evaluations"]
    if schedule["images"] < rows * config["batch_size"]:
        raise ValueError(
            f"schedule.images must be at least schedule.evaluations x schedule.rows x batch_size = "
            f"{rows * config['batch_size']}, got {schedule['images']}"
        )
    build(config["augmentation"])
    with torch.device("meta"):
        build_method(config, manifest.channels)
        make_optimizer(nn.Linear(1, 1), build(optimizer["factory"]), 0.0)


def build_method(config: dict[str, Any], channels: int) -> Method:
    """The method of a trial's config around its encoder, initialised from the trial's seed."""
    with global_generator(config["seed"], "initialise"):
        encoder = build(config["model"], channels)
        method: Method = build(config["method"], encoder)
    method.to(memory_format=torch.channels_last)
    return method


def dimensions(trial: Trial, channels: int) -> dict[str, int]:
    """The number of features of h and of z."""
    with torch.device("meta"):
        method = build_method(trial.config, channels)
    return {"h": int(method.encoder.features), "z": int(method.projector.dimension)}  # type: ignore[arg-type]


def trial_flops(trial: Trial, manifest: Manifest) -> int:
    """Counted floating-point operations of one step of the trial."""
    with torch.device("meta"):
        method = build_method(trial.config, manifest.channels)
    return step_flops(method, manifest.splits["pretrain"]["shape"][1:], trial.config["batch_size"])


def run_trial(
    trial: Trial, manifest: Manifest, *, device: str, checkpoint_seconds: float
) -> Generator[Progress, None, None]:
    """Train a trial from where it stands to its end, yielding after each row of its history; then record it.

    Closing the iterator early leaves a checkpoint, never a record. Raises files.Busy where another process trains it.
    """
    with files.locked(trial.folder / ".lock"):
        files.remove_partials(trial.folder)
        if trial.record() is None:
            files.write_json(trial.folder / "config.json", trial.config)
            yield from _train_and_record(trial, manifest, device, checkpoint_seconds)


def _train_and_record(
    trial: Trial, manifest: Manifest, device: str, checkpoint_seconds: float
) -> Generator[Progress, None, None]:
    config = trial.config
    schedule = config["schedule"]
    method = build_method(config, manifest.channels)
    method.to(device)
    optimizer = make_optimizer(method, build(config["optimizer"]["factory"]), config["optimizer"]["weight_decay"])
    state = _Checkpoint.load(trial.folder, method, optimizer, device)
    rows = schedule["rows"] * schedule["evaluations"]
    boundaries = {round(trial.steps * k / rows): k for k in range(1, rows + 1)}
    flops = trial_flops(trial, manifest)
    steps = train(
        method,
        optimizer,
        resident_images(manifest, "pretrain", device),
        build(config["augmentation"]),
        Normalise(manifest.mean, manifest.std, device),
        learning_rate=scaled_learning_rate(
            config["optimizer"]["learning_rate"], config["batch_size"], config["optimizer"]["scaling"]
        ),
        schedule={"warmup": schedule["warmup"], "decay": schedule["decay"]},
        batch_size=config["batch_size"],
        steps=trial.steps,
        first_step=state.step,
        clip=config["optimizer"]["clip"],
        seed=config["seed"],
        device=device,
        precision=config["precision"],
    )
    status, since_row, started, saved = "complete", [], time.monotonic(), time.monotonic()
    for step in steps:
        since_row.append(step)
        if step.number not in boundaries:
            continue
        row = _row(since_row, config["batch_size"], flops)
        since_row = []
        if not all(math.isfinite(value) for value in row.values()):
            status = "diverged"
            break
        evaluate = boundaries[step.number] % schedule["rows"] == 0
        if evaluate:
            _write_snapshot(trial, step.number, method)
        state.rows.append(row)
        state.step = step.number
        state.seconds += time.monotonic() - started
        try:
            yield Progress(row, evaluate, method)
        except GeneratorExit:
            state.save(trial.folder, method, optimizer)
            raise
        if time.monotonic() - saved >= checkpoint_seconds:
            state.save(trial.folder, method, optimizer)
            saved = time.monotonic()
        started = time.monotonic()
    _write_record(trial, status, state, flops)


def _row(steps: list[Step], batch_size: int, flops: int) -> dict[str, float]:
    last = steps[-1]
    return {
        "step": last.number,
        "images": last.number * batch_size,
        "loss": float(torch.stack([step.loss for step in steps]).mean()),
        "gradient_norm": float(torch.stack([step.gradient_norm for step in steps]).mean()),
        "learning_rate": last.learning_rate,
        "flops": last.number * flops,
    }


def _write_snapshot(trial: Trial, step: int, method: Method) -> None:
    weights = {name: value.detach().cpu().contiguous() for name, value in method.state_dict().items()}
    files.write_atomically(trial.snapshot_path(step), save(weights))


def _write_record(trial: Trial, status: str, state: _Checkpoint, flops: int) -> None:
    files.write_json(trial.folder / "history.json", state.rows)
    files.write_json(trial.folder / "timing.json", {"train_seconds": state.seconds})
    kept = ["config.json", "history.json"]
    kept += [str(trial.snapshot_path(step).relative_to(trial.folder)) for step in trial.snapshot_steps()]
    record = {
        "trial": trial.key,
        "status": status,
        "steps": state.step,
        "flops": state.step * flops,
        "files": {name: files.checksum(trial.folder / name) for name in kept},
    }
    files.write_json(trial.folder / RECORD, record)
    (trial.folder / CHECKPOINT).unlink(missing_ok=True)


@dataclass
class _Checkpoint:
    step: int
    rows: list[dict[str, float]]
    seconds: float

    @classmethod
    def load(cls, folder: Path, method: Method, optimizer: torch.optim.Optimizer, device: str) -> _Checkpoint:
        path = folder / CHECKPOINT
        if not path.exists():
            return cls(step=0, rows=[], seconds=0.0)
        try:
            state = torch.load(path, map_location=device, weights_only=True)
            method.load_state_dict(state["method"])
            optimizer.load_state_dict(state["optimizer"])
        except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(f"{path} can't be read ({reason}): delete {folder} and train the trial again") from None
        return cls(step=state["step"], rows=state["rows"], seconds=state["seconds"])

    def save(self, folder: Path, method: Method, optimizer: torch.optim.Optimizer) -> None:
        content = io.BytesIO()
        state = {"method": method.state_dict(), "optimizer": optimizer.state_dict(), **vars(self)}
        torch.save(state, content)
        files.write_atomically(folder / CHECKPOINT, content.getvalue())


def resident_images(manifest: Manifest, split: str, device: str) -> Tensor | np.ndarray:
    """A split's images as a tensor on the device, or memory-mapped where they are larger than RESIDENT_BYTES."""
    images = open_images(manifest, split)
    return torch.from_numpy(np.array(images)).to(device) if images.nbytes <= RESIDENT_BYTES else images
