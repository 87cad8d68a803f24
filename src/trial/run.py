"""Carries a trial from where it stands to its record: checkpoints, snapshots, history."""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Int
from safetensors.torch import save
from torch import Tensor
from torch.optim import Optimizer

from src.data.pack import Manifest, open_rows
from src.data.source import Rows
from src.runtime import check, files, interrupts
from src.runtime.build import build
from src.runtime.distributed import agree, world
from src.runtime.memory import out_of_memory
from src.trial.identity import CHECKPOINT, RECORD, Trial, build_method, part_name, trial_flops
from src.trial.initial_weights import begin, compile_encoders
from src.trial.loop import Normalise, Step, train
from src.trial.optim import make_optimizer, scaled_learning_rate
from src.trial.sharing import share_statistics

if TYPE_CHECKING:
    from src.methods.method import Method

RESIDENT_BYTES = 2**30  # larger data sets stay in their file
UNREADABLE = (pickle.UnpicklingError, EOFError, RuntimeError, LookupError, TypeError, ValueError, AttributeError)


class Progress(NamedTuple):
    """Where a running trial stands after a row of its history."""

    row: dict[str, float]
    snapshot: bool  # whether this row's weights were kept
    method: Method  # as it is now, in training


def run_trial(
    trial: Trial,
    manifest: Manifest,
    *,
    device: str,
    checkpoint_seconds: float,
    classes: Int[Tensor, "n"] | None = None,
) -> Generator[Progress, None, None]:
    """Train a trial from where it stands to its end, yielding after each row of its history; then record it.

    With ``classes``, those of the images of ``probe``, it trains on these instead of ``pretrain``. Raises ValueError
    where the trial takes another number of processes.

    Closing the iterator early leaves a checkpoint, never a record. Raises files.Busy where another process trains it.
    """
    if trial.config["processes"] != world():
        raise ValueError(
            f"trial {trial.key} takes {trial.config['processes']} processes, and this is {world()}: "
            "only src.train can be started with torchrun"
        )
    with files.locked(trial.folder / ".lock"):
        files.remove_partials(trial.folder)
        if trial.record() is None:
            files.write_json(trial.folder / "config.json", trial.config)
            agree(trial.key)
            yield from _train_and_record(trial, manifest, device, checkpoint_seconds, classes)


def prepare(trial: Trial, manifest: Manifest, device: str) -> tuple[Method, Optimizer]:
    """A trial's method as initialised, and its optimizer."""
    method = build_method(trial.config, manifest.shape)
    share_statistics(method)
    begin(method, trial.config["start"], trial.folder.parent)
    method.to(device)
    if trial.config["compile"]:
        compile_encoders(method)
    settings = trial.config["optimizer"]
    decays = {name: settings[name] for name in ("weight_decay", "layer_decay")}
    return method, make_optimizer(method, build("optimizer", settings["factory"]), **decays)


def training_steps(
    trial: Trial,
    manifest: Manifest,
    method: Method,
    optimizer: Optimizer,
    *,
    device: str,
    first_step: int,
    classes: Int[Tensor, "n"] | None = None,
) -> Iterator[Step]:
    """The loop under a trial's settings. Raises ValueError where a method needs classes and there are none."""
    config = trial.config
    if method.labelled and classes is None:
        name = part_name(config, "method")
        raise ValueError(f"method {name} needs labels: only python -m src.supervised has them")
    settings, schedule = config["optimizer"], config["schedule"]
    return train(
        method,
        optimizer,
        resident_images(manifest, "pretrain" if classes is None else "probe", device),
        build("augmentation", config["augmentation"]),
        Normalise(manifest.mean, manifest.std, device),
        learning_rate=scaled_learning_rate(settings["learning_rate"], config["batch_size"], settings["scaling"]),
        schedule={"warmup": schedule["warmup"], "decay": schedule["decay"]},
        batch_size=config["batch_size"],
        steps=trial.steps,
        first_step=first_step,
        clip=settings["clip"],
        seed=config["seed"],
        device=device,
        precision=config["precision"],
        classes=classes,
    )


