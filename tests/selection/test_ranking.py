from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from src.runtime import files
from src.selection.ranking import Candidate, Noise, drawn_scores, rank, seed_noise
from src.selection.rule import make_rule
from src.study.pool import Pool, TrialResult
from src.study.results import NoiseFact, RankedTrial, Selection, Snapshots
from tests.pools import SMALL, member, planted, pool


def ranked(
    made: Pool, wanted: str | list[str] = "rankme_z", *, snapshots: Snapshots = "last", draws: int = 400, seed: int = 0
) -> Selection:
    return rank(made, make_rule(made, wanted), snapshots=snapshots, draws=draws, seed=seed)


def line(found: Selection, number: int) -> RankedTrial:
    (one,) = [line for line in found.ranking if line.number == number]
    return one


def valued(number: int, value: float, spread: list[float] | None = None, **other: Any) -> TrialResult:
    """A trial by rankme_z, with its values on halves of the images given as deviations."""
    halves = {"rankme_z": [value + deviation for deviation in spread]} if spread else {}
    return member(number, {"rankme_z": value}, halves=halves, **other)


UP, DOWN = [0.3, -0.3, 0.3, -0.3], [-0.3, 0.3, -0.3, 0.3]


# order


def test_the_best_comes_first_in_the_direction_of_the_criterion() -> None:
    values = [3.0, 9.0, 5.0]
    made = pool([member(i, {"rankme_z": v, "train_loss": v}) for i, v in enumerate(values)])
    higher, lower = ranked(made), ranked(made, "train_loss")
    assert [one.number for one in higher.ranking] == [1, 2, 0]
    assert [one.number for one in lower.ranking] == [0, 2, 1]
    assert [one.score for one in lower.ranking] == [-3, -5, -9]
    assert [one.values for one in lower.ranking] == [{"train_loss": v} for v in sorted(values)]
    assert higher.winners == [line(higher, 1)] and [one.picked for one in higher.ranking] == [
        True,
        False,
        False,
    ]


def test_a_list_orders_by_mean_rank() -> None:
    pairs = [(1.0, 5.0), (3.0, 4.0), (2.0, 1.0)]  # ranks 1 3, 3 2, 2 1
    made = pool([member(i, {"rankme_z": a, "lidar_z": b}) for i, (a, b) in enumerate(pairs)])
    found = ranked(made, ["rankme_z", "lidar_z"])
    assert [(one.number, round(one.score, 6)) for one in found.ranking] == [
        (1, round(5 / 6, 6)),
        (0, round(4 / 6, 6)),
        (2, round(3 / 6, 6)),
    ]
    assert found.rule == "rankme_z+lidar_z" and list(found.columns) == ["rankme_z", "lidar_z"]
    assert (found.combined_by or {})["_target_"] == "src.criteria.consensus.consensus"
    assert (found.columns["rankme_z"] or {})["direction"] == "higher"


def test_labels_rank_where_they_are_asked_for() -> None:
    made = pool([member(i, {"rankme_z": -i}, budgets={"5-0": 0.1 * i}) for i in range(3)])
    found = ranked(made, "labels_5-0")
    assert [one.number for one in found.ranking] == [2, 1, 0] and found.columns == {"labels_5-0": None}


def test_the_selection_of_a_planted_pool_is_its_best_trial() -> None:
    made = planted(seed=3, noise=0.01)
    best = max(made.members, key=lambda m: m.budgets["all"])
    assert ranked(made, "lidar_z").winners[0].number == best.number
    assert ranked(made, "labels_all").winners[0].number == best.number


# ties


def test_within_one_standard_error_the_cheapest_is_picked_and_says_so() -> None:
    made = pool([valued(0, 10.0, UP, flops=3e12), valued(1, 9.9, DOWN, flops=1e12), valued(2, 5.0, UP, flops=1e11)])
    found = ranked(made)
    assert [one.number for one in found.ranking] == [0, 1, 2]
    assert [one.tied_with_best for one in found.ranking] == [True, True, False]
    (winner,) = found.winners
    assert winner.number == 1 and winner.picked and winner.tied_with_best and not line(found, 0).picked


def test_beyond_one_standard_error_cost_says_nothing() -> None:
    """The difference of four opposite halves, of 0.6 each, deviates by 0.69."""
    for gap, winner in ((0.66, 1), (0.73, 0)):
        made = pool([valued(0, 10.0, UP, flops=3e12), valued(1, 10.0 - gap, DOWN, flops=1e12)])
        assert ranked(made, draws=2000).winners[0].number == winner


