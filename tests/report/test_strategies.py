"""Ways of choosing in pools of which regret, correlation and noise are known."""

from __future__ import annotations

import numpy as np
import pytest

from src.report.numbers import Choosing, Judged, Way
from src.report.strategies import choosing
from src.study.pool import Pool, TrialResult
from src.study.results import Selection
from tests.pools import planted, pool
from tests.report.known import SETTINGS, SOURCES, selected, sure, with_epochs

QUALITY = [0.2, 0.9, 0.5, 0.4]  # the default configuration's first; mean 0.5, range 0.7


def chosen_among(made: Pool, chosen: Selection | None = None) -> Choosing:
    """Among all healthy trials of the pool, and the collapsed ones."""
    collapsed = [member for member in made.finished if member.status == "collapsed"]
    return choosing(made, made.healthy, collapsed, chosen or selected(made), SETTINGS)


def row(found: Choosing, name: str) -> Way:
    (way,) = [way for way in found.rows if way.name == name]
    return way


def verdict(found: Choosing, name: str) -> Judged:
    judged = row(found, name).judged
    assert judged is not None
    return judged


def valued(lidar: list[float], rankme: list[float] | None = None) -> list[TrialResult]:
    """Trials of these qualities by lidar_z and, if given, rankme_z."""
    other = rankme or [1.0] * len(QUALITY)
    rows = zip(QUALITY, lidar, other, strict=True)
    return [sure(i, quality, {"lidar_z": a, "rankme_z": b}) for i, (quality, a, b) in enumerate(rows)]


def test_a_column_that_orders_as_quality_does_loses_nothing() -> None:
    found = chosen_among(pool(valued([1, 4, 3, 2])))
    judged = verdict(found, "lidar_z")
    assert judged.tau == pytest.approx(1) and judged.rho == pytest.approx(1)
    assert judged.regret == pytest.approx(0) and judged.quality == pytest.approx(0.9) and judged.pick == 1
    assert judged.tau_interval is not None and judged.tau_interval == pytest.approx((1, 1))
    assert judged.regret_interval == pytest.approx((0, 0))  # whichever configurations are drawn


def test_a_column_that_orders_backwards_picks_the_worst() -> None:
    found = chosen_among(pool(valued([4, 1, 2, 3])))
    judged = verdict(found, "lidar_z")
    assert judged.tau == pytest.approx(-1) and judged.pick == 0
    assert judged.regret == pytest.approx(0.7) and judged.over_range == pytest.approx(1)
    assert judged.over_random == pytest.approx(0.7 / (0.9 - 0.5))


def test_the_direction_of_a_criterion_counts() -> None:
    losses = [sure(i, quality, {"lidar_z": 1.0 + i, "train_loss": 1 - quality}) for i, quality in enumerate(QUALITY)]
    judged = verdict(chosen_among(pool(losses)), "train_loss")
    assert judged.tau == pytest.approx(1) and judged.pick == 1


def test_tau_is_of_pairs_and_ties_count_with_their_mean() -> None:
    """0.9 and 0.5 share the highest value: of six pairs five are told apart, four of them rightly."""
    found = chosen_among(pool(valued([2, 3, 3, 1])))
    judged = verdict(found, "lidar_z")
    assert judged.pick is None and judged.quality == pytest.approx(0.7) and judged.regret == pytest.approx(0.2)
    assert judged.tau == pytest.approx((4 - 1) / np.sqrt(5 * 6))
    flat = verdict(found, "rankme_z")  # all alike: as good as chance
    assert flat.tau is None and flat.rho is None and flat.pick is None
    assert flat.regret == pytest.approx(0.4) and flat.over_random == pytest.approx(1)


def test_what_needs_no_column_is_judged_beside_the_columns() -> None:
    found = chosen_among(pool(valued([1, 4, 3, 2])), selected(pool(valued([1, 2, 4, 3]))))
    assert verdict(found, "default configuration").regret == pytest.approx(0.7)
    assert verdict(found, "random choice").quality == pytest.approx(0.5)
    assert verdict(found, "random choice").over_random == pytest.approx(1)
    assert verdict(found, "this selection").pick == 2 and verdict(found, "this selection").regret == pytest.approx(0.4)
    for name in ("default configuration", "random choice", "this selection"):
        assert not row(found, name).is_column and row(found, name).note == ""


