"""What conf/budget.yaml states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from src.runtime.records import Number, closed
from src.runtime.settings import Folders, Name, Natural, Place, Several, Threads


@closed
@dataclass(frozen=True)
class Settings:
    study: Name
    file: Place | None  # one label file; None: every file of data/<name>/budgets
    views: Several  # of each image, where a class has a single labelled image
    folds: Several
    strengths: Annotated[list[Annotated[Number, Field(gt=0)]], Field(min_length=1)]  # of the ridge penalty
    halves: Natural  # random halves of the labelled images
    seed: Natural
    threads: Threads
    folders: Folders
