"""A data set as the files of conf/data/ state it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator

from src.runtime.records import closed
from src.runtime.settings import Component, Name

RECIPES = Path(__file__).resolve().parent.parent.parent / "conf" / "augmentation"
Leaks = Literal["list", "move", "refuse"]


def _recipe(value: str) -> str:
    known = sorted(path.stem for path in RECIPES.glob("*.yaml"))
    if value not in known:
        raise ValueError(f"must be one of {', '.join(known)}")
    return value


@closed
@dataclass(frozen=True)
class Data:
    """A data set."""

    name: Name  # of its folder
    oriented: bool  # whether the images have a way up
    recipe: Annotated[str, AfterValidator(_recipe)]  # of conf/augmentation/ that suits
    leaks: Leaks  # the same picture in several splits
    source: Component
