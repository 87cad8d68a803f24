"""What conf/train.yaml states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from src.data.settings import Data
from src.evaluation.criterion import Criterion, Protocol
from src.runtime.records import closed
from src.runtime.settings import Component, Folders, Hours, Name, Natural, Place, Seconds, Several, Threads, stated
from src.trial.config import GivenStart, Optimizer, Precision, Schedule

Seed = Annotated[int, Field(ge=0, lt=2**32)]  # as numpy takes it


@closed
@dataclass(frozen=True)
class SweepSeed:
    """A grid draws nothing and has none."""

    seed: Annotated[Seed | None, stated("a whole number")] = None


@closed
@dataclass(frozen=True)
class Settings:
    study: Name | None
    batch_size: Several
    seed: Natural
    precision: Precision
    compile: bool
    device: str
    threads: Threads
    max_hours: Hours | None
    dry_run: bool
    forecast: Place | None
    checkpoint_seconds: Seconds
    start: GivenStart
    sweep: SweepSeed  # of the sampler
    evaluation: Protocol
    folders: Folders
    data: Data
    model: Component
    method: Component
    augmentation: Component
    optimizer: Optimizer
    schedule: Schedule
    criterion: Criterion
