"""Pools of which every number is known: qualities that no half of the source images can mistake."""

from __future__ import annotations

from typing import Any

import numpy as np

from src.report.settings import Settings
from src.runtime.settings import hold
from src.selection.ranking import rank
from src.selection.rule import make_rule
from src.study.pool import Pool, TrialResult
from src.study.results import Selection, Snapshots
from tests.composed import plain_of
from tests.pools import member

SOURCES = 20
SETTINGS = hold("", plain_of("study=made", "halvings=4", "resamples=100", stage="report"), Settings)


def sure(number: int, quality: float, values: dict[str, float] | None = None, **other: Any) -> TrialResult:
    """A trial that is right on this share of every source image, with these criteria at its end."""
    return member(number, values, right=np.full(SOURCES, quality), **other)


def with_epochs(number: int, qualities: list[float], lidar: list[float], **other: Any) -> TrialResult:
    """A trial of several snapshots, with the quality and the lidar_z of each."""
    rights = [np.full(SOURCES, quality) for quality in qualities]
    values = [{"lidar_z": value} for value in lidar]
    return member(number, values[-1], earlier=values[:-1], right=rights[-1], earlier_right=rights[:-1], **other)


def selected(made: Pool, rule: str | list[str] = "lidar_z", *, snapshots: Snapshots = "last") -> Selection:
    return rank(made, make_rule(made, rule), snapshots=snapshots, draws=10, seed=0)
