from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.stats import rankdata, spearmanr

from src.evidence.rule_validation import (
    findings,
    judge_pool,
    judged_half,
    label_free_columns,
    mean_over_pools,
    search,
    tuning_half,
    with_rule,
)
from src.runtime import files
from src.study.pool import Floats, Pool, Snapshot, TrialResult
from tests.criteria.inputs import CONFIGS
from tests.pools import COLUMNS, member, planted, pool
from tests.project import ROOT

SETTINGS: dict[str, Any] = {
    "title": "first round",
    **yaml.safe_load((ROOT / "conf/evidence.yaml").read_text()),
    **yaml.safe_load((ROOT / "conf/round/first.yaml").read_text()),
    "halvings": 5,
    "resamples": 60,
}
KEYS: dict[str, Any] = {"quality": "linear", "halved": 5, "resampled": 60, "seed": 0}


def searched(pools: list[Pool], *, largest: int) -> list[dict[str, Any]]:
    """The search on the tuning halves."""
    return search(pools, [tuning_half(p, p.healthy) for p in pools], quality="linear", largest=largest)


def four_pools() -> list[Pool]:
    """Two methods on digits and on shapes: quality is known to participation_ratio_h alone."""
    truth = ("participation_ratio_h",)
    return [
        planted(seed=i, name=f"{data}-{method}", data=data, truth=truth, repeated=4, method=method)
        for i, (data, method) in enumerate([(d, m) for m in ("simclr", "byol") for d in ("digits", "shapes")])
    ]


def with_right(found: TrialResult, right: Floats) -> TrialResult:
    last = replace(found.last, right={"linear": right}, probes={"linear": {"top1": float(right.mean())}})
    return replace(found, snapshots=[*found.snapshots[:-1], last])


def with_values(found: TrialResult, **values: float) -> TrialResult:
    last: Snapshot = replace(found.last, criteria=found.last.criteria | values)
    return replace(found, snapshots=[*found.snapshots[:-1], last])


def turned(made: Pool, *, odd: int) -> Pool:
    """The pool with the quality of every odd (1) or even (0) trial turned round."""
    return replace(
        made,
        members=[with_right(m, 1 - m.last.right["linear"]) if m.number % 2 == odd else m for m in made.members],
    )


# halves


def test_halves_are_odd_and_even_numbers_and_seeds_go_with_their_configuration() -> None:
    made = planted(seed=0, configurations=7, repeated=7)  # 7 is the second seed of 0, 8 that of 1
    tuning, judged = tuning_half(made, made.healthy), judged_half(made, made.healthy)
    assert [m.number for m in tuning] == [1, 3, 5, 8, 10, 12]
    assert [m.number for m in judged] == [0, 2, 4, 6, 7, 9, 11, 13]
    assert not {m.configuration for m in tuning} & {m.configuration for m in judged}


def test_a_configuration_goes_by_its_first_proposal_even_if_that_collapsed() -> None:
    members = [member(0), member(1, configuration="c", status="collapsed"), member(2, configuration="c", seed=1)]
    made = pool(members)
    assert [m.number for m in tuning_half(made, made.healthy)] == [2]


# search


def test_columns_of_the_search_are_those_with_a_direction_but_the_losses() -> None:
    made = pool([member(0)], criteria=tuple(CONFIGS))
    found = label_free_columns(made)
    assert set(COLUMNS) < set(found) and {"rotation_probe_h", "view_retrieval_z", "alpha_req_h"} < set(found)
    assert not {"train_loss", "heldout_loss", "nesum_h", "clid", "consensus"} & set(found)


def test_the_planted_column_is_found_and_stands_alone() -> None:
    pools = [planted(seed=seed, noise=0.02) for seed in range(3)]
    found = searched(pools, largest=3)
    assert found[0]["columns"] == ["lidar_z"] and found[0]["rho"] > 0.8
    assert len(found) == 6 + 15 + 20
    assert [one["rho"] for one in found] == sorted((one["rho"] for one in found), reverse=True)


