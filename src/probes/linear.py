from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from src import check
from src.rng import generator

ITERATIONS = 100
HELD_OUT = 3  # one source in three is held out to choose the regularisation


def linear(
    bank: Float[Tensor, "n d"],
    labels: Int[Tensor, "n"],
    groups: Int[Tensor, "n"],
    queries: Float[Tensor, "m d"],
    *,
    strengths: Sequence[float],
    seed: int,
) -> Int[Tensor, "m"]:
    """Predicted classes of ``queries`` by multinomial logistic regression on standardised frozen features.

    The L2 strength (per-sample loss + strength/2 |W|^2) is chosen on held-out sources of ``bank``; the fit on all of
    ``bank`` follows. Raises ValueError on fewer than 2 sources or no strength.
    """
    mean, std = bank.double().mean(0), bank.double().std(0).clamp_min(1e-8)
    x = (bank - mean) / std
    strength = best_strength(x, labels, groups, strengths=strengths, seed=seed)
    return _predict((queries - mean) / std, _fit(x, labels, strength, _start(x, labels)))


def best_strength(
    x: Float[Tensor, "n d"],
    labels: Int[Tensor, "n"],
    groups: Int[Tensor, "n"],
    *,
    strengths: Sequence[float],
    seed: int,
) -> float:
    """The strength that scores best on held-out sources, the largest in a tie."""
    if not strengths:
        raise ValueError("probe.linear.strengths must name at least one value")
    for strength in strengths:
        check.number("probe.linear.strengths", strength, above=0)
    descending = sorted(strengths, reverse=True)
    held_out = _held_out(groups, seed)
    weights, scores = _start(x, labels), []
    for strength in descending:
        weights = _fit(x[~held_out], labels[~held_out], strength, weights)
        scores.append(float((_predict(x[held_out], weights) == labels[held_out]).double().mean()))
    return descending[int(np.argmax(scores))]


def _start(x: Tensor, labels: Tensor) -> Tensor:
    return torch.zeros(x.shape[1] + 1, int(labels.max()) + 1, dtype=torch.float64)


def _held_out(groups: Tensor, seed: int) -> Tensor:
    unique = groups.unique()
    if len(unique) < 2:
        raise ValueError("the linear probe needs at least 2 source images in probe to choose its regularisation")
    order = unique[torch.randperm(len(unique), generator=generator(seed, "linear probe"))]
    return torch.isin(groups, order[: max(1, len(unique) // HELD_OUT)])


def _fit(x: Tensor, labels: Tensor, strength: float, start: Tensor) -> Tensor:
    """Minimise the regularised cross entropy; the last row of the weights is the unregularised bias."""
    weights = start.clone().requires_grad_()
    solver = torch.optim.LBFGS(
        [weights], max_iter=ITERATIONS, tolerance_grad=1e-5, tolerance_change=1e-9, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        solver.zero_grad()
        loss = F.cross_entropy(x @ weights[:-1] + weights[-1], labels) + strength / 2 * weights[:-1].square().sum()
        loss.backward()
        return loss

    solver.step(closure)
    return weights.detach()


def _predict(x: Tensor, weights: Tensor) -> Tensor:
    return (x @ weights[:-1] + weights[-1]).argmax(-1)
