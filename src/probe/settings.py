"""What conf/probe.yaml states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from src.runtime.records import Number, closed
from src.runtime.settings import Component, Folders, Name, Natural, Positive, Several, Threads
from src.study.results import Snapshots


@closed
@dataclass(frozen=True)
class Finetuning:
    """How an encoder is trained on."""

    epochs: Positive
    batch_size: Several
    learning_rate: Annotated[Number, Field(gt=0)]
    layer_decay: Annotated[Number, Field(gt=0, le=1)]  # a layer's rate over the next one's
    weight_decay: Annotated[Number, Field(ge=0)]
    seed: Natural


@closed
@dataclass(frozen=True)
class Finetune(Finetuning):
    trials: list[Natural]  # numbers of the trials that are fine-tuned


@closed
@dataclass(frozen=True)
class OneProbe:
    score: Component
    snapshots: Snapshots


@closed
@dataclass(frozen=True)
class Settings:
    study: Name
    threads: Threads
    finetune: Finetune
    folders: Folders
    probe: Annotated[dict[str, OneProbe], Field(min_length=1)]
