"""Carries a trial from where it stands to its record: checkpoints, snapshots, history."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from jaxtyping import Int
from safetensors.torch import save
from torch import Tensor
from torch.optim import Optimizer

from src.data.pack import Manifest, open_rows
from src.data.source import Rows
from src.runtime import files, interrupts
from src.runtime.build import build
from src.runtime.distributed import agree, world
from src.trial.checkpoint import Checkpoint
from src.trial.identity import CHECKPOINT, RECORD, TIMING, Row, Timing, Trial, TrialRecord, part_name
from src.trial.initial_weights import begin, compile_encoders
from src.trial.loop import Normalise, Step, train
from src.trial.method import build_method, optimizer_of, trial_flops
from src.trial.optim import scaled_learning_rate
from src.trial.sharing import share_statistics

if TYPE_CHECKING:
    from src.methods.method import Method

RESIDENT_BYTES = 2**30  # larger data sets stay in their file


class Progress(NamedTuple):
    """Where a running trial stands after a row of its history."""

    row: Row
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
    if trial.config.processes != world():
        raise ValueError(
            f"trial {trial.key} takes {trial.config.processes} processes, and this is {world()}: "
            "only src.train can be started with torchrun"
        )
    with files.locked(trial.folder / ".lock"):
        files.remove_partials(trial.folder)
        if trial.record() is None:
            files.write_json(trial.folder / "config.json", trial.recorded)
            # the other processes wait in follow() for what to train
            agree(trial.key)
            yield from _train_and_record(trial, manifest, device, checkpoint_seconds, classes)


def prepare(trial: Trial, manifest: Manifest, device: str) -> tuple[Method, Optimizer]:
    """A trial's method as initialised, and its optimizer."""
    method = build_method(trial.config, manifest.shape)
    share_statistics(method)
    begin(method, trial.config.start, trial.folder.parent)
    method.to(device)
    if trial.config.compile:
        compile_encoders(method)
    optimizing, _ = trial.config.training()
    # last: it takes the parameters that are on the device and not frozen
    return method, optimizer_of(method, optimizing)


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
    optimizing, schedule = config.training()
    return train(
        method,
        optimizer,
        resident_images(manifest, "pretrain" if classes is None else "probe", device),
        build("augmentation", config.augmentation),
        Normalise(manifest.mean, manifest.std, device),
        learning_rate=scaled_learning_rate(optimizing.learning_rate, config.batch_size, optimizing.scaling),
        warmup=schedule.warmup,
        decay=schedule.decay,
        batch_size=config.batch_size,
        steps=trial.steps,
        first_step=first_step,
        clip=optimizing.clip,
        seed=config.seed,
        device=device,
        precision=config.precision,
        classes=classes,
    )


def _train_and_record(
    trial: Trial, manifest: Manifest, device: str, checkpoint_seconds: float, classes: Int[Tensor, "n"] | None
) -> Generator[Progress, None, None]:
    method, optimizer = prepare(trial, manifest, device)
    row_ends = _row_ends(trial)
    state = Checkpoint.load(trial, row_ends, method, optimizer, device)
    flops = trial_flops(trial.config, manifest)
    status: Literal["complete", "diverged"] = "complete"
    saved = time.monotonic()
    steps = training_steps(trial, manifest, method, optimizer, device=device, first_step=state.step, classes=classes)
    undone = state.undone(row_ends)
    agree(bool(undone))
    for step in chain(undone, steps):
        state.add(step)
        # asked to end, this run leaves the row to the one that goes on
        if step.number in row_ends and not interrupts.asked():
            row = _row(state.since_row, trial.config.batch_size, flops)
            if not all(math.isfinite(value) for value in row.values()):
                status = "diverged"
                agree(False)
                break
            evaluate = row_ends[step.number]
            if evaluate:
                # before the row: a checkpoint that has the row is refused without its snapshot
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


def follow(trial: Trial, manifest: Manifest, device: str) -> object:
    """What every process but the first does for a trial: its share of each step; then the first's last word."""
    word = agree(None)
    while isinstance(word, str):
        if word != trial.key:
            raise RuntimeError(f"the first process trains {word}, this one {trial.key}")
        method, optimizer = prepare(trial, manifest, device)
        row_ends = _row_ends(trial)
        first = Checkpoint.load(trial, row_ends, method, optimizer, device).step
        undone = [first] if agree(None) else []  # the first process's word: it may have written the row by now
        steps = training_steps(trial, manifest, method, optimizer, device=device, first_step=first)
        for number in chain(undone, (step.number for step in steps)):
            if number in row_ends and not agree(None):
                break
        word = agree(None)
    return word


def _row_ends(trial: Trial) -> dict[int, bool]:
    """The last step of each row of the history -> whether the weights are kept there."""
    _, schedule = trial.config.training()
    rows = schedule.rows * schedule.evaluations
    return {round(trial.steps * row / rows): row % schedule.rows == 0 for row in range(1, rows + 1)}


def _row(steps: list[Step], batch_size: int, flops: int) -> Row:
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


def _write_record(trial: Trial, status: Literal["complete", "diverged"], state: Checkpoint, flops: int) -> None:
    """Raises RuntimeError, which is a defect, where a trial would be called complete before its last step."""
    if status == "complete" and state.recorded != trial.steps:
        raise RuntimeError(f"trial {trial.key} ends at step {state.recorded} of {trial.steps}")
    files.write_json(trial.folder / "history.json", state.rows)
    files.write_json(trial.folder / TIMING, Timing(state.seconds))
    kept = ["config.json", "history.json"]
    kept += [str(trial.snapshot_path(step).relative_to(trial.folder)) for step in trial.snapshot_steps()]
    checksums = {name: files.checksum(trial.folder / name) for name in kept}
    record = TrialRecord(trial.key, status, state.recorded, state.recorded * flops, checksums)
    files.write_json(trial.folder / RECORD, record)
    # only now: until the record is there, nothing else holds the training
    (trial.folder / CHECKPOINT).unlink(missing_ok=True)


def resident_images(manifest: Manifest, split: str, device: str) -> Tensor | Rows:
    """A split's images as a tensor on the device, or left in their file where they are larger than RESIDENT_BYTES."""
    images = open_rows(manifest, split)
    return torch.from_numpy(images[:]).to(device) if images.nbytes <= RESIDENT_BYTES else images
