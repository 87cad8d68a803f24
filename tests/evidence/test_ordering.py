"""What the page shows first, with names that decide between equals: the file's order of keys decides nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from src.evidence.findings import Findings, MeanOverPools
from src.evidence.ordering import (
    columns_by_noise,
    columns_by_rho,
    label_budgets,
    shared_knobs,
    ways_by_rho,
    ways_in_order,
)
from src.evidence.rule_validation import findings
from src.evidence.settings import Settings
from src.runtime.settings import hold
from tests.composed import plain_of
from tests.pools import planted


@pytest.fixture(scope="module")
def found() -> Findings:
    plain = plain_of("rule.largest=1", "halvings=2", "resamples=100", stage="evidence")
    return findings([planted(seed=0), planted(seed=1, data="shapes", repeated=4)], [], hold("", plain, Settings))


def with_means(found: Findings, **ways: MeanOverPools) -> Findings:
    return replace(found, means={"all": ways})


def mean(over_random: float | None, rho: float | None) -> MeanOverPools:
    return MeanOverPools(regret=0.1, over_range=0.1, over_random=over_random, tau=rho, rho=rho, top=0.5)


def test_ways_are_in_the_order_of_their_figures_and_equals_in_that_of_their_names(found: Findings) -> None:
    ways = {"c": mean(0.5, 0.1), "b": mean(0.2, 0.9), "a": mean(0.5, 0.1), "d": mean(None, None)}
    for order in (ways, dict(reversed(ways.items()))):
        assert ways_in_order(with_means(found, **order)) == ["b", "a", "c"]
        assert ways_by_rho(with_means(found, **order)) == ["b", "a", "c"]


def test_label_budgets_are_from_few_to_all(found: Findings) -> None:
    names = ["labels: all of probe", "labels: 10 per class", "labels: 5 per class", "lidar_z"]
    assert label_budgets(with_means(found, **dict.fromkeys(names, mean(0.1, 0.1)))) == [names[2], names[1], names[0]]


def test_columns_of_a_pool_are_those_that_were_judged_best_first(found: Findings) -> None:
    pool = found.pools[0]
    rhos = columns_by_rho(pool)
    assert rhos[0][0] == "lidar_z"  # which knows quality
    assert {name for name, _ in rhos} == set(pool.noise_floor)
    assert [rho for _, rho in rhos] == sorted((rho for _, rho in rhos), reverse=True)


def test_seed_noise_is_the_mean_over_the_pools_that_know_it(found: Findings) -> None:
    noise = dict(columns_by_noise(found))
    assert noise == found.pools[1].noise_floor  # nothing was repeated in the other
    floors: dict[str, float | None] = {"lidar_z": 0.5}
    both = replace(found, pools=[replace(found.pools[0], noise_floor=floors), found.pools[1]])
    own = found.pools[1].noise_floor["lidar_z"]
    assert own is not None and dict(columns_by_noise(both))["lidar_z"] == pytest.approx((0.5 + own) / 2)


def test_knobs_are_shown_where_every_pool_varies_them(found: Findings) -> None:
    assert shared_knobs(found) == ["batch_size", "optimizer.learning_rate"]
    knobs = {name: rho for name, rho in found.pools[0].knobs.items() if name != "batch_size"}
    fewer = replace(found, pools=[found.pools[1], replace(found.pools[0], knobs=knobs)])
    assert shared_knobs(fewer) == ["optimizer.learning_rate"]
