from __future__ import annotations

import numpy as np
import pytest

from src.runtime.stats import accuracy, by_group, interval


def test_copies_of_a_source_count_once() -> None:
    correct = np.array([True, True, False, True, False, False])
    group = np.array([7, 7, 7, 3, 3, 9])
    assert by_group(correct, group).tolist() == pytest.approx([0.5, 2 / 3, 0.0])


def test_standard_error_is_that_of_a_mean_of_sources() -> None:
    estimate = accuracy(np.array([0.0, 1.0, 1.0, 0.0]))
    assert estimate.value == 0.5
    assert estimate.error == pytest.approx(np.sqrt(1 / 3) / 2)


def test_standard_error_is_the_deviation_of_repeated_means() -> None:
    rng = np.random.default_rng(0)
    estimates = [accuracy((rng.random(200) < 0.8).astype(float)) for _ in range(400)]
    deviation = np.std([estimate.value for estimate in estimates])
    assert np.mean([estimate.error for estimate in estimates]) == pytest.approx(deviation, rel=0.1)


def test_an_interval_holds_the_middle_95_percent_of_what_is_finite() -> None:
    values = np.random.default_rng(0).permutation(np.arange(1001.0))
    assert interval(values) == pytest.approx((25, 975))
    assert interval(np.concatenate([values, [np.nan, np.inf, -np.inf]])) == pytest.approx((25, 975))
    assert interval(np.array([3.0])) == (3, 3)
    assert interval(np.array([np.nan])) is None and interval(np.zeros(0)) is None
