"""A trial's checkpoint: written whole, with a checksum of its own, and held against the schedule when it is read."""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import torch
from torch import Tensor
from torch.optim import Optimizer

from src.runtime import check, files
from src.runtime.memory import out_of_memory
from src.trial.identity import CHECKPOINT, History, Row, Trial
from src.trial.loop import Step

if TYPE_CHECKING:
    from src.methods.method import Method

UNREADABLE = (pickle.UnpicklingError, EOFError, RuntimeError, LookupError, TypeError, ValueError, AttributeError)


class Packed(TypedDict):
    """Steps as few tensors: a file of many small ones is slow to write."""

    learning_rate: list[float]
    loss: Tensor
    gradient_norm: Tensor
    diagnostics: dict[str, Tensor]


class State(TypedDict):
    """What the file holds."""

    method: dict[str, Tensor]
    optimizer: dict[str, object]
    step: int
    rows: History
    since_row: Packed | None
    seconds: float


@dataclass
class Checkpoint:
    """How far a trial has come: beside the weights, its whole rows and what the steps since the last one measured."""

    step: int
    rows: History
    since_row: list[Step]
    seconds: float
    started: float = field(default_factory=time.monotonic)

    @property
    def recorded(self) -> int:
        """The step of the last whole row."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    def undone(self, row_ends: Mapping[int, bool]) -> list[Step]:
        """The step whose row was still to be written; it is taken out, and comes before those to be trained."""
        return [self.since_row.pop()] if self.since_row and self.step in row_ends else []

    def add(self, step: Step) -> None:
        self.step = step.number
        self.since_row.append(step)

    def end_row(self, row: Row) -> None:
        self.rows.append(row)
        self.since_row = []
        self.started = time.monotonic()  # what it took to measure is no training

    def stop_clock(self) -> None:
        now = time.monotonic()
        self.seconds += now - self.started
        self.started = now

    @classmethod
    def load(
        cls, trial: Trial, row_ends: Mapping[int, bool], method: Method, optimizer: Optimizer, device: str
    ) -> Checkpoint:
        """What an earlier run left, or the beginning. Raises ValueError on a file that isn't as it was written."""
        path = trial.folder / CHECKPOINT
        if not path.exists():
            return cls(step=0, rows=[], since_row=[], seconds=0.0)
        digest, _, content = path.read_bytes().partition(b"\n")
        try:
            # before anything is unpickled
            if digest != checksum_of(content):
                raise ValueError("its checksum is another")
            state: State = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
            _check_state(state, trial, row_ends)
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
        state: State = {
            "method": method.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": self.step,
            "rows": self.rows,
            "since_row": _packed(self.since_row),
            "seconds": self.seconds,
        }
        content = io.BytesIO()
        torch.save(state, content)
        files.write_atomically(folder / CHECKPOINT, checksum_of(content.getvalue()) + b"\n" + content.getvalue())


def checksum_of(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).hexdigest().encode()


def _check_state(state: State, trial: Trial, row_ends: Mapping[int, bool]) -> None:
    """Raise ValueError unless these are the rows and steps of one point of the trial's schedule, snapshots kept."""
    check.keyed("checkpoint", state, ("method", "optimizer", "step", "rows", "since_row", "seconds"))
    check.number("step", state["step"], at_least=1, at_most=trial.steps, whole=True)
    check.number("seconds", state["seconds"], at_least=0)
    since_row = state["since_row"]["learning_rate"] if state["since_row"] else []
    passed = [number for number in row_ends if number <= state["step"]]
    if since_row and state["step"] in row_ends:
        passed.pop()  # its row was still to be written
    found = [row["step"] for row in state["rows"]]
    if found != passed or len(since_row) != state["step"] - max([0, *passed]):
        raise ValueError(f"step {state['step']} has rows of steps {found} and {len(since_row)} steps since")
    if not all(math.isfinite(value) for row in state["rows"] for value in row.values()):
        raise ValueError("a row is not finite")
    for number in passed:
        if row_ends[number] and not trial.snapshot_path(number).exists():
            raise ValueError(f"its snapshot of step {number} is missing")


def _packed(steps: list[Step]) -> Packed | None:
    if not steps:
        return None
    names = steps[-1].diagnostics
    return {
        "learning_rate": [step.learning_rate for step in steps],
        "loss": torch.stack([step.loss for step in steps]),
        "gradient_norm": torch.stack([step.gradient_norm for step in steps]),
        "diagnostics": {name: torch.stack([step.diagnostics[name] for step in steps]) for name in names},
    }


def _unpacked(last: int, packed: Packed | None) -> list[Step]:
    if packed is None:
        return []
    rates, columns = packed["learning_rate"], packed["diagnostics"]
    loss, norm, first = packed["loss"], packed["gradient_norm"], last + 1 - len(rates)
    return [
        Step(first + k, loss[k], norm[k], rate, {name: column[k] for name, column in columns.items()})
        for k, rate in enumerate(rates)
    ]
