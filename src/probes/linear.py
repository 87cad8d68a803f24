from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from src.probes.labelled import Labelled, Score, check_splits, top1
from src.runtime import check
from src.runtime.rng import generator

HELD_OUT = 3  # one group in three is held out to choose the regularisation
CHOOSING, FITTING = 1e-4, 1e-8  # loss that the last Newton step may still gain: comparing strengths needs fewer steps
NEWTON_STEPS, INNER_STEPS = 100, 250  # never reached on real features: nothing runs for ever


class Logistic(NamedTuple):
    """A fitted classifier of standardised features; the last column of the weights is the bias."""

    mean: Float[Tensor, "d"]
    scale: Float[Tensor, "d"]
    weights: Float[Tensor, "c d+1"]
    classes: Int[Tensor, "c"]


def linear(fitted: Labelled, scored: Labelled, *, strengths: Sequence[float], seed: int) -> Score:
    """Accuracy of multinomial logistic regression on standardised frozen features.

    The L2 strength (per-image loss + strength/2 |W|^2) is chosen on held-out groups of ``fitted``; the fit on all of
    ``fitted`` follows. Raises ValueError on fewer than 2 groups or no strength.
    """
    check_splits("linear", fitted, scored)
    check.listed("probe.linear.score.strengths", strengths)
    for strength in strengths:
        check.number("probe.linear.score.strengths", strength, above=0)
    mean, scale = moments(fitted.features)
    x = _design(fitted.features, mean, scale)
    classes, index = fitted.classes.unique(return_inverse=True)
    held_out = _held_out(fitted.groups, seed)
    strength, start = _choose(x, index, held_out, strengths, torch.zeros(len(classes), x.shape[1]))
    weights = _minimise(_problem(x, index, len(classes)), strength, start, FITTING)
    accuracy, right = top1(predict_logistic(Logistic(mean, scale, weights, classes), scored.features), scored)
    return Score({"top1": accuracy, "strength": strength}, right)


def moments(features: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "d"], Float[Tensor, "d"]]:
    """Mean and standard deviation that features are standardised with."""
    double = features.double()
    return double.mean(0), double.std(0, correction=0).clamp_min(1e-8)


def fit_logistic(
    features: Float[Tensor, "n d"],
    classes: Int[Tensor, "n"],
    standard: tuple[Float[Tensor, "d"], Float[Tensor, "d"]],
    *,
    strength: float,
) -> Logistic:
    """One fit of a given strength on features standardised by ``standard``, usually ``moments(features)``."""
    x = _design(features, *standard)
    present, index = classes.unique(return_inverse=True)
    start = torch.zeros(len(present), x.shape[1])
    return Logistic(*standard, _minimise(_problem(x, index, len(present)), strength, start, FITTING), present)


def predict_logistic(fit: Logistic, features: Float[Tensor, "m d"]) -> Int[Tensor, "m"]:
    """Predicted classes."""
    return fit.classes[(_design(features, fit.mean, fit.scale) @ fit.weights.T).argmax(1)]


