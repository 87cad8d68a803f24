from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from src.probes.cross_validated import assign_folds
from src.probes.labelled import Labelled, Score, check_splits
from src.probes.linear import moments
from src.runtime import check


def ridge(fitted: Labelled, scored: Labelled, *, strengths: Sequence[float], folds: int, seed: int) -> Score:
    """R^2 of ridge regression from standardised features onto every continuous factor, and their mean.

    The strength (mean squared error + strength |w|^2) is chosen per factor on folds of groups inside ``fitted``. A
    factor that is constant in either split has nothing to be explained and is left out; no factor, no numbers.
    """
    check_splits("ridge", fitted, scored)
    check.listed("probe.ridge.score.strengths", strengths)
    for strength in strengths:
        check.number("probe.ridge.score.strengths", strength, above=0)
    fold = assign_folds("ridge", fitted, folds=folds, seed=seed)
    varying = [name for name in fitted.factors if all(len(s.factors[name].unique()) > 1 for s in (fitted, scored))]
    if not varying:
        return Score({}, None)
    mean, scale = moments(fitted.features)
    x, queries = (fitted.features - mean) / scale, (scored.features - mean) / scale
    y, truth = (torch.stack([split.factors[name].double() for name in varying], 1) for split in (fitted, scored))
    y_mean, y_scale = moments(y)
    y, truth = (y - y_mean) / y_scale, (truth - y_mean) / y_scale

    error = torch.zeros(len(strengths), len(varying), dtype=torch.float64)
    for number in range(folds):
        inside, outside = fold != number, fold == number
        predicted = fit_ridge(x[inside], y[inside], x[outside], strengths)
        error += (predicted - y[outside]).square().sum(1)
    predicted = fit_ridge(x, y, queries, strengths)[error.argmin(0), :, torch.arange(len(varying))].T
    r2 = 1 - (truth - predicted).square().sum(0) / (truth - truth.mean(0)).square().sum(0)
    return Score({"r2": float(r2.mean()), **{f"r2_{n}": float(v) for n, v in zip(varying, r2, strict=True)}}, None)


def fit_ridge(
    x: Float[Tensor, "n d"], y: Float[Tensor, "n f"], queries: Float[Tensor, "m d"], strengths: Sequence[float]
) -> Float[Tensor, "s m f"]:
    """Predictions for every strength from one eigendecomposition; the intercept isn't regularised."""
    centre = x.mean(0)
    centred = x - centre
    value, vector = torch.linalg.eigh(centred.T @ centred / len(x))
    target = vector.T @ (centred.T @ (y - y.mean(0)) / len(x))
    rotated = (queries - centre) @ vector
    # rounding may leave an eigenvalue below 0
    shrunk = [target / (value.clamp_min(0) + strength)[:, None] for strength in strengths]
    return torch.stack([rotated @ weights for weights in shrunk]) + y.mean(0)
