"""A pool: the trials of a study as selection and report see them, whether read from the store or from a kept table."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from src.evaluation.criterion import Criterion, Protocol
from src.runtime.records import Config, Count, Number, closed
from src.study.results import ProbeDefinition, Status
from src.trial.config import Space

Floats = NDArray[np.float64]

LABELS = "labels_"  # labels_5-0: the column of a label budget's skill, measured by src.budget


@dataclass(frozen=True)
class Snapshot:
    """One evaluation of one trial. Probes and right are empty where nothing was probed, or labels may not be seen."""

    step: int
    images: int  # seen in training
    flops: float
    loss: float | None
    criteria: dict[str, float]  # column -> value, refused ones left out
    probes: dict[str, dict[str, float]] = field(default_factory=dict)  # probe -> its numbers
    right: dict[str, Floats] = field(default_factory=dict)  # probe -> share right of each source image of val
    facts: dict[str, float] = field(default_factory=dict)  # what a criterion states beside its value: alpha_req_h.r2
    collapsed: bool = False  # by the gate


@closed
@dataclass(frozen=True)
class TrialFacts:
    """What a kept table has of every trial in columns of the same names."""

    number: Count  # in its study
    trial: str  # its hash
    configuration: str  # a hash of everything but the seed: trials that share it are repetitions
    seed: Count
    method: str
    status: Status
    reason: str
    overrides: list[str]
    dimensions: dict[Space, int]  # numbers of features
    loss_definition: str
    numerics: Config  # torch release, checksum of the training code, device, threads
    evaluation_flops: Number
    seconds: Number | None  # of training; machines differ, so nothing is decided by it


@dataclass(frozen=True)
class TrialResult(TrialFacts):
    """One trial of a pool."""

    knobs: Config  # the flat configuration
    snapshots: list[Snapshot]
    halves: dict[str, list[float]]  # column -> its values on random halves of the images, last snapshot
    refused: dict[str, str]  # column -> why it has no value on the last snapshot
    budgets: dict[str, float]  # label budget, as 5-0 (per class - draw) -> cross-validated skill

    @property
    def last(self) -> Snapshot:
        return self.snapshots[-1]

    def value(self, column: str, snapshot: int = -1) -> float | None:
        return self.snapshots[snapshot].criteria.get(column) if self.snapshots else None


@closed
@dataclass(frozen=True)
class PoolFacts:
    """What a pool's trials share."""

    data: str  # the packed data set's name
    criteria: dict[str, Criterion]  # by name
    protocol: Protocol
    probes: dict[str, ProbeDefinition]  # empty where nothing was probed, or labels may not be seen
    test_sources: int  # source images in test
    identity: str  # of the study: its search space, sampler, criterion and protocol
    default: str | None  # the default configuration, where the study has one
    label_files: dict[str, Config]  # label budget -> its file's checksum and how it was scored


@dataclass(frozen=True)
class Pool(PoolFacts):
    """Trials that were measured alike."""

    name: str  # of the study
    members: list[TrialResult]

    @cached_property
    def healthy(self) -> list[TrialResult]:
        """Finished trials that didn't collapse, each once however often it was proposed."""
        return self._once("complete")

    @cached_property
    def finished(self) -> list[TrialResult]:
        """Healthy and collapsed trials: everything that has weights worth measuring."""
        return self._once("complete", "collapsed")

    def _once(self, *states: str) -> list[TrialResult]:
        first: dict[str, TrialResult] = {}
        for member in self.members:
            if member.status in states:
                first.setdefault(member.trial, member)
        return list(first.values())

    @property
    def methods(self) -> list[str]:
        return sorted({member.method for member in self.members})


def repetitions(members: list[TrialResult]) -> dict[str, list[TrialResult]]:
    """configuration -> its trials, in the order of their proposal."""
    repeated: dict[str, list[TrialResult]] = {}
    for member in members:
        repeated.setdefault(member.configuration, []).append(member)
    return repeated


def joined(pool: Pool, repeated: Pool) -> Pool:
    """The pool with the trials of another that repeats some of its configurations; their numbers follow on."""
    first = 1 + max(member.number for member in pool.members)
    have = {member.trial for member in pool.members}
    more = [replace(m, number=first + i) for i, m in enumerate(repeated.members) if m.trial not in have]
    return replace(pool, members=[*pool.members, *more])