def _train_and_record(
    trial: Trial, manifest: Manifest, device: str, checkpoint_seconds: float, classes: Int[Tensor, "n"] | None
) -> Generator[Progress, None, None]:
    method, optimizer = prepare(trial, manifest, device)
    boundaries = _boundaries(trial)
    state = _Checkpoint.load(trial, boundaries, method, optimizer, device)
    flops = trial_flops(trial, manifest)
    status, saved = "complete", time.monotonic()
    steps = training_steps(trial, manifest, method, optimizer, device=device, first_step=state.step, classes=classes)
    undone = state.undone(boundaries)
    agree(bool(undone))
    for step in chain(undone, steps):
        state.add(step)
        if step.number in boundaries and not interrupts.asked():
            row = _row(state.since_row, trial.config["batch_size"], flops)
            if not all(math.isfinite(value) for value in row.values()):
                status = "diverged"
                agree(False)
                break
            evaluate = boundaries[step.number] % trial.config["schedule"]["rows"] == 0
            if evaluate:
                _write_snapshot(trial, step.number, method)
            state.stop_clock()
            try:
                yield Progress(row, evaluate, method)
            except GeneratorExit:  # whoever was told of the row may not have kept what it wanted: it is told again
                state.save(trial.folder, method, optimizer)
                agree(False)
                raise
            agree(True)
            state.end_row(row)
        if interrupts.asked() or time.monotonic() - saved >= checkpoint_seconds:
            state.stop_clock()
            state.save(trial.folder, method, optimizer)
            interrupts.point()
            saved = time.monotonic()
    _write_record(trial, status, state, flops)


def follow(trial: Trial, manifest: Manifest, device: str) -> Any:
    """What every process but the first does for a trial: its share of each step; then the first's last word."""
    word = agree(None)
    while isinstance(word, str):
        if word != trial.key:
            raise RuntimeError(f"the first process trains {word}, this one {trial.key}")
        method, optimizer = prepare(trial, manifest, device)
        boundaries = _boundaries(trial)
        first = _Checkpoint.load(trial, boundaries, method, optimizer, device).step
        undone = [first] if agree(None) else []  # the first process's word: it may have written the row by now
        steps = training_steps(trial, manifest, method, optimizer, device=device, first_step=first)
        for number in chain(undone, (step.number for step in steps)):
            if number in boundaries and not agree(None):
                break
        word = agree(None)
    return word


def _boundaries(trial: Trial) -> dict[int, int]:
    """The last step of each row of the history -> the row's number from 1."""
    rows = trial.config["schedule"]["rows"] * trial.config["schedule"]["evaluations"]
    return {round(trial.steps * k / rows): k for k in range(1, rows + 1)}


def _row(steps: list[Step], batch_size: int, flops: int) -> dict[str, float]:
    last = steps[-1]
    return {
        "step": last.number,
        "images": last.number * batch_size,
        "loss": float(torch.stack([step.loss for step in steps]).mean()),
        "gradient_norm": float(torch.stack([step.gradient_norm for step in steps]).mean()),
        "learning_rate": last.learning_rate,
        "flops": last.number * flops,
    } | {name: float(torch.stack([step.diagnostics[name] for step in steps]).mean()) for name in last.diagnostics}


def _write_snapshot(trial: Trial, step: int, method: Method) -> None:
    weights = {name: value.detach().cpu().contiguous() for name, value in method.state_dict().items()}
    files.write_atomically(trial.snapshot_path(step), save(weights))


def _write_record(trial: Trial, status: str, state: _Checkpoint, flops: int) -> None:
    """Raises RuntimeError, which is a defect, where a trial would be called complete before its last step."""
    if status == "complete" and state.recorded != trial.steps:
        raise RuntimeError(f"trial {trial.key} ends at step {state.recorded} of {trial.steps}")
    files.write_json(trial.folder / "history.json", state.rows)
    files.write_json(trial.folder / "timing.json", {"train_seconds": state.seconds})
    kept = ["config.json", "history.json"]
    kept += [str(trial.snapshot_path(step).relative_to(trial.folder)) for step in trial.snapshot_steps()]
    record = {
        "trial": trial.key,
        "status": status,
        "steps": state.recorded,
        "flops": state.recorded * flops,
        "files": {name: files.checksum(trial.folder / name) for name in kept},
    }
    files.write_json(trial.folder / RECORD, record)
    (trial.folder / CHECKPOINT).unlink(missing_ok=True)


