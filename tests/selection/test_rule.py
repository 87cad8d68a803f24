from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata

from src.selection.rule import check_comparable, make_rule, measured
from src.study.pool import Pool, TrialResult
from tests.criteria.inputs import CONFIGS
from tests.pools import SMALL, member, pool

VALUES = np.array([[1.0, 7.0], [2.0, 5.0], [2.0, 9.0], [4.0, 1.0]])


def everything(**other: Any) -> Pool:
    return pool([member(i, budgets={"5-0": 0.1, "all": 0.2}) for i in range(3)], criteria=tuple(CONFIGS), **other)


# what a rule is made of


def test_a_criterion_stands_for_the_first_column_of_its_yaml() -> None:
    rule = make_rule(everything(), "rankme")
    assert (rule.name, rule.columns, rule.signs, rule.combine) == ("rankme_z", ["rankme_z"], [1], None)
    assert rule.within == ["method", "dimension"]


@pytest.mark.parametrize(
    ("wanted", "sign", "within"),
    [
        ("lidar_h", 1, ["method", "dimension"]),
        ("alpha_req_h", -1, ["dimension"]),
        ("train_loss", -1, ["loss"]),
        ("labels_5-0", 1, []),
        ("view_retrieval_h", 1, []),
    ],
)
def test_a_column_has_the_direction_of_its_criterion(wanted: str, sign: int, within: list[str]) -> None:
    rule = make_rule(everything(), wanted)
    assert (rule.name, rule.columns, rule.signs, rule.within) == (wanted, [wanted], [sign], within)
    signed = VALUES * sign
    assert np.array_equal(rule.score(signed), signed[:, 0])


def test_a_list_is_the_mean_rank_of_its_columns() -> None:
    rule = make_rule(everything(), ["lidar_z", "alpha_req_h"])
    assert rule.name == "lidar_z+alpha_req_h" and rule.signs == [1, -1] and rule.within == ["dimension", "method"]
    signed = VALUES * rule.signs
    assert rule.score(signed).tolist() == pytest.approx((rankdata(signed, axis=0).mean(1) / 4).tolist())


def test_consensus_is_the_list_of_its_yaml() -> None:
    made = everything()
    by_name, by_list = make_rule(made, "consensus"), make_rule(made, made.criteria["consensus"].columns or [])
    assert by_name.columns == by_list.columns and by_name.signs == by_list.signs and by_name.name == "consensus"
    values = np.random.default_rng(0).normal(size=(7, len(by_name.columns)))
    assert np.array_equal(by_name.score(values), by_list.score(values))


def test_clid_adds_two_standardised_columns() -> None:
    rule = make_rule(everything(), "clid")
    assert rule.columns == ["cluster_learnability_h", "two_nn_h"] and rule.signs == [1, 1]
    standardised = (VALUES - VALUES.mean(0)) / VALUES.std(0)
    assert rule.score(VALUES).tolist() == pytest.approx(standardised.sum(1).tolist())


def test_every_criterion_makes_a_rule_or_has_no_direction() -> None:
    made = everything()
    for name, criterion in CONFIGS.items():
        if criterion["direction"] == "none":
            with pytest.raises(ValueError, match="no better direction"):
                make_rule(made, name)
        else:
            assert make_rule(made, name).columns


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("nesum_h", r"^nesum_h has no better direction \(published as not monotone\): choose another criterion$"),
        ("rankmee", r"^rule must be one of .*rankme_h, .*got 'rankmee'$"),
        (["lidar_z", "lidarr"], r"^rule must be one of .*, got 'lidarr'$"),
        (["lidar", "consensus"], r"^consensus already combines several columns: name .* instead$"),
        ([], r"^rule must name at least one column, got an empty list$"),
        ("labels_9-0", r"^labels_9-0 was not measured: measured are labels_5-0, labels_all$"),
    ],
)
def test_what_no_rule_can_be_made_of(wanted: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_rule(everything(), wanted)


def test_labels_nobody_measured_name_the_command() -> None:
    with pytest.raises(ValueError, match=r"^labels_5-0 was not measured: run python -m src\.budget study=made$"):
        make_rule(pool([member(0)]), "labels_5-0")


# what is measured


def test_a_budget_is_known_at_the_end_of_training_alone() -> None:
    found = member(0, {"rankme_h": 3.0}, earlier=[{"rankme_h": 1.0}], budgets={"5-0": 0.4})
    assert [measured(found, "labels_5-0", k) for k in (-1, 1, 0)] == [0.4, 0.4, None]
    assert [measured(found, "rankme_h", k) for k in (-1, 1, 0)] == [3.0, 3.0, 1.0]
    assert measured(found, "labels_5-1", -1) is None and measured(found, "lidar_h", -1) is None


# what can be compared


def wider(z: int = 32, h: int = 64) -> list[TrialResult]:
    return [member(0), replace(member(1), dimensions={"h": h, "z": z})]


def test_sizes_are_compared_in_the_space_of_the_column() -> None:
    made = pool(wider(z=64))
    check_comparable(made.members, make_rule(made, "rankme_h"))
    with pytest.raises(ValueError, match=r"^rankme_z is bounded .* trials of different z sizes \[32, 64\]: fix "):
        check_comparable(made.members, make_rule(made, "rankme_z"))
    both = pool(wider(z=32, h=128))
    check_comparable(both.members, make_rule(both, "rankme_z"))
    with pytest.raises(ValueError, match=r"^consensus is .* different h and z sizes \[\(64, 32\), \(128, 32\)\]: fix "):
        check_comparable(both.members, make_rule(both, "consensus"))


def test_rules_without_a_condition_compare_everything() -> None:
    members = [replace(m, budgets={"all": 0.5}, loss_definition=str(m.number)) for m in wider(z=64, h=128)]
    made = pool(members, criteria=(*SMALL, "view_retrieval"))
    for wanted in ("labels_all", "view_retrieval_h"):
        check_comparable(made.members, make_rule(made, wanted))


def test_losses_are_compared_where_they_are_defined_alike() -> None:
    swept = ["method.temperature=0.2", "batch_size=64", "optimizer.learning_rate=0.1"]
    members = [member(0), replace(member(1), loss_definition="another", overrides=swept)]
    made = pool(members)
    for wanted in ("train_loss", "heldout_loss"):
        with pytest.raises(
            ValueError, match=rf"^{wanted} compares only .* differ in batch_size, method\.temperature: "
        ):
            check_comparable(made.members, make_rule(made, wanted))
    check_comparable(made.members, make_rule(made, "rankme_z"))
    check_comparable([member(0), replace(member(1), overrides=swept)], make_rule(made, "train_loss"))
