"""Synthetic pools: trials with the values, seeds, costs and labelled quality that a test wants."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from src.evaluation.criterion import CollapseGate, Criterion, Protocol
from src.runtime.settings import hold
from src.study.pool import Floats, Pool, Snapshot, TrialResult
from src.study.results import ProbeDefinition, Status
from tests.criteria.inputs import CONFIGS

SMALL = ("consensus", "heldout_loss", "lidar", "participation_ratio", "rankme", "train_loss")
DEFINITIONS = {name: hold(name, config, Criterion) for name, config in CONFIGS.items()}
DEFINITIONS["consensus"] = replace(DEFINITIONS["consensus"], columns=["lidar_z", "participation_ratio_h", "rankme_h"])
PROTOCOL = Protocol(
    images=64,
    pairwise_images=64,
    views=2,
    halves=4,
    seed=0,
    collapse=CollapseGate(spread=0.2, rank=1.1),
    reference={"_target_": "src.augmentation.views.Augmentation"},
)
COLUMNS = ("lidar_h", "lidar_z", "participation_ratio_h", "participation_ratio_z", "rankme_h", "rankme_z")


def member(
    number: int,
    values: dict[str, float] | None = None,
    *,
    earlier: list[dict[str, float]] | None = None,
    right: Floats | None = None,
    earlier_right: list[Floats] | None = None,
    losses: list[float] | None = None,
    quality: str = "linear",
    flops: float = 1e12,
    status: Status = "complete",
    **other: Any,
) -> TrialResult:
    """A trial with these criteria at its end, and ``earlier`` ones before; a third of the cost for each of three."""
    criteria = [*(earlier or []), values or {}]
    before: list[Floats | None] = [*earlier_right] if earlier_right else [None] * (len(criteria) - 1)
    rights = [*before, right]
    lost = losses or [1.0 / (1 + number) for _ in criteria]
    trained = status in ("complete", "collapsed")
    snapshots = [
        Snapshot(
            step=100 * (k + 1),
            images=6400 * (k + 1),
            flops=flops * (k + 1) / len(criteria),
            loss=loss,
            criteria=found,
            probes={} if score is None else {quality: {"top1": float(score.mean())}},
            right={} if score is None else {quality: score},
        )
        for k, (found, score, loss) in enumerate(zip(criteria, rights, lost, strict=True))
    ]
    plain: dict[str, Any] = {
        "trial": f"{number:016x}",
        "configuration": f"c{number}",
        "seed": 0,
        "method": "simclr",
        "reason": "" if status == "complete" else f"it {status}",
        "overrides": [],
        "knobs": {"optimizer.learning_rate": 0.001 * (1 + number)},
        "dimensions": {"h": 64, "z": 32},
        "loss_definition": "one",
        "numerics": {"torch": "2.11.0", "source": "abc", "device": "cpu", "threads": 1},
        "evaluation_flops": 1e9,
        "seconds": 10.0,
        "halves": {},
        "refused": {},
        "budgets": {},
    }
    return TrialResult(number=number, status=status, snapshots=snapshots if trained else [], **plain | other)


def pool(
    members: list[TrialResult], *, name: str = "made", data: str = "digits", criteria: tuple[str, ...] = SMALL
) -> Pool:
    """A pool with the project's own definitions of some criteria, and a consensus of columns that these pools have."""
    return Pool(
        name=name,
        data=data,
        criteria={criterion: DEFINITIONS[criterion] for criterion in criteria},
        protocol=PROTOCOL,
        probes={"linear": ProbeDefinition({"seed": 0}, "all")},
        members=members,
        test_sources=50,
        identity="made",
        default="c0",
        label_files={},
    )


def answers(quality: Floats, sources: int, *, seed: int) -> Floats:
    """(trials, sources): whether each source image was right, with these probabilities."""
    draws = np.random.default_rng(seed).random((len(quality), sources))
    return (draws < quality[:, None]).astype(float)


def planted(
    *,
    seed: int,
    configurations: int = 12,
    repeated: int = 0,
    sources: int = 80,
    truth: tuple[str, ...] = ("lidar_z",),
    noise: float = 0.1,
    method: str = "simclr",
    **other: Any,
) -> Pool:
    """Random configurations whose ``truth`` columns order them as quality does, the others not at all.

    ``repeated`` of them have a second seed, proposed after all the rest. The loss rises with quality. Label budgets
    5-0 and 5-1 know quality roughly, all knows it.
    """
    rng = np.random.default_rng([seed, 1])
    quality = rng.permutation(np.linspace(0.3, 0.9, configurations))
    members = []
    for number in range(configurations + repeated):
        c = number % configurations
        level = (quality[c] - 0.6) * 5
        values = {
            column: float(10 + rng.normal(0, noise) + (level if column in truth else rng.normal(0, 1)))
            for column in COLUMNS
        }
        right = answers(quality[[c, c, c]], sources, seed=1000 * seed + number)
        values["train_loss"] = values["heldout_loss"] = float(quality[c] + rng.normal(0, noise / 10))
        members.append(
            member(
                number,
                values,
                earlier=[{column: 0.5 * value for column, value in values.items()}] * 2,
                right=right[2],
                earlier_right=[right[0] * 0.5, right[1] * 0.8],
                losses=[3.0, 2.0, values["train_loss"]],
                configuration=f"c{c}",
                method=method,
                seed=number // configurations,
                overrides=[f"optimizer.learning_rate={0.001 * (1 + c)}"],
                knobs={"optimizer.learning_rate": 0.001 * (1 + c), "batch_size": int(rng.choice([64, 128]))},
                halves={c: (v + rng.normal(0, noise, 4)).tolist() for c, v in values.items()},
                budgets={
                    "5-0": float(quality[c] + rng.normal(0, 0.1)),
                    "5-1": float(quality[c] + rng.normal(0, 0.1)),
                    "all": float(quality[c]),
                },
            )
        )
    return pool(members, **other)