def test_columns_that_complete_each_other_are_found_together() -> None:
    truth = ("lidar_z", "participation_ratio_h")
    pools = [planted(seed=seed, configurations=40, truth=truth, noise=0.8) for seed in range(4)]
    found = searched(pools, largest=2)
    assert set(found[0]["columns"]) == set(truth)
    alone = {one["columns"][0]: one["rho"] for one in found if len(one["columns"]) == 1}
    assert found[0]["rho"] > max(alone.values()) and set(sorted(alone, key=lambda c: -alone[c])[:2]) == set(truth)


def test_the_search_goes_by_the_better_direction() -> None:
    right = [np.full(20, q) for q in np.linspace(0.2, 0.8, 10)]
    members = [member(i, {"alignment_z": -float(i), "rankme_z": -float(i)}, right=r) for i, r in enumerate(right)]
    found = searched([pool(members, criteria=("alignment", "rankme", "consensus"))], largest=1)
    assert [(one["columns"], one["rho"]) for one in found] == [
        (["alignment_z"], pytest.approx(1)),
        (["rankme_z"], pytest.approx(-1)),
    ]


def test_sets_are_ordered_by_mean_ranks_with_ties_shared() -> None:
    rng = np.random.default_rng(0)
    values, quality = rng.integers(0, 4, (15, 2)), rng.random(15)
    members = [
        member(2 * i + 1, {"rankme_z": float(a), "rankme_h": float(b)}, right=np.full(10, quality[i]))
        for i, (a, b) in enumerate(values)
    ]
    found = searched([pool(members, criteria=("rankme", "consensus"))], largest=2)
    both = next(one["rho"] for one in found if len(one["columns"]) == 2)
    assert both == pytest.approx(spearmanr(rankdata(values, axis=0).mean(1), quality).statistic)


def test_the_search_never_looks_at_the_judged_half() -> None:
    pools = [planted(seed=seed, repeated=6, noise=0.5) for seed in range(2)]
    found = searched(pools, largest=2)

    assert searched([turned(p, odd=0) for p in pools], largest=2) == found
    assert searched([turned(p, odd=1) for p in pools], largest=2) != found
    blind = [
        replace(p, members=[with_values(m, lidar_z=0.0) if m.number % 2 == 0 else m for m in p.members]) for p in pools
    ]
    assert searched(blind, largest=2) == found


def test_a_column_that_a_trial_lacks_is_out_and_one_that_never_varies_knows_nothing() -> None:
    made = planted(seed=0, noise=0.02)
    members = list(made.members)
    last = members[3].last
    lacking = replace(last, criteria={c: v for c, v in last.criteria.items() if c != "rankme_h"})
    members[3] = replace(members[3], snapshots=[*members[3].snapshots[:-1], lacking])
    members = [with_values(m, lidar_h=5.0) for m in members]
    found = searched([replace(made, members=members)], largest=2)
    assert not any("rankme_h" in one["columns"] for one in found)
    assert {tuple(one["columns"]): one["rho"] for one in found}[("lidar_h",)] == 0
    assert found[0]["columns"] == ["lidar_z"] and all(np.isfinite(one["rho"]) for one in found)


# judging


def judged(made: Pool, columns: list[str]) -> dict[str, Any]:
    return judge_pool(with_rule(made, columns), made.healthy, rule="consensus", **KEYS)


def test_a_rule_that_knows_beats_rivals_that_do_not() -> None:
    made = planted(seed=2, configurations=20, truth=("participation_ratio_h",), noise=0.02)
    found = judged(made, ["participation_ratio_h"])
    assert abs(found["ways"]["consensus"]["regret"]) < 0.05 and found["ways"]["consensus"]["rho"] > 0.9
    for rival in ("lidar_z", "rankme_z"):
        minus = found["minus"][rival]
        ours, theirs = found["ways"]["consensus"], found["ways"][rival]
        assert minus["regret"] < 0 and minus["over_range"] < 0
        assert minus["regret"] == pytest.approx(ours["regret"] - theirs["regret"])
        low, high = minus["regret_interval"]
        assert low < minus["regret"] < high + 0.1


