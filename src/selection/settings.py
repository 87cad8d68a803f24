"""What conf/selection.yaml states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, Field

from src.runtime.records import closed
from src.runtime.settings import Folders, Name, Natural, Place
from src.study.results import Snapshots


def _rule(value: object) -> object:
    names: list[object] = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError("must be a criterion, a column, labels_<file>, or a list of columns, [lidar_z,rankme_h]")
    if any("," in str(name) for name in names):
        raise ValueError("must be one name, or a list in brackets, [lidar_z,rankme_h]")
    return value


@closed
@dataclass(frozen=True)
class Settings:
    study: Name
    rule: Annotated[str | list[str], BeforeValidator(_rule)]
    snapshots: Snapshots
    draws: Annotated[int, Field(ge=100)]
    seed: Natural
    table: Place | None  # a kept trial table to select from instead of runs/
    folders: Folders

    @property
    def labelled(self) -> bool:
        """Whether the rule asks for a label budget."""
        names = self.rule if isinstance(self.rule, list) else [self.rule]
        return any(name.startswith("labels_") for name in names)
