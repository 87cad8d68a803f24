"""What conf/evidence.yaml and the rounds of conf/round/ state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from src.runtime.records import Number, closed
from src.runtime.settings import Folders, Name, Natural, Place, Positive, Quality


@closed
@dataclass(frozen=True)
class Goal:
    """Mean regrets over pools, at most."""

    over_range: Annotated[Number, Field(ge=0)]  # / the best configuration's quality minus the worst's
    over_random: Annotated[Number, Field(ge=0)]  # / random choice's


@closed
@dataclass(frozen=True)
class Pools:
    """Which pools are trained: each of ``of`` with each method."""

    of: dict[Name, Name]  # file of conf/pool/ -> its data
    methods: Annotated[list[Name], Field(min_length=1)]


@closed
@dataclass(frozen=True)
class RuleSearch:
    """Where the rule is looked for."""

    tuned_on: Name | None  # the data whose pools are halved; None where there is a table
    table: Place | None  # of the round before, searched as a whole
    largest: Annotated[int, Field(ge=1, le=4)]  # columns in a rule


@closed
@dataclass(frozen=True)
class Settings:
    quality: Quality  # the probe
    goal: Goal
    halvings: Positive  # of val's source images, at random
    resamples: Annotated[int, Field(ge=100)]
    seed: Natural
    judge_only: bool
    folders: Folders
    title: str
    pools: Pools
    committed: str  # the commit that held all this before the first trial
    seen: list[Name]  # studies that were looked at before: means are stated without them too
    seeds: list[Natural]  # further ones, of the better half of each pool
    rule: RuleSearch
    table: Place
    page: Place
    remark: str
