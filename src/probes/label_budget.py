from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from src.runtime import check
from src.runtime.rng import generator


class LabelBudget(NamedTuple):
    """Cross-validated numbers of a few labels; ``halves`` are the skills on random halves of their groups."""

    accuracy: float
    skill: float
    halves: list[float]


def label_budget(
    features: Float[Tensor, "n v d"],
    classes: Int[Tensor, "n"],
    groups: Int[Tensor, "n"],
    *,
    folds: int,
    strengths: Sequence[float],
    halves: int,
    seed: int,
) -> LabelBudget:
    """How well features tell the classes apart, fitted AND scored on the few labels there are, by cross-validation.

    Ridge regression onto the one-hot classes of standardised features; folds never split a group. With one group of
    some class there is nothing to hold out but views: then v > 1 views of each image are spread over the folds.
    ``skill`` is 1 - squared error / that of predicting the class frequencies, which tells trials apart where the
    accuracy of a few images ties; the best of ``strengths``, a little too high alike for all trials. A half's
    skill deviates from their mean by as much as scoring other images would move the whole; that they would be fitted to
    as well adds to it. Raises ValueError where nothing can be held out.
    """
    check.number("folds", folds, at_least=2, whole=True)
    check.number("halves", halves, at_least=0, whole=True)
    check.listed("strengths", strengths)
    for strength in strengths:
        check.number("strengths", strength, above=0)
    if len(groups.unique()) < 2:
        raise ValueError("labelled images of one group (source, patient) leave nothing to hold out: label another")
    _n, v, _ = features.shape
    x = features.flatten(0, 1).double()
    y = F.one_hot(classes.unique(return_inverse=True)[1]).double().repeat_interleave(v, 0)
    # a feature that never varies stays 0
    x = (x - x.mean(0)) / x.std(0).clamp_min(1e-8)
    fold = _folds(classes, groups, v, folds, seed)
    prior = torch.zeros_like(y)
    for k in fold.unique():
        prior[fold == k] = y[fold != k].mean(0)
    chosen = _halves(groups.repeat_interleave(v), halves, seed)
    best = LabelBudget(0.0, float("-inf"), [])
    for strength in strengths:
        predicted = torch.zeros_like(y)
        for k in fold.unique():
            inside = fold == k
            predicted[inside] = prior[inside] + _ridge(x[~inside], y[~inside] - y[~inside].mean(0), strength, x[inside])
        error, of_prior = (y - predicted).square().sum(1), (y - prior).square().sum(1)
        skill = 1 - float(error.sum() / of_prior.sum())
        if skill > best.skill:
            right = predicted.argmax(1) == y.argmax(1)
            skills = (1 - chosen @ error / (chosen @ of_prior)).tolist()
            best = LabelBudget(float(right.double().mean()), skill, skills)
    return best


def _halves(groups: Tensor, count: int, seed: int) -> Float[Tensor, "halves n"]:
    """1 where an image is in a random half of the groups; the same halves for all trials."""
    unique, place = groups.unique(return_inverse=True)
    random = generator(seed, "label budget halves", 0)
    inside = torch.zeros(count, len(unique), dtype=torch.float64)
    for half in inside:
        half[torch.randperm(len(unique), generator=random)[: len(unique) // 2]] = 1
    return inside[:, place]


def _ridge(x: Tensor, y: Tensor, strength: float, queries: Tensor) -> Tensor:
    """Solved in the smaller of the two spaces; ``strength`` is relative to the number of samples."""
    n, d = x.shape
    if n < d:
        kernel = x @ x.T + strength * n * torch.eye(n, dtype=x.dtype)
        return queries @ (x.T @ torch.linalg.solve(kernel, y))
    gram = x.T @ x + strength * n * torch.eye(d, dtype=x.dtype)
    return queries @ torch.linalg.solve(gram, x.T @ y)


def _folds(classes: Tensor, groups: Tensor, views: int, folds: int, seed: int) -> Int[Tensor, "nv"]:
    """The fold of every view of every image: whole groups of a class in turn, or views where a class has one group."""
    per_class = [groups[classes == label].unique() for label in classes.unique()]
    fewest = min(len(unique) for unique in per_class)
    if fewest < 2:
        if views < 2:
            raise ValueError("one labelled image of a class leaves nothing to hold out: raise views to at least 2")
        return torch.arange(views).remainder(min(folds, views)).repeat(len(classes))
    fold = torch.empty(len(classes), dtype=torch.int64)
    for number, unique in enumerate(per_class):
        order = unique[torch.randperm(len(unique), generator=generator(seed, "label budget", number))]
        for place, group in enumerate(order.tolist()):
            fold[groups == group] = place % min(folds, fewest)
    return fold.repeat_interleave(views)