def test_the_rule_that_chose_comes_first_and_once() -> None:
    made = pool(valued([1, 4, 3, 2], [1, 2, 3, 4]))
    by_column = chosen_among(made)
    assert [way.name for way in by_column.rows].count("lidar_z") == 1 and by_column.rows[0].name == "lidar_z"
    by_several = chosen_among(made, selected(made, ["lidar_z", "rankme_z"]))
    assert by_several.rows[0].name == "lidar_z+rankme_z" and not by_several.rows[0].is_column
    assert row(by_several, "lidar_z").is_column


def test_the_pool_in_numbers() -> None:
    found = chosen_among(pool(valued([1, 4, 3, 2])))
    assert (found.best, found.worst, found.mean) == pytest.approx((0.9, 0.2, 0.5))
    assert found.configurations == 4 and found.sources == SOURCES
    assert found.standard_error == pytest.approx(0)  # right on the same share of each image
    assert found.noise_floor is None


def test_the_standard_error_is_the_best_configurations_over_source_images() -> None:
    made = planted(seed=0, sources=50)
    means = np.stack([member.last.right["linear"] for member in made.members])
    best = means[means.mean(1).argmax()]
    assert chosen_among(made).standard_error == pytest.approx(best.std(ddof=1) / np.sqrt(50))


def test_collapsed_trials_are_choices_of_the_second_verdict_alone() -> None:
    collapsed = sure(4, 0.1, {"lidar_z": 9.0, "rankme_z": 0.0}, status="collapsed")
    found = chosen_among(pool([*valued([1, 4, 3, 2], [1, 4, 3, 2]), collapsed]))
    fooled, warned = row(found, "lidar_z"), row(found, "rankme_z")
    assert fooled.judged is not None and fooled.judged.regret == pytest.approx(0)
    assert fooled.with_collapsed is not None and fooled.with_collapsed.regret == pytest.approx(0.8)
    assert warned.with_collapsed is not None and warned.with_collapsed.regret == pytest.approx(0)
    assert found.configurations == 4 and found.worst == pytest.approx(0.2)
    without = chosen_among(pool(valued([1, 4, 3, 2], [1, 4, 3, 2])))
    assert row(without, "lidar_z").with_collapsed == verdict(without, "lidar_z")


def test_repeated_seeds_count_with_their_mean() -> None:
    """Two configurations; by its first seed alone the worse one would be picked."""
    seeds = [("a", 0, 0.8, 5.0), ("b", 0, 0.3, 6.0), ("a", 1, 0.6, 7.0), ("b", 1, 0.1, 2.0)]
    members = [
        sure(number, quality, {"lidar_z": value}, configuration=name, seed=seed)
        for number, (name, seed, quality, value) in enumerate(seeds)
    ]
    found = chosen_among(pool(members))
    judged = verdict(found, "lidar_z")
    assert found.configurations == 2 and (found.best, found.worst) == pytest.approx((0.7, 0.2))
    assert judged.pick == 0 and judged.quality == pytest.approx(0.7)  # the number of its first trial
    assert found.noise_floor is not None
    assert found.noise_floor.seeds == pytest.approx(np.std([0.8, 0.6], ddof=1))  # the same of both
    assert found.noise_floor.configurations == pytest.approx(np.std([0.7, 0.2], ddof=1))
    over_seeds = np.sqrt(np.mean([np.var([5.0, 7.0], ddof=1), np.var([6.0, 2.0], ddof=1)]))
    assert row(found, "lidar_z").noise_floor == pytest.approx(over_seeds / np.std([6.0, 4.0], ddof=1))


def test_only_a_single_column_has_seed_noise() -> None:
    made = planted(seed=3, repeated=4)
    found = chosen_among(made, selected(made, "consensus"))
    assert row(found, "lidar_z").noise_floor is not None
    others = {way.name: way.noise_floor for way in found.rows if not way.is_column}
    fixed = ("consensus", "this selection", "default configuration", "random choice")
    assert others == dict.fromkeys((*fixed, "labels: 5 per class", "labels: all of probe"))


