from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from pydantic import ConfigDict, with_config
from torch import Tensor
from typing_extensions import TypedDict

from src.probes.knn import knn as knn_probe
from src.probes.labelled import Labelled, Score, check_splits
from src.probes.linear import linear as linear_probe
from src.runtime import check
from src.runtime.rng import generator


@with_config(ConfigDict(extra="forbid"))
class KnnSettings(TypedDict):
    k: int
    temperature: float


@with_config(ConfigDict(extra="forbid"))
class LinearSettings(TypedDict):
    strengths: Sequence[float]
    seed: int


def cross_validated(
    fitted: Labelled, scored: Labelled, *, folds: int, seed: int, knn: KnnSettings, linear: LinearSettings
) -> Score:
    """Accuracy of kNN and the linear probe on held-out folds of ``fitted`` alone, with standard errors over folds.

    ``knn`` and ``linear`` are those probes' settings. The linear probe chooses its strength inside each fold, on groups
    of the other folds, so that no score has seen its own labels. For data with one small labelled split.
    """
    check_splits("cross_validated", fitted)
    fold = assign_folds("cross_validated", fitted, folds=folds, seed=seed)
    accuracies: dict[str, list[float]] = {"knn": [], "linear": []}
    for number in range(folds):
        inside, outside = fitted.where(fold != number), fitted.where(fold == number)
        accuracies["knn"].append(knn_probe(inside, outside, **knn).numbers["top1"])
        accuracies["linear"].append(linear_probe(inside, outside, **linear).numbers["top1"])
    numbers: dict[str, float] = {}
    for name, values in accuracies.items():
        over_folds = torch.tensor(values, dtype=torch.float64)
        numbers |= {name: float(over_folds.mean()), f"{name}_error": float(over_folds.std() / folds**0.5)}
    for name, values in accuracies.items():
        numbers |= {f"{name}_fold_{number}": value for number, value in enumerate(values)}
    return Score(numbers, None)


def assign_folds(probe: str, split: Labelled, *, folds: int, seed: int) -> Int[Tensor, "n"]:
    """The fold of each image: whole groups, those of a class dealt out evenly. Raises ValueError on too few groups."""
    groups, index = split.groups.unique(return_inverse=True)
    check.number(f"probe.{probe}.score.folds", folds, at_least=2, at_most=len(groups), whole=True)
    # a group of several classes counts as the one with the largest number
    largest = torch.zeros_like(groups).scatter_reduce(0, index, split.classes, "amax", include_self=False)
    order = torch.randperm(len(groups), generator=generator(seed, "folds"))
    # stable: within a class the groups stay in random order
    by_class = order[largest[order].argsort(stable=True)]
    fold = torch.zeros_like(groups)
    fold[by_class] = torch.arange(len(groups)) % folds
    return fold[index]