@dataclass
class _Checkpoint:
    """How far a trial has come: beside the weights, its whole rows and what the steps since the last one measured."""

    step: int
    rows: list[dict[str, float]]
    since_row: list[Step]
    seconds: float
    started: float = field(default_factory=time.monotonic)

    @property
    def recorded(self) -> int:
        """The step of the last whole row."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    def undone(self, boundaries: Mapping[int, int]) -> list[Step]:
        """The step whose row was still to be written; it is taken out, and comes before those to be trained."""
        return [self.since_row.pop()] if self.since_row and self.step in boundaries else []

    def add(self, step: Step) -> None:
        self.step = step.number
        self.since_row.append(step)

    def end_row(self, row: dict[str, float]) -> None:
        self.rows.append(row)
        self.since_row = []
        self.started = time.monotonic()  # what it took to measure is no training

    def stop_clock(self) -> None:
        now = time.monotonic()
        self.seconds += now - self.started
        self.started = now

    @classmethod
    def load(
        cls, trial: Trial, boundaries: Mapping[int, int], method: Method, optimizer: Optimizer, device: str
    ) -> _Checkpoint:
        """What an earlier run left, or the beginning. Raises ValueError on a file that isn't as it was written."""
        path = trial.folder / CHECKPOINT
        if not path.exists():
            return cls(step=0, rows=[], since_row=[], seconds=0.0)
        digest, _, content = path.read_bytes().partition(b"\n")
        try:
            if digest != _digest(content):
                raise ValueError("its checksum is another")
            state = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
            _check_state(state, trial, boundaries)
            method.load_state_dict(state["method"])
            optimizer.load_state_dict(state["optimizer"])
            since_row = _unpacked(state["step"], state["since_row"])
        except UNREADABLE as error:
            if out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0]
            raise ValueError(f"{path} can't be read ({reason}): delete {path} and run this again") from None
        return cls(step=state["step"], rows=state["rows"], since_row=since_row, seconds=state["seconds"])

    def save(self, folder: Path, method: Method, optimizer: Optimizer) -> None:
        """Its first line is the checksum of the rest."""
        state = {
            "method": method.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": self.step,
            "rows": self.rows,
            "since_row": _packed(self.since_row),
            "seconds": self.seconds,
        }
        content = io.BytesIO()
        torch.save(state, content)
        files.write_atomically(folder / CHECKPOINT, _digest(content.getvalue()) + b"\n" + content.getvalue())


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).hexdigest().encode()


def _check_state(state: Any, trial: Trial, boundaries: Mapping[int, int]) -> None:
    """Raise ValueError unless these are the rows and steps of one point of the trial's schedule, snapshots kept."""
    check.keyed("checkpoint", state, ("method", "optimizer", "step", "rows", "since_row", "seconds"))
    check.number("step", state["step"], at_least=1, at_most=trial.steps, whole=True)
    check.number("seconds", state["seconds"], at_least=0)
    since_row = state["since_row"]["learning_rate"] if state["since_row"] else []
    passed = [number for number in boundaries if number <= state["step"]]
    if since_row and state["step"] in boundaries:
        passed.pop()  # its row was still to be written
    found = [row["step"] for row in state["rows"]]
    if found != passed or len(since_row) != state["step"] - max([0, *passed]):
        raise ValueError(f"step {state['step']} has rows of steps {found} and {len(since_row)} steps since")
    if not all(math.isfinite(value) for row in state["rows"] for value in row.values()):
        raise ValueError("a row is not finite")
    for number in passed:
        evaluated = boundaries[number] % trial.config["schedule"]["rows"] == 0
        if evaluated and not trial.snapshot_path(number).exists():
            raise ValueError(f"its snapshot of step {number} is missing")


def _packed(steps: list[Step]) -> dict[str, Any] | None:
    """The steps as few tensors: a file of many small ones is slow to write."""
    if not steps:
        return None
    names = steps[-1].diagnostics
    return {
        "learning_rate": [step.learning_rate for step in steps],
        "loss": torch.stack([step.loss for step in steps]),
        "gradient_norm": torch.stack([step.gradient_norm for step in steps]),
        "diagnostics": {name: torch.stack([step.diagnostics[name] for step in steps]) for name in names},
    }


def _unpacked(last: int, packed: dict[str, Any] | None) -> list[Step]:
    if packed is None:
        return []
    rates, columns = packed["learning_rate"], packed["diagnostics"]
    loss, norm, first = packed["loss"], packed["gradient_norm"], last + 1 - len(rates)
    return [
        Step(first + k, loss[k], norm[k], rate, {name: column[k] for name, column in columns.items()})
        for k, rate in enumerate(rates)
    ]


def resident_images(manifest: Manifest, split: str, device: str) -> Tensor | Rows:
    """A split's images as a tensor on the device, or left in their file where they are larger than RESIDENT_BYTES."""
    images = open_rows(manifest, split)
    return torch.from_numpy(images[:]).to(device) if images.nbytes <= RESIDENT_BYTES else images