def test_draws_of_a_label_budget_are_one_way() -> None:
    """One draw picks the best, the other the worst."""
    members = [
        sure(i, quality, {"lidar_z": 1.0}, budgets={"5-0": quality, "5-1": -quality, "all": quality})
        for i, quality in enumerate(QUALITY)
    ]
    found = chosen_among(pool(members))
    five = verdict(found, "labels: 5 per class")
    assert five.regret == pytest.approx(0.35) and five.pick is None
    assert verdict(found, "labels: all of probe").regret == pytest.approx(0)


def test_what_nobody_measured_says_why() -> None:
    members = [
        sure(i, quality, {"lidar_z": 1.0 + i}, refused={"rankme_z": "too few images"})
        for i, quality in enumerate(QUALITY)
    ]
    found = chosen_among(pool(members))
    refused, absent = row(found, "rankme_z"), row(found, "rankme_h")
    assert refused.judged is None and refused.with_collapsed is None and refused.note == "too few images"
    assert absent.judged is None and absent.note == "not measured"
    assert refused.is_column and refused.noise_floor is None


def test_what_selection_would_refuse_is_judged_and_says_so() -> None:
    members = [
        sure(i, quality, {"lidar_z": 1.0 + i, "train_loss": quality}, loss_definition=f"loss {i}")
        for i, quality in enumerate(QUALITY)
    ]
    found = chosen_among(pool(members))
    assert verdict(found, "train_loss").tau == pytest.approx(-1)
    assert row(found, "train_loss").note.startswith("selection refuses it here: train_loss compares only trials whose")
    assert row(found, "lidar_z").note == ""


def test_among_several_methods_only_what_compares_methods_chooses() -> None:
    made = pool([sure(i, q, {"lidar_z": 1.0 + i}, method=f"m{i % 2}") for i, q in enumerate(QUALITY)])
    names = {way.name for way in chosen_among(made).rows}
    assert "lidar_z" not in names and "rankme_h" not in names  # within a method
    assert {"train_loss", "this selection", "random choice"} <= names


# which epoch


def test_the_best_epoch_is_worth_what_other_images_confirm() -> None:
    """Both trials end 0.2 and 0.1 below their best epoch, on every source image alike: real gain, no optimism."""
    made = pool([with_epochs(0, [0.3, 0.8, 0.6], [1, 2, 3]), with_epochs(1, [0.4, 0.5, 0.4], [1, 2, 1])])
    found = chosen_among(made).snapshots
    assert found.gain == pytest.approx(0.15) and found.optimism == pytest.approx(0)


def test_epochs_that_differ_by_luck_alone_are_optimism() -> None:
    rng = np.random.default_rng(0)
    members = []
    for number in range(6):
        member = with_epochs(number, [0.5] * 5, [1.0] * 5)
        for snapshot in member.snapshots:
            snapshot.right["linear"] = (rng.random(200) < 0.5).astype(float)
        members.append(member)
    found = chosen_among(pool(members)).snapshots
    assert found.optimism > 0.03 and abs(found.gain) < 0.03


def test_the_joint_pick_is_the_rules_over_all_epochs() -> None:
    made = pool([with_epochs(0, [0.3, 0.8, 0.6], [1, 9, 3]), with_epochs(1, [0.4, 0.5, 0.4], [1, 2, 4])])
    joint = chosen_among(made).snapshots.joint
    assert joint is not None and (joint.number, joint.step, joint.images) == (0, 200, 12_800)
    assert (joint.quality, joint.at_the_end) == pytest.approx((0.8, 0.6))


def test_a_joint_pick_counts_with_the_mean_over_its_seeds() -> None:
    same = [with_epochs(i, [q, 0.1], [9, 1], configuration="a", seed=i) for i, q in enumerate((0.8, 0.6))]
    joint = chosen_among(pool([*same, with_epochs(2, [0.2, 0.2], [1, 1])])).snapshots.joint
    assert joint is not None and (joint.quality, joint.at_the_end) == pytest.approx((0.7, 0.1))


def test_a_pick_of_each_method_is_no_joint_pick() -> None:
    made = pool([with_epochs(i, [0.3, 0.8], [1, 9], method=f"m{i}") for i in range(2)])
    assert chosen_among(made).snapshots.joint is None
