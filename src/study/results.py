"""What the stages after train leave in a study's folder, and how it is read there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from src.evaluation.criterion import Protocol
from src.runtime import files, records
from src.runtime.records import Checksum, Config, Count, Hash, Name, Number, Step, closed

Status = Literal["complete", "collapsed", "diverged", "stopped"]
Snapshots = Literal["last", "all"]
BUDGET_FORMAT: Literal[2] = 2


@closed
@dataclass(frozen=True)
class RankedTrial:
    """A line of a selection's ranking: a configuration, under the number of its first trial."""

    number: Count
    trial: Name  # of a kept table it can be any
    seeds: list[Count]
    method: Name
    step: Count
    images: Count  # seen by then
    flops: Number  # spent by then
    score: Number  # by the rule; higher is better
    values: dict[str, Number]  # of the rule's columns, mean over seeds
    overrides: list[str]
    probability_best: Number | None  # share of draws in which it comes first; None: noise is unknown
    tied_with_best: bool
    told_apart: bool  # from the pick
    picked: bool


@closed
@dataclass(frozen=True)
class Dropped:
    """A trial that wasn't ranked."""

    number: Count
    trial: Name
    status: Status
    reason: str


@closed
@dataclass(frozen=True)
class NoiseFact:
    """What the draws of a method's trials were made of."""

    method: str  # empty where the rule compares methods
    halves: Count  # of the images
    seeds: dict[str, Number] | None  # column -> standard deviation of one seed; None: nothing was repeated


@closed
@dataclass(frozen=True)
class Selection:
    """selection.json."""

    study: Name
    identity: str  # of the study
    rule: str
    columns: dict[str, Config | None]  # column -> its definition
    combined_by: Config | None  # where the rule has several columns
    evaluation: Protocol
    snapshots: Snapshots
    draws: Count
    seed: Count
    noise: list[NoiseFact]
    winners: Annotated[list[RankedTrial], Field(min_length=1)]
    ranking: Annotated[list[RankedTrial], Field(min_length=1)]
    dropped: list[Dropped]

    def picks(self) -> dict[str, int]:
        """trial -> the step of its picked snapshot."""
        return {winner.trial: winner.step for winner in self.winners}


@closed
@dataclass(frozen=True)
class FreshTrial:
    seed: Count
    trial: Name
    status: Status


@closed
@dataclass(frozen=True)
class Fall:
    """A column's selected value, and its values with fresh seeds."""

    first: Number | None
    fresh: list[Number]
    curse: Number | None = None  # how far the first value flattered: positive where it did


@closed
@dataclass(frozen=True)
class Repeated:
    """A configuration that was trained again."""

    number: Count
    trial: Name
    method: Name
    step: Count
    fresh: list[FreshTrial]
    columns: dict[str, Fall]


@closed
@dataclass(frozen=True)
class ConfirmedWinner:
    number: Count
    trial: Name
    method: Name
    fresh: list[FreshTrial]
    step: Count
    probability_best: Number | None


@closed
@dataclass(frozen=True)
class RankedAgain:
    number: Count
    step: Count
    score: Number
    probability_best: Number | None


@closed
@dataclass(frozen=True)
class Confirmation:
    """confirmation.json."""

    study: Name
    selection: Hash  # which it confirms
    rule: str
    seeds: list[Count]
    confirmed: list[Repeated]
    winners: list[ConfirmedWinner]
    why_none: str  # empty where there is a winner
    selected: list[Count]  # the numbers that were picked before
    noise: list[NoiseFact]
    ranking: list[RankedAgain]
    dropped: list[Dropped]

    def picks(self) -> dict[str, int]:
        """trial -> the step of its confirmed snapshot."""
        return {winner.trial: winner.step for winner in self.winners}


@closed
@dataclass(frozen=True)
class ProbeScore:
    """A probe's numbers, and which images of val it got right (a string of 0 and 1)."""

    numbers: dict[str, Number]
    right: Annotated[str, Field(pattern=r"^[01]*$")] | None = None


ProbeScores = dict[Name, ProbeScore]  # by probe


@closed
@dataclass(frozen=True)
class ProbeDefinition:
    score: Config
    snapshots: Snapshots


@closed
@dataclass(frozen=True)
class ProbeFile:
    """probe.json."""

    study: Name
    probe: dict[Name, ProbeDefinition]
    baselines: dict[str, ProbeScores]
    trials: dict[Hash, dict[Step, ProbeScores]]

    def of(self, trial: str, step: int) -> ProbeScores:
        """The scores of a snapshot; empty where it wasn't probed."""
        return self.trials.get(trial, {}).get(str(step), {})


@closed
@dataclass(frozen=True)
class BudgetScore:
    skill: Number  # cross-validated within the label file
    halves: list[Number]


@closed
@dataclass(frozen=True)
class LabelFile:
    """A label file, how trials were scored by it, and the scores."""

    labels: Count
    checksum: Checksum
    views: Count
    folds: Count
    strengths: list[Number]
    halves: Count
    seed: Count
    trials: dict[Hash, BudgetScore]


@closed
@dataclass(frozen=True)
class BudgetFile:
    """budget.json."""

    format: Literal[2]
    study: Name
    files: dict[str, LabelFile]


def read_selection(folder: Path) -> Selection:
    """selection.json. Raises ValueError where there is none or it isn't one."""
    path = folder / "selection.json"
    if not path.exists():
        raise ValueError(f"{path} is missing: run python -m src.selection study={folder.name} first")
    return records.read(path, Selection, f"run python -m src.selection study={folder.name} again")


def read_confirmation(folder: Path, chosen: Selection) -> Confirmation | None:
    """confirmation.json where it confirms this very selection. Raises ValueError where it isn't one."""
    path = folder / "confirmation.json"
    if not path.exists():
        return None
    confirmation = records.read(path, Confirmation, f"run python -m src.confirm study={folder.name} again")
    return confirmation if confirmation.selection == files.fingerprint(chosen) else None


def read_budgets(folder: Path) -> dict[str, LabelFile]:
    """budget.json's files; empty where there is none. Raises ValueError where an earlier version wrote it."""
    path = folder / "budget.json"
    if not path.exists():
        return {}
    return records.read(path, BudgetFile, f"run python -m src.budget study={folder.name} again").files


def read_probed(folder: Path) -> ProbeFile | None:
    """probe.json; None where nothing was probed."""
    path = folder / "probe.json"
    if not path.exists():
        return None
    return records.read(path, ProbeFile, f"run python -m src.probe study={folder.name} again")
