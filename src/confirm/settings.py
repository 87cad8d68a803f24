"""What conf/confirm.yaml states."""

from __future__ import annotations

from dataclasses import dataclass

from src.runtime.records import closed
from src.runtime.settings import Folders, Hours, Name, Positive, Seconds, Seeds


@closed
@dataclass(frozen=True)
class Settings:
    study: Name
    top: Positive  # of the ranking, for each method where methods aren't compared
    trials: Seeds | None  # numbers, instead of the ranking's first
    seeds: Seeds
    max_hours: Hours | None
    checkpoint_seconds: Seconds
    folders: Folders