def _held_out(groups: Tensor, seed: int) -> Tensor:
    unique = groups.unique()
    if len(unique) < 2:
        raise ValueError("the linear probe needs at least 2 source images in probe to choose its regularisation")
    order = unique[torch.randperm(len(unique), generator=generator(seed, "linear probe"))]
    return torch.isin(groups, order[: max(1, len(unique) // HELD_OUT)])


def _design(features: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Standardised, with a column of ones for the bias, (n, d+1). What rounding the mean shifts, the bias takes."""
    x = torch.ones(len(features), features.shape[1] + 1)
    torch.sub(features, mean.float(), out=x[:, :-1]).mul_((1 / scale).float())
    return x


def _choose(
    x: Tensor, classes: Tensor, held_out: Tensor, strengths: Sequence[float], start: Tensor
) -> tuple[float, Tensor]:
    """The strength that scores best on held-out images, the largest in a tie, and its weights."""
    inner, weights = _problem(x[~held_out], classes[~held_out], len(start)), start
    strength, best, accuracy_of_best = 0.0, start, -1.0
    for candidate in sorted(strengths, reverse=True):  # from simple to complex, each starting from the last
        weights = _minimise(inner, candidate, weights, CHOOSING)
        accuracy = float(((x[held_out] @ weights.T).argmax(1) == classes[held_out]).double().mean())
        if accuracy > accuracy_of_best:
            strength, best, accuracy_of_best = candidate, weights, accuracy
    return strength, best


class _Problem(NamedTuple):
    x: Float[Tensor, "n d"]  # the last column is 1, its weight the bias
    transposed: Float[Tensor, "d n"]
    truth: Float[Tensor, "c n"]  # 1 at each image's class
    gram: Float[Tensor, "d d"]


def _problem(x: Tensor, classes: Tensor, count: int) -> _Problem:
    transposed = x.T.contiguous()
    truth = torch.zeros(count, len(x))
    truth[classes, torch.arange(len(x))] = 1
    return _Problem(x, transposed, truth, (transposed @ x / len(x)).double())


def _minimise(problem: _Problem, strength: float, weights: Tensor, tolerance: float) -> Float[Tensor, "c d"]:
    """Weights of the smallest regularised cross entropy; the bias isn't regularised.

    Newton's method, each step solved roughly by conjugate gradients (Nocedal & Wright, 2nd ed., 7.1): a third of the
    products with x that L-BFGS takes, and no error left that shows in the accuracy.
    """
    x, _, truth, _ = problem
    penalty = torch.full((x.shape[1],), strength)
    penalty[-1] = 0
    value, p = _loss(weights, problem, penalty)
    inverse = _preconditioner(problem.gram, p, strength)
    for _ in range(NEWTON_STEPS):
        gradient = torch.addmm(penalty * weights, p - truth, x, alpha=1 / len(x))
        step = _newton_step(gradient, p, problem, penalty, inverse)
        slope, size = float(torch.vdot(step.view(-1), gradient.view(-1))), 1.0
        while True:
            tried, probabilities = _loss(weights + size * step, problem, penalty)
            # the loss is convex: a short enough step always gains; the last term is float32's rounding
            if tried <= value + 1e-4 * size * slope + 1e-6 * abs(value) or size < 1e-6:
                break
            size /= 2
        weights, value, p = weights + size * step, tried, probabilities
        if -slope / 2 < tolerance:
            break
    return weights


def _loss(weights: Tensor, problem: _Problem, penalty: Tensor) -> tuple[float, Float[Tensor, "c n"]]:
    """Regularised cross entropy, and the probabilities."""
    scores = weights @ problem.transposed
    # so that exp can't overflow; it cancels between the two terms of the value
    scores -= scores.amax(0)
    own = torch.vdot(scores.view(-1), problem.truth.view(-1))
    total = scores.exp_().sum(0)
    value = (total.log().sum() - own) / len(problem.x) + (penalty * weights.square()).sum() / 2
    return float(value), scores.div_(total)


def _preconditioner(gram: Tensor, p: Tensor, strength: float) -> Float[Tensor, "d d"]:
    """Inverse of the Hessian's diagonal block where every image and class curves the loss by the mean p (1 - p)."""
    curved = gram * float((p - p.square()).mean())
    curved.diagonal().add_(max(strength, 1e-6 * float(curved.diagonal().mean()), 1e-12))  # never singular
    return torch.cholesky_inverse(torch.linalg.cholesky(curved)).float()


def _newton_step(gradient: Tensor, p: Tensor, problem: _Problem, penalty: Tensor, inverse: Tensor) -> Tensor:
    """-Hessian^-1 gradient by preconditioned conjugate gradients, until the residual's norm is halved."""
    x, transposed, _, _ = problem
    step, residual, weight = torch.zeros_like(gradient), -gradient, p / len(x)
    towards = residual @ inverse
    left = first = float(torch.vdot(residual.view(-1), towards.view(-1)))
    for _ in range(INNER_STEPS):
        if left <= 0 or left < 0.25 * first:
            break
        along = towards @ transposed
        along -= (p * along).sum(0)
        curved = torch.addmm(penalty * towards, along.mul_(weight), x)
        bend = float(torch.vdot(towards.view(-1), curved.view(-1)))
        if bend <= 0:  # float32's rounding, where the loss is flat
            break
        size = left / bend
        step.add_(towards, alpha=size)
        residual.sub_(curved, alpha=size)
        solved = residual @ inverse
        before, left = left, float(torch.vdot(residual.view(-1), solved.view(-1)))
        towards = torch.add(solved, towards, alpha=left / before)
    return step
