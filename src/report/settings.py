"""What conf/report.yaml states."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from src.runtime.records import closed
from src.runtime.settings import Folders, Name, Natural, Place, Positive, Quality, Threads


def _web_address(value: str) -> str:
    # It becomes part of the page's links: no other scheme, and nothing that ends an attribute.
    if re.fullmatch(r"https?://[^\s\"'<>]+", value) is None:
        raise ValueError("must be an address that begins with http:// or https://")
    return value


@closed
@dataclass(frozen=True)
class ReportFolders(Folders):
    """Folders, and where a report is written."""

    report: Place

    def trusted(self) -> list[str]:
        return [*super().trusted(), self.report]


@closed
@dataclass(frozen=True)
class Settings:
    study: Name | None  # needed, but for ``show``
    quality: Quality  # the probe that regret and correlation are stated in
    seed: Natural  # of halvings, resamples and forests
    halvings: Positive  # of val's source images, at random
    resamples: Annotated[int, Field(ge=100)]
    threads: Threads
    show: bool  # only print what the last report says
    table: Place | None  # a kept trial table to report from; None: the study's own folder
    mlflow_ui: Annotated[str, AfterValidator(_web_address)]
    folders: ReportFolders
