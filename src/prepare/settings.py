"""What conf/prepare.yaml states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from src.data.settings import Data
from src.runtime.records import closed
from src.runtime.settings import Natural, Place, Positive


@closed
@dataclass(frozen=True)
class Budgets:
    """Which label budgets are drawn."""

    per_class: Annotated[list[Positive], Field(min_length=1)]
    draws: Positive
    seed: Natural


@closed
@dataclass(frozen=True)
class PrepareFolders:
    data: Place
    runs: Place


@closed
@dataclass(frozen=True)
class Settings:
    budgets: Budgets
    folders: PrepareFolders
    data: Data
