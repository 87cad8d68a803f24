"""What conf/survey.yaml states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from src.runtime.records import closed
from src.runtime.settings import Folders, Name, Place, Positive, Seeds


@closed
@dataclass(frozen=True)
class Settings:
    data_sets: Annotated[list[Name], Field(min_length=1)]
    methods: dict[Name, list[str]]  # name on the page -> what it adds to src.train
    supervised: dict[Name, Name]  # name on the page -> the study whose chosen trial it is like
    seeds: Seeds  # fresh ones
    columns: Annotated[list[str], Field(min_length=1)]  # criteria that the page shows
    jobs: Positive  # studies at a time
    timed_steps: Positive
    table: Place
    page: Place
    page_only: bool
    folders: Folders