def test_equal_and_as_costly_the_better_is_picked_then_the_earlier() -> None:
    made = pool([valued(0, 9.9, DOWN), valued(1, 10.0, UP), valued(2, 10.0, UP)])
    found = ranked(made)
    assert found.winners[0].number == 1 and all(one.tied_with_best for one in found.ranking)


def test_noise_that_all_trials_share_tells_nothing_of_their_difference() -> None:
    """The same halves for all: what a half adds to every trial leaves their order alone."""
    shared = pool([valued(0, 10.0, UP, flops=3e12), valued(1, 9.9, UP, flops=1e12)])
    found = ranked(shared)
    assert found.winners[0].number == 0 and not line(found, 1).tied_with_best
    assert [one.probability_best for one in found.ranking] == [1, 0] and line(found, 1).told_apart


# how sure


def test_a_clear_winner_is_best_in_every_draw() -> None:
    found = ranked(pool([valued(0, 10.0, UP), valued(1, 4.0, DOWN), valued(2, 3.0, DOWN)]))
    assert [one.probability_best for one in found.ranking] == [1, 0, 0]
    assert [one.told_apart for one in found.ranking] == [False, True, True]


@pytest.mark.parametrize("count", [2, 5])
def test_equal_trials_share_the_probability_of_being_best(count: int) -> None:
    """Exactly equal, whatever varies with all of them alike, or by seeds that differ."""
    found = ranked(pool([valued(i, 10.0, UP) for i in range(count)]))
    assert [one.probability_best for one in found.ranking] == pytest.approx([1 / count] * count)
    assert not any(one.told_apart for one in found.ranking)
    seeds = [valued(2 * i + s, 10.0 + 0.1 * s, configuration=f"c{i}", seed=s) for i in range(count) for s in range(2)]
    found = ranked(pool(seeds), draws=2000)
    assert [one.probability_best for one in found.ranking] == pytest.approx([1 / count] * count, abs=0.05)


def test_equal_ranks_share_it_too() -> None:
    values = [{"rankme_z": a, "lidar_z": b} for a, b in [(1.0, 2.0), (2.0, 1.0), (0.0, 0.0)]]
    steady = [member(i, v, halves={column: [value] * 4 for column, value in v.items()}) for i, v in enumerate(values)]
    found = ranked(pool(steady), ["rankme_z", "lidar_z"])
    assert [one.probability_best for one in found.ranking] == [0.5, 0.5, 0]


def test_where_no_noise_was_measured_for_all_nothing_is_said_of_certainty() -> None:
    """A single trial without halves leaves nothing to draw from."""
    for others in (UP, None):
        found = ranked(pool([valued(0, 10.0, UP), valued(1, 5.0), valued(2, 8.0, others)]))
        assert found.noise == [NoiseFact("simclr", 0, None)] and found.winners[0].number == 0
        assert all(one.probability_best is None and not one.told_apart for one in found.ranking)


@pytest.mark.parametrize(("gap", "apart"), [(1.5, False), (1.8, True)])
def test_told_apart_is_losing_to_the_pick_in_95_percent_of_draws(gap: float, apart: bool) -> None:
    """A difference that deviates by 1 is beaten by its mean in 95 % of draws where that is 1.645."""
    spread = np.random.default_rng(0).normal(size=40)
    spread = (spread - spread.mean()) / spread.std(ddof=1)
    found = ranked(pool([valued(0, 10.0, [0.0] * 40), valued(1, 10.0 - gap, spread.tolist())]), draws=4000)
    assert line(found, 1).told_apart is apart and found.noise[0].halves == 40
    assert line(found, 1).probability_best == pytest.approx(norm.sf(gap), abs=0.015)


