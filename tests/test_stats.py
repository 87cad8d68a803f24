from __future__ import annotations

import numpy as np
import pytest

from src.stats import accuracy, by_group, cross_fitted_regret, kendall


def test_copies_of_a_source_count_once() -> None:
    correct = np.array([True, True, False, True, False, False])
    group = np.array([7, 7, 7, 3, 3, 9])
    assert by_group(correct, group).tolist() == pytest.approx([0.5, 2 / 3, 0.0])
    assert by_group(np.stack([correct, ~correct]), group).shape == (2, 3)


def test_standard_error_is_that_of_a_mean_of_sources() -> None:
    estimate = accuracy(np.array([0.0, 1.0, 1.0, 0.0]))
    assert estimate.value == 0.5
    assert estimate.error == pytest.approx(np.sqrt(1 / 3) / 2)


def test_cross_fitting_removes_the_optimism_of_the_maximum() -> None:
    """Equal trials: the naive regret of a fixed pick is the winner's curse, the cross-fitted one is zero."""
    rng = np.random.default_rng(0)
    naive, fitted = [], []
    for seed in range(40):
        scores = (rng.random((16, 100)) < 0.5).astype(float)
        naive.append(scores.mean(1).max() - scores.mean(1)[0])
        fitted.append(cross_fitted_regret(scores, np.array([0]), halvings=5, seed=seed)[0])
    assert np.mean(naive) > 0.06
    assert abs(np.mean(fitted)) < 0.02


def test_regret_of_clearly_separated_trials_is_their_difference() -> None:
    scores = np.stack([np.full(50, 0.2), np.full(50, 0.9), np.full(50, 0.5)])
    assert cross_fitted_regret(scores, np.array([0, 1, 2]), halvings=3, seed=0).tolist() == pytest.approx([0.7, 0, 0.4])


def test_kendall_and_its_interval() -> None:
    quality = np.linspace(0.1, 0.9, 12)
    rng = np.random.default_rng(0)
    per_source = (rng.random((12, 400)) < quality[:, None]).astype(float)
    tau, low, high = kendall(np.arange(12.0), per_source, resamples=200, seed=0)
    assert tau > 0.9 and 0.6 < low <= tau <= high <= 1
    tau, low, high = kendall(np.array([0.0, 11, 1, 10, 2, 9, 3, 8, 4, 7, 5, 6]), per_source, resamples=200, seed=0)
    assert low < 0 < high and abs(tau) < 0.2
    assert all(np.isnan(value) for value in kendall(np.arange(2.0), per_source[:2], resamples=100, seed=0))