def test_rivals_that_know_beat_a_rule_that_does_not() -> None:
    made = planted(seed=2, configurations=20, truth=("lidar_z", "rankme_z"), noise=0.02)
    found = judged(made, ["participation_ratio_h"])
    assert all(found["minus"][rival]["regret"] > 0 for rival in ("lidar_z", "rankme_z"))


def test_a_rule_that_is_its_rival_differs_by_nothing() -> None:
    found = judged(planted(seed=0), ["lidar_z"])["minus"]["lidar_z"]
    assert found["regret"] == 0 and found["regret_interval"] == (0, 0)
    assert found["over_range"] == 0 and found["over_range_interval"] == (0, 0)


def test_every_way_of_choosing_is_judged() -> None:
    made = planted(seed=0, repeated=5)
    found = judged(made, ["lidar_z"])
    assert list(found["ways"]) == [
        *(
            "random choice",
            "default configuration",
            "consensus",
            *label_free_columns(made),
            "heldout_loss",
            "train_loss",
        ),
        *("labels: 5 per class", "labels: all of probe"),
    ]
    assert found["configurations"] == 12 and found["trials"] == 17
    assert found["ways"]["train_loss"]["rho"] < -0.9  # here the loss misleads
    assert found["ways"]["labels: all of probe"]["rho"] > 0.9
    assert found["ways"]["lidar_z"]["space"] == "z" and found["ways"]["consensus"]["space"] == "z"
    assert judged(made, ["lidar_z", "rankme_h"])["ways"]["consensus"]["space"] == "several"
    assert set(found["noise_floor"]) == {*COLUMNS, "train_loss", "heldout_loss"}
    assert found["noise_floor"]["lidar_z"] < 0.2 < found["noise_floor"]["rankme_h"]
    assert found["worst"] < found["mean"] < found["best"]


def test_label_budgets_are_the_mean_over_their_draws() -> None:
    made = planted(seed=0)
    both = judged(made, ["lidar_z"])["ways"]["labels: 5 per class"]
    single = []
    for name in ("5-0", "5-1"):
        members = [replace(m, budgets={name: m.budgets[name]}) for m in made.members]
        single.append(judged(replace(made, members=members), ["lidar_z"])["ways"]["labels: 5 per class"])
    for figure in ("regret", "rho", "over_random"):
        assert both[figure] == pytest.approx(np.mean([one[figure] for one in single]))


# means over pools


def test_a_mean_over_pools_has_the_interval_of_the_means_of_their_draws() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal([[0.1], [0.3]], 0.05, (2, 400))
    pools = [
        {"ways": {"way": {"regret": r, "over_range": None, "tau": 0.5}}, "spread": {"way": {"regret": d.tolist()}}}
        for r, d in zip((0.1, 0.3), draws, strict=True)
    ]
    found = mean_over_pools(pools, "way")
    assert found["regret"] == pytest.approx(0.2) and found["tau"] == 0.5 and found["over_range"] is None
    assert found["regret_interval"] == pytest.approx(np.percentile(draws.mean(0), [2.5, 97.5]))
    assert "over_range_interval" not in found and "tau_interval" not in found


def test_pools_without_a_way_leave_the_mean_to_the_others() -> None:
    pools: list[dict[str, Any]] = [{"ways": {"way": {"regret": 0.1}}, "spread": {}}, {"ways": {}, "spread": {}}]
    assert mean_over_pools(pools, "way")["regret"] == 0.1
    assert mean_over_pools(pools, "other")["regret"] is None
    nothing = [{"ways": {"way": {"regret": 0.1}}, "spread": {"way": {"regret": [float("nan"), 0.2]}}}]
    assert mean_over_pools(nothing, "way")["regret_interval"] == (0.2, 0.2)  # a draw in which no pool had it


# all of it


