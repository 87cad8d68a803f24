"""What a study would cost, from counted operations and a few timed steps."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from rich.table import Table
from torch.optim import Optimizer

from src.data.pack import Manifest
from src.evaluation.criterion import Protocol
from src.evaluation.embeddings import evaluation_flops
from src.runtime.console import make_console
from src.runtime.records import Count, Hash, Number, closed
from src.study.tables import shorten
from src.trial.identity import Trial
from src.trial.method import trial_flops
from src.trial.run import prepare, training_steps

if TYPE_CHECKING:
    from src.methods.method import Method

TIMED_STEPS = 3


@closed
@dataclass(frozen=True)
class Forecast:
    """One trial's predicted cost."""

    number: Count
    overrides: list[str]
    trial: Hash
    finished: bool  # already in the store: costs nothing
    flops: Count  # training
    seconds: Number  # training and evaluation
    disk: Count  # bytes of weights kept: a checkpoint goes when the trial has ended
    memory: Count  # peak bytes of this process so far


@closed
@dataclass(frozen=True)
class ForecastFile:
    """What a dry run predicts of every trial that it would train."""

    trials: list[Forecast]

    @property
    def flops(self) -> int:
        return sum(trial.flops for trial in self.trials)

    @property
    def seconds(self) -> float:
        return sum(trial.seconds for trial in self.trials)


def forecast(
    number: int, overrides: list[str], trial: Trial, manifest: Manifest, protocol: Protocol, device: str
) -> Forecast:
    """Count a trial's operations and time its first steps; nothing is written."""
    step = trial_flops(trial.config, manifest)
    method, optimizer = prepare(trial, manifest, device)
    evaluations = trial.config.training()[1].evaluations
    measuring = evaluation_flops(trial.config, manifest, protocol) * evaluations
    training = step * trial.steps
    finished = (trial.folder / "record.json").exists()
    seconds = 0.0
    if not finished:
        # measuring isn't timed: an operation of it is taken to last as long as one of training
        seconds = (
            _seconds_per_step(method, optimizer, trial, manifest, device)
            * trial.steps
            * (1 + measuring / max(training, 1))
        )
    weights = sum(tensor.numel() * tensor.element_size() for tensor in method.state_dict().values())
    # Linux counts in KiB
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Forecast(number, overrides, trial.key, finished, training, seconds, weights * evaluations, memory)


def _seconds_per_step(method: Method, optimizer: Optimizer, trial: Trial, manifest: Manifest, device: str) -> float:
    steps = training_steps(trial, manifest, method, optimizer, device=device, first_step=0)
    begun = time.perf_counter()
    float(next(steps).loss)  # the first step warms up
    warm = time.perf_counter()
    # reading a loss waits until the device is done with its step
    timed = [float(step.loss) for step in islice(steps, TIMED_STEPS)]
    if not timed:
        return warm - begun
    return (time.perf_counter() - warm) / len(timed)


def print_forecast(foretold: ForecastFile) -> None:
    """One line per trial and the sums."""
    table = Table(title="dry run: nothing was trained or written", title_justify="left")
    for name in ("trial", "hash", "state", "training GFLOP", "minutes", "MB kept"):
        table.add_column(name, justify="left" if name in ("hash", "state") else "right")
    table.add_column("what it changes", overflow="fold")
    for entry in foretold.trials:
        changes = " ".join(shorten(override) for override in entry.overrides) or "nothing: the default configuration"
        state = "in store" if entry.finished else "to train"
        table.add_row(
            str(entry.number),
            entry.trial[:8],
            state,
            f"{entry.flops / 1e9:,.0f}",
            f"{entry.seconds / 60:.1f}",
            f"{entry.disk / 1e6:.1f}",
            changes,
        )
    console = make_console()
    console.print(table)
    console.print(
        f"{len(foretold.trials)} trials, {foretold.flops / 1e12:.1f} TFLOP counted, "
        f"{foretold.seconds / 60:.0f} minutes predicted from {TIMED_STEPS} timed steps each, "
        f"{sum(entry.disk for entry in foretold.trials) / 1e6:.0f} MB of weights, "
        f"memory up to {max(entry.memory for entry in foretold.trials) / 1e9:.1f} GB\n"
        "a guided sampler's later proposals depend on results: theirs are estimates",
        highlight=False,
    )
