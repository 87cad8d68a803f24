"""What determines a trial's weights: as a person states it, and as its config.json keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from src.runtime.records import Checksum, Config, Count, Number, closed, extensible
from src.runtime.settings import Component, Natural, Place, Positive, Share, Threads

Space = Literal["h", "z"]  # representation, projection
Decay = Literal["cosine", "constant"]
Scaling = Literal["none", "sqrt", "linear"]
Precision = Literal["fp32", "bf16"]


@closed
@dataclass(frozen=True)
class Optimizer:
    """How weights are updated. ``learning_rate`` is meant for a batch of 256 where ``scaling`` isn't none."""

    factory: Component
    learning_rate: Annotated[Number, Field(gt=0)]
    scaling: Scaling
    weight_decay: Annotated[Number, Field(ge=0)]
    clip: Annotated[Number, Field(gt=0)]  # the gradient's largest norm
    layer_decay: Annotated[Number, Field(gt=0, le=1)]
    name: str = ""  # release 0.1.0 kept one


@closed
@dataclass(frozen=True)
class Schedule:
    """How long a training lasts and how often it is measured."""

    decay: Decay
    images: Positive  # seen in all
    warmup: Share  # of the steps
    evaluations: Positive  # snapshots
    rows: Positive  # of the history between two snapshots
    name: str = ""  # release 0.1.0 kept one


@closed
@dataclass(frozen=True)
class Start:
    """Where the encoder begins."""

    weights: Checksum | None  # of given weights, which the store keeps
    frozen: Count  # first layers that stay as they are


@closed
@dataclass(frozen=True)
class GivenStart:
    """Where an encoder begins, as a person names it."""

    weights: Place | None  # a file; None: random weights
    encoder_prefix: str  # of the encoder's entries in the file, taken off
    ignore: list[str]  # prefixes of entries that aren't the encoder's
    frozen: Natural  # first layers that stay as they are


@closed
@dataclass(frozen=True)
class GivenEncoder:
    """What a person says of encoders that were trained elsewhere."""

    model: Component
    augmentation: Component
    projector: Component | None  # None where the files hold no projection head
    encoder_prefix: str  # of the encoder's entries, taken off
    projector_prefix: str
    ignore: list[str]  # prefixes of entries that belong to neither
    images: Positive  # seen in training
    flops: Annotated[Number, Field(ge=0)]  # spent on training
    threads: Threads


@closed
@dataclass(frozen=True)
class TrainedOn:
    """The images, by the checksum of their split, and what they are normalised by, per channel."""

    mean: list[float]
    std: list[float]
    pretrain: str | None = None
    probe: str | None = None  # of the supervised reference
    classes: str | None = None  # a hash of these images' classes

    @property
    def checksum(self) -> str:
        return self.pretrain or self.probe or ""


def _unknown(value: object) -> object:
    """Of an adopted encoder's training nothing is known but how many images it saw."""
    return None if isinstance(value, dict) and not value.keys() - {"images"} else value


@extensible
@dataclass(frozen=True)
class TrialConfig:
    """What determines a trial's weights. ``optimizer`` and ``schedule`` are None for an adopted encoder."""

    model: Config
    method: Config
    augmentation: Config
    optimizer: Annotated[Optimizer | None, BeforeValidator(_unknown)]
    schedule: Annotated[Schedule | None, BeforeValidator(_unknown)]
    batch_size: Count
    seed: Count
    precision: str
    data: TrainedOn
    device: str
    threads: Count
    torch: str  # release
    source: str  # checksum of the code that trains it
    start: Start = field(default_factory=lambda: Start(weights=None, frozen=0))
    compile: bool = False
    processes: Count = 1

    @property
    def steps(self) -> int:
        return 1 if self.schedule is None else self.schedule.images // self.batch_size

    def training(self) -> tuple[Optimizer, Schedule]:
        """Raises ValueError for an adopted encoder."""
        if self.optimizer is None or self.schedule is None:
            raise ValueError("the trial was adopted: nothing is known of how it was trained")
        return self.optimizer, self.schedule