def test_findings_of_planted_pools() -> None:
    pools = four_pools()
    found = findings(pools, [], SETTINGS | {"seen": ["digits-byol"]})
    assert found["rule"] == ["participation_ratio_h"] and found["search"][0]["rho"] > 0.9
    assert len(found["search"]) == 10 and {len(one["columns"]) for one in found["alone"]} == {1}
    assert [p["half"] for p in found["pools"]] == ["held-out half", "all", "held-out half", "all"]
    assert [p["configurations"] for p in found["pools"]] == [6, 12, 6, 12]
    assert [(p["data"], p["method"]) for p in found["pools"]][:2] == [("digits", "simclr"), ("shapes", "simclr")]
    assert set(found["means"]) == {"all", "digits", "shapes", "unseen"}
    unseen = [p["ways"]["lidar_z"]["regret"] for p in found["pools"] if p["study"] != "digits-byol"]
    assert len(unseen) == 3 and found["means"]["unseen"]["lidar_z"]["regret"] == pytest.approx(np.mean(unseen))
    ours = found["means"]["all"]["consensus"]
    assert ours["over_random"] == pytest.approx(
        np.mean([p["ways"]["consensus"]["over_random"] for p in found["pools"]])
    )
    assert found["goals"]["over_range"] == {"goal": 0.1, "reached": ours["over_range"], "met": True}
    assert found["goals"]["over_random"]["met"] and found["means"]["all"]["random choice"][
        "over_random"
    ] == pytest.approx(1)
    for verdict in found["pools"]:
        assert all(verdict["minus"][rival]["regret"] < 0.02 for rival in ("lidar_z", "rankme_z"))
        assert "misleads about" in verdict["loss"]["sentence"] and "spread" not in verdict
    assert files.to_json(found) == files.to_json(findings(four_pools(), [], SETTINGS | {"seen": ["digits-byol"]}))


def test_a_goal_that_is_missed_is_said_to_be() -> None:
    found = findings(four_pools()[:2], [], SETTINGS | {"goal": {"over_range": -1.0}})
    assert found["goals"]["over_range"]["met"] is False


def test_findings_judge_what_they_did_not_tune_on() -> None:
    """The judged half's quality turned round: the same rule, now the worst choice."""
    (made,) = four_pools()[:1]
    straight, other = (findings([found], [], SETTINGS) for found in (made, turned(made, odd=0)))
    assert straight["rule"] == other["rule"] and straight["search"] == other["search"]
    assert straight["pools"][0]["ways"]["consensus"]["rho"] > 0.8
    assert other["pools"][0]["ways"]["consensus"]["rho"] < -0.8


def test_a_round_tuned_on_another_table_is_judged_on_all_of_its_own() -> None:
    """What orders the other table's pools is the rule, though another column orders the round's own."""
    table = [planted(seed=9, truth=("lidar_z",), name="earlier", noise=0.02)]
    found = findings(four_pools(), table, SETTINGS | {"rule": SETTINGS["rule"] | {"largest": 1}})
    assert found["rule"] == ["lidar_z"] and {p["half"] for p in found["pools"]} == {"all"}
    assert [p["configurations"] for p in found["pools"]] == [12] * 4
    assert found["means"]["all"]["participation_ratio_h"]["rho"] > 0.9 > found["means"]["all"]["consensus"]["rho"]


def test_collapsed_trials_can_only_be_chosen_where_it_says_so() -> None:
    made = planted(seed=0, data="shapes", noise=0.02)
    fooled = replace(made.members[5], status="collapsed", number=40, trial="f" * 16, configuration="broken")
    fooled = with_right(with_values(fooled, lidar_z=999.0), np.zeros(80))
    tuned = planted(seed=1, noise=0.02)
    settings = SETTINGS | {"rule": SETTINGS["rule"] | {"largest": 1}}
    found = findings([tuned, replace(made, members=[*made.members, fooled])], [], settings)
    verdict = found["pools"][1]
    assert found["rule"] == ["lidar_z"] and (verdict["collapsed"], verdict["best_collapsed"]) == (1, 0)
    assert verdict["ways"]["consensus"]["over_range"] < 0.2
    assert verdict["with_collapsed"]["consensus"]["over_range"] == pytest.approx(1, abs=0.05)


def test_nothing_to_tune_on_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^rule\.tuned_on must be one of shapes, got 'digits'$"):
        findings([planted(seed=0, data="shapes")], [], SETTINGS)