def test_a_better_but_dearer_trial_is_never_told_apart_from_the_pick() -> None:
    found = ranked(pool([valued(0, 10.0, UP, flops=3e12), valued(1, 9.9, DOWN, flops=1e12)]))
    assert not line(found, 0).told_apart and (line(found, 0).probability_best or 0) > 0.3


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(st.floats(1, 2), min_size=1, max_size=6),
    costs=st.lists(st.integers(1, 3), min_size=6, max_size=6),
    seed=st.integers(0, 1000),
)
def test_whatever_the_values(values: list[float], costs: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = pool([valued(i, v, rng.normal(0, 0.2, 4).tolist(), flops=costs[i]) for i, v in enumerate(values)])
    found = ranked(made, draws=100, seed=seed)
    order = found.ranking
    assert [one.score for one in order] == sorted((one.score for one in order), reverse=True)
    assert sum(one.probability_best or 0 for one in order) == pytest.approx(1)
    tied = [one for one in order if one.tied_with_best]
    assert order[0] in tied and sum(one.picked for one in order) == 1
    assert found.winners[0].flops == min(one.flops for one in tied) and not found.winners[0].told_apart


# seeds


def test_seed_noise_is_pooled_over_the_repeated_configurations() -> None:
    values = {"a": [1.0, 2.0, 3.0], "b": [10.0, 14.0], "c": [7.0]}
    members = [
        valued(10 * i + s, v, configuration=c, seed=s) for i, c in enumerate(values) for s, v in enumerate(values[c])
    ]
    expected = np.sqrt(np.mean([np.var(values["a"], ddof=1), np.var(values["b"], ddof=1)]))
    assert (ranked(pool(members)).noise[0].seeds or {}) == pytest.approx({"rankme_z": expected})
    assert ranked(pool([m for m in members if m.seed == 0])).noise[0].seeds is None


def test_noise_is_each_methods_own_where_a_rule_names_a_winner_of_each() -> None:
    """BYOL's seeds spread ten times as far as SimCLR's."""
    made = [("byol", "a", 0, 10.0), ("byol", "a", 1, 20.0), ("simclr", "b", 0, 10.0), ("simclr", "b", 1, 11.0)]
    members = [valued(i, v, method=m, configuration=c, seed=s) for i, (m, c, s, v) in enumerate(made)]
    noise = {one.method: (one.seeds or {})["rankme_z"] for one in ranked(pool(members)).noise}
    assert noise["byol"] == pytest.approx(10 * noise["simclr"])


def test_a_configuration_that_collapsed_with_one_seed_is_not_ranked_on_the_others() -> None:
    members = [valued(0, 10.0), valued(1, 8.0), valued(2, 0.1, configuration="c0", seed=1, status="collapsed")]
    found = ranked(pool(members))
    assert [one.number for one in found.ranking] == [1]
    assert {d.number: d.reason for d in found.dropped} == {
        2: "it collapsed",
        0: "its configuration collapsed with seed 1",
    }


def test_a_collapsed_snapshot_is_no_candidate_though_its_trial_recovered() -> None:
    both = [valued(0, 5.0, earlier=[{"rankme_z": 50.0}]), valued(1, 4.0, earlier=[{"rankme_z": 4.5}])]
    early = [replace(both[0].snapshots[0], collapsed=True), both[0].snapshots[1]]
    found = ranked(pool([replace(both[0], snapshots=early), both[1]]), snapshots="all")
    assert [(one.number, one.score) for one in found.ranking] == [(0, 5.0), (1, 4.5), (1, 4.0)]
    assert all(one.probability_best is None for one in found.ranking)  # noise is measured on last snapshots


def test_repetitions_are_one_candidate_with_their_mean() -> None:
    members = [valued(0, 10.0), valued(1, 8.0), valued(2, 4.0, configuration="c0", seed=1)]
    found = ranked(pool(members))
    assert [(one.number, one.score, one.seeds) for one in found.ranking] == [(1, 8, [0]), (0, 7, [0, 1])]


def test_a_mean_over_seeds_is_noisier_with_fewer_of_them() -> None:
    """Candidates of one and of four seeds: deviations in the ratio 2 to 1, and of the pooled size."""
    four = [valued(i, 10.0 + d, configuration="four", seed=i) for i, d in enumerate((-1.0, 1.0, -1.0, 1.0))]
    made = pool([*four, valued(9, 10.0, configuration="one")])
    rule = make_rule(made, "rankme_z")
    group = [Candidate(four, 0, np.array([10.0])), Candidate([made.members[-1]], 0, np.array([10.0]))]
    noise = seed_noise(group, rule)
    drawn = drawn_scores(group, rule, Noise(np.zeros((0, 2, 1)), noise), draws=4000, seed=0)
    assert noise is not None and drawn.mean(0).tolist() == pytest.approx([10, 10], abs=0.1)
    assert drawn.std(0).tolist() == pytest.approx([noise[0] / 2, noise[0]], rel=0.05)
    assert (
        abs(np.mean((drawn[:, 0] - 10) * (drawn[:, 1] - 10))) < 0.05 * noise[0] ** 2
    )  # seeds are each candidate's own


def test_a_trial_proposed_twice_is_ranked_once_under_its_first_number() -> None:
    members = [valued(0, 10.0), valued(1, 9.0, configuration="c0", seed=1), replace(valued(2, 10.0), trial=f"{0:016x}")]
    found = ranked(pool([*members]))
    assert [(one.number, one.seeds) for one in found.ranking] == [(0, [0, 1])]


# methods


def test_a_rule_within_methods_names_a_winner_of_each() -> None:
    members = [
        valued(i, v, UP, method=m) for i, (v, m) in enumerate([(9, "byol"), (1, "simclr"), (8, "byol"), (2, "simclr")])
    ]
    members = [replace(m, dimensions={"h": 64, "z": 32 if m.method == "byol" else 8}) for m in members]
    found = ranked(pool(members))  # sizes of z are compared within methods alone
    assert {winner.method: winner.number for winner in found.winners} == {"byol": 0, "simclr": 3}
    assert sum(one.probability_best or 0 for one in found.ranking if one.method == "simclr") == pytest.approx(1)


def test_a_rule_across_methods_names_one() -> None:
    members = [
        member(i, {"view_retrieval_h": v}, method=m) for i, (v, m) in enumerate([(0.9, "byol"), (0.3, "simclr")])
    ]
    found = ranked(pool(members, criteria=(*SMALL, "view_retrieval")), "view_retrieval_h")
    assert [winner.number for winner in found.winners] == [0]


def test_trials_that_the_rule_does_not_compare_are_refused() -> None:
    members = [valued(0, 1.0), replace(valued(1, 2.0), dimensions={"h": 64, "z": 64})]
    with pytest.raises(ValueError, match=r"^rankme_z is bounded by the number of features"):
        ranked(pool(members))
    assert ranked(pool([*members[:1], replace(members[1], status="collapsed")])).winners[0].number == 0


# snapshots


def test_all_snapshots_are_candidates_where_they_are_wanted() -> None:
    made = pool(
        [
            member(0, {"rankme_z": 2.0}, earlier=[{"rankme_z": 9.0}, {"rankme_z": 3.0}], flops=3e12),
            member(1, {"rankme_z": 5.0}, earlier=[{}, {"rankme_z": 4.0}], flops=3e12),
        ]
    )
    last, everything = ranked(made), ranked(made, snapshots="all")
    assert [(one.number, one.step) for one in last.ranking] == [(1, 300), (0, 300)]
    assert [(one.number, one.step) for one in everything.ranking] == [
        *((0, 100), (1, 300), (1, 200), (0, 200), (0, 300)),
    ]
    winner = everything.winners[0]
    assert (winner.images, winner.flops) == (6400, 1e12)
    assert last.snapshots == "last" and everything.snapshots == "all" and everything.dropped == []


# what is left out


def test_dropped_trials_have_their_reasons() -> None:
    members = [
        valued(0, 1.0),
        member(1, {"rankme_z": 99.0}, status="collapsed", reason="rank 1.0 of 32"),
        member(2, status="diverged", reason="the loss is not finite at step 3"),
        member(3, {"lidar_z": 4.0}, refused={"rankme_z": "needs more images"}),
        member(4, status="stopped", reason="by the pruner"),
        member(5, {"lidar_z": 4.0}),
    ]
    found = ranked(pool(members))
    assert {(one.number, one.status, one.reason) for one in found.dropped} == {
        (1, "collapsed", "rank 1.0 of 32"),
        (2, "diverged", "the loss is not finite at step 3"),
        (3, "complete", "needs more images"),
        (4, "stopped", "by the pruner"),
        (5, "complete", "no value"),
    }
    assert [one.number for one in found.ranking] == [0]


def test_a_seed_without_a_value_drops_its_configuration() -> None:
    members = [valued(0, 1.0), valued(1, 9.0), member(2, {}, configuration="c1", seed=1, refused={"rankme_z": "why"})]
    found = ranked(pool(members))
    assert [one.number for one in found.ranking] == [0]
    assert {one.number for one in found.dropped} == {1, 2}


def test_nothing_left_is_refused_with_the_reasons() -> None:
    members = [member(0, status="collapsed", reason="rank 1"), member(1, {}, refused={"rankme_z": "too few images"})]
    with pytest.raises(
        ValueError, match=r"^study made has no trial to pick from \(collapsed: .*; complete: too few im"
    ):
        ranked(pool(members))


# the file


def test_the_same_input_gives_the_same_bytes() -> None:
    made = planted(seed=0, repeated=4)
    once, again, other = (files.to_json(ranked(made, seed=seed)) for seed in (0, 0, 1))
    assert once == again and once != other
    for wanted in ("consensus", "lidar_h", ["rankme_z", "lidar_h"], "labels_5-1"):
        assert files.to_json(ranked(made, wanted)) == files.to_json(ranked(planted(seed=0, repeated=4), wanted))
