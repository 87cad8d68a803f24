"""A pool: the trials of a study as selection and report see them, whether read from the store or from a kept table."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LABELS = "labels_"  # labels_5-0: the column of a label budget's skill, measured by src.budget


@dataclass(frozen=True)
class Snapshot:
    """One evaluation of one trial. Probes and right are empty where nobody probed, or nobody may look."""

    step: int
    images: int  # seen in training
    flops: float
    loss: float | None
    criteria: dict[str, float]  # column -> value, refused ones left out
    probes: dict[str, dict[str, float]] = field(default_factory=dict)  # probe -> its numbers
    right: dict[str, Floats] = field(default_factory=dict)  # probe -> share right of each source image of val
    facts: dict[str, float] = field(default_factory=dict)  # what a criterion states beside its value: alpha_req_h.r2
    collapsed: bool = False  # by the gate


@dataclass(frozen=True)
class TrialResult:
    """One trial of a pool."""

    number: int  # in its study
    trial: str  # its hash
    configuration: str  # a hash of everything but the seed: trials that share it are repetitions
    seed: int
    method: str
    status: str  # complete, collapsed, diverged, stopped
    reason: str
    overrides: list[str]
    knobs: dict[str, Any]  # the flat configuration
    dimensions: dict[str, int]  # of h and z
    loss_definition: str
    numerics: dict[str, Any]  # torch release, checksum of the training code, device, threads
    evaluation_flops: float
    seconds: float | None  # of training; machines differ, so nothing is decided by it
    snapshots: list[Snapshot]
    halves: dict[str, list[float]]  # column -> its values on random halves of the images, last snapshot
    refused: dict[str, str]  # column -> why it has no value on the last snapshot
    budgets: dict[str, float]  # label budget, as 5-0 (per class - draw) -> cross-validated skill

    @property
    def last(self) -> Snapshot:
        return self.snapshots[-1]

    def value(self, column: str, snapshot: int = -1) -> float | None:
        return self.snapshots[snapshot].criteria.get(column) if self.snapshots else None


@dataclass(frozen=True)
class Pool:
    """Trials that were measured alike. ``criteria`` holds the definitions in conf/criterion/, by name."""

    name: str
    data: str
    criteria: dict[str, dict[str, Any]]
    protocol: dict[str, Any]
    probes: dict[str, Any]
    members: list[TrialResult]
    test_sources: int = 0
    identity: str = ""  # of the study: its search space, sampler, criterion and protocol
    default: str | None = None  # the default configuration, where the study has one
    label_files: dict[str, Any] = field(
        default_factory=dict
    )  # label budget -> its file's checksum and how it was scored

    @cached_property
    def healthy(self) -> list[TrialResult]:
        """Finished trials that didn't collapse, each once however often it was proposed."""
        return self._once("complete")

    @cached_property
    def finished(self) -> list[TrialResult]:
        """Healthy and collapsed trials: everything that has weights worth measuring."""
        return self._once("complete", "collapsed")

    def _once(self, *states: str) -> list[TrialResult]:
        found: dict[str, TrialResult] = {}
        for member in self.members:
            if member.status in states:
                found.setdefault(member.trial, member)
        return list(found.values())

    @property
    def methods(self) -> list[str]:
        return sorted({member.method for member in self.members})


def repetitions(members: list[TrialResult]) -> dict[str, list[TrialResult]]:
    """configuration -> its trials, in the order of their proposal."""
    found: dict[str, list[TrialResult]] = {}
    for member in members:
        found.setdefault(member.configuration, []).append(member)
    return found


def joined(pool: Pool, repeated: Pool) -> Pool:
    """The pool with the trials of another that repeats some of its configurations; their numbers follow on."""
    first = 1 + max(member.number for member in pool.members)
    have = {member.trial for member in pool.members}
    more = [replace(m, number=first + i) for i, m in enumerate(repeated.members) if m.trial not in have]
    return replace(pool, members=[*pool.members, *more])
