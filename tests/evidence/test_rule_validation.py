from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from src.evidence.findings import ChoseNothing, Findings, FoundRule, GoalReached, Means, PoolVerdict
from src.evidence.pool_verdict import judge_pool
from src.evidence.rule_validation import findings, mean_over_pools
from src.evidence.search import judged_half, label_free_columns, search, tuning_half, with_rule
from src.evidence.settings import Goal, Settings
from src.report.loss_correlation import loss_trust, stated
from src.report.numbers import Judged
from src.report.regret import Verdicts
from src.report.ways import contest
from src.runtime import files, records
from src.runtime.settings import hold
from src.study.pool import Floats, Pool, Snapshot, TrialResult
from tests.composed import plain_of
from tests.criteria.inputs import CONFIGS
from tests.pools import COLUMNS, member, planted, pool

SETTINGS = replace(hold("", plain_of(stage="evidence"), Settings), halvings=5, resamples=60)


def of_largest(largest: int) -> Settings:
    return replace(SETTINGS, rule=replace(SETTINGS.rule, largest=largest))


def searched(pools: list[Pool], *, largest: int) -> list[FoundRule]:
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
    assert found[0].columns == ["lidar_z"] and found[0].rho > 0.8
    assert len(found) == 6 + 15 + 20
    assert [one.rho for one in found] == sorted((one.rho for one in found), reverse=True)


def test_columns_that_complete_each_other_are_found_together() -> None:
    truth = ("lidar_z", "participation_ratio_h")
    pools = [planted(seed=seed, configurations=40, truth=truth, noise=0.8) for seed in range(4)]
    found = searched(pools, largest=2)
    assert set(found[0].columns) == set(truth)
    alone = {one.columns[0]: one.rho for one in found if len(one.columns) == 1}
    assert found[0].rho > max(alone.values()) and set(sorted(alone, key=lambda c: -alone[c])[:2]) == set(truth)


def test_the_search_goes_by_the_better_direction() -> None:
    right = [np.full(20, q) for q in np.linspace(0.2, 0.8, 10)]
    members = [member(i, {"alignment_z": -float(i), "rankme_z": -float(i)}, right=r) for i, r in enumerate(right)]
    found = searched([pool(members, criteria=("alignment", "rankme", "consensus"))], largest=1)
    assert [one.columns for one in found] == [["alignment_z"], ["rankme_z"]]
    assert [one.rho for one in found] == pytest.approx([1, -1])


def test_sets_are_ordered_by_mean_ranks_with_ties_shared() -> None:
    rng = np.random.default_rng(0)
    values, quality = rng.integers(0, 4, (15, 2)), rng.random(15)
    members = [
        member(2 * i + 1, {"rankme_z": float(a), "rankme_h": float(b)}, right=np.full(10, quality[i]))
        for i, (a, b) in enumerate(values)
    ]
    found = searched([pool(members, criteria=("rankme", "consensus"))], largest=2)
    both = next(one.rho for one in found if len(one.columns) == 2)
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
    assert not any("rankme_h" in one.columns for one in found)
    assert {tuple(one.columns): one.rho for one in found}[("lidar_h",)] == 0
    assert found[0].columns == ["lidar_z"] and all(np.isfinite(one.rho) for one in found)


# judging


def judged(made: Pool, columns: list[str]) -> PoolVerdict:
    parts = (contest(part, "linear", halved=5, resampled=60, seed=0) for part in (made.healthy, made.finished))
    loss = stated("simclr", loss_trust(made.healthy, "linear", resampled=60, seed=0))
    return judge_pool(with_rule(made, columns), *parts, half="all", loss=loss).verdict


def chose(verdict: PoolVerdict, way: str) -> Judged:
    """How a way did, which chose something."""
    did = verdict.judged(way)
    assert did is not None
    return did


def test_a_rule_that_knows_beats_rivals_that_do_not() -> None:
    made = planted(seed=2, configurations=20, truth=("participation_ratio_h",), noise=0.02)
    found = judged(made, ["participation_ratio_h"])
    ours = chose(found, "consensus")
    assert abs(ours.regret) < 0.05 and ours.rho is not None and ours.rho > 0.9
    for rival in ("lidar_z", "rankme_z"):
        minus = found.minus[rival]
        assert minus.regret is not None and minus.over_range is not None and minus.regret_interval is not None
        assert minus.regret < 0 and minus.over_range < 0
        assert minus.regret == pytest.approx(ours.regret - chose(found, rival).regret)
        low, high = minus.regret_interval
        assert low < minus.regret < high + 0.1


def test_rivals_that_know_beat_a_rule_that_does_not() -> None:
    made = planted(seed=2, configurations=20, truth=("lidar_z", "rankme_z"), noise=0.02)
    minus = [judged(made, ["participation_ratio_h"]).minus[rival].regret for rival in ("lidar_z", "rankme_z")]
    assert all(regret is not None and regret > 0 for regret in minus)


def test_a_rule_that_is_its_rival_differs_by_nothing() -> None:
    found = judged(planted(seed=0), ["lidar_z"]).minus["lidar_z"]
    assert found.regret == 0 and found.regret_interval == (0, 0)
    assert found.over_range == 0 and found.over_range_interval == (0, 0)


def test_every_way_of_choosing_is_judged() -> None:
    made = planted(seed=0, repeated=5)
    found = judged(made, ["lidar_z"])
    assert list(found.ways) == [
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
    assert found.configurations == 12 and found.trials == 17
    misled, knew = chose(found, "train_loss").rho, chose(found, "labels: all of probe").rho
    assert misled is not None and misled < -0.9  # here the loss misleads
    assert knew is not None and knew > 0.9
    assert found.ways["lidar_z"].space == "z" and found.ways["consensus"].space == "z"
    assert judged(made, ["lidar_z", "rankme_h"]).ways["consensus"].space == "several"
    assert found.ways["labels: all of probe"].space == "h" and found.ways["random choice"].space == ""
    assert set(found.noise_floor) == {*COLUMNS, "train_loss", "heldout_loss"}
    known, random = found.noise_floor["lidar_z"], found.noise_floor["rankme_h"]
    assert known is not None and random is not None and known < 0.2 < random
    assert found.worst < found.mean < found.best


def test_a_column_that_no_trial_has_chooses_nothing() -> None:
    made = planted(seed=0)
    found = judged(replace(made, members=[without(m, "rankme_z") for m in made.members]), ["lidar_z"])
    assert found.ways["rankme_z"] == ChoseNothing("z") and found.judged("rankme_z") is None
    assert set(found.minus) == {"lidar_z"}  # nothing to differ from


def without(found: TrialResult, column: str) -> TrialResult:
    last = replace(found.last, criteria={c: v for c, v in found.last.criteria.items() if c != column})
    return replace(found, snapshots=[*found.snapshots[:-1], last])


def test_label_budgets_are_the_mean_over_their_draws() -> None:
    made = planted(seed=0)
    both = chose(judged(made, ["lidar_z"]), "labels: 5 per class")
    single = []
    for name in ("5-0", "5-1"):
        members = [replace(m, budgets={name: m.budgets[name]}) for m in made.members]
        single.append(chose(judged(replace(made, members=members), ["lidar_z"]), "labels: 5 per class"))
    for figure in ("regret", "rho", "over_random"):
        assert getattr(both, figure) == pytest.approx(np.mean([getattr(one, figure) for one in single]))


# means over pools

NOTHING: dict[str, Any] = dict.fromkeys(Judged.__dataclass_fields__, None)


def draws(regret: Floats) -> Verdicts:
    """Draws of a way that are known by their regret alone."""
    return Verdicts(**dict.fromkeys(Verdicts._fields, np.full(len(regret), np.nan)))._replace(regret=regret)


def test_a_mean_over_pools_has_the_interval_of_the_means_of_their_draws() -> None:
    rng = np.random.default_rng(0)
    regrets = rng.normal([[0.1], [0.3]], 0.05, (2, 400))
    pools = [Judged(**NOTHING | {"regret": regret, "tau": 0.5}) for regret in (0.1, 0.3)]
    found = mean_over_pools(pools, [draws(one) for one in regrets])
    assert found.regret == pytest.approx(0.2) and found.tau == 0.5 and found.over_range is None
    assert found.regret_interval == pytest.approx(np.percentile(regrets.mean(0), [2.5, 97.5]))
    assert found.over_range_interval is None


def test_pools_without_a_way_leave_the_mean_to_the_others() -> None:
    one = Judged(**NOTHING | {"regret": 0.1})
    assert mean_over_pools([one], []).regret == 0.1 and mean_over_pools([one], []).regret_interval is None
    assert mean_over_pools([], []).regret is None
    unlike = mean_over_pools([one], [draws(np.array([0.2])), draws(np.array([0.4]))])
    assert unlike.regret_interval is None  # a pool's draws are no draws of a mean that leaves it out
    nothing = mean_over_pools([one], [draws(np.array([np.nan, 0.2]))])
    assert nothing.regret_interval == (0.2, 0.2)  # a draw in which no pool had it


# all of it


def mean(means: Means, group: str, way: str, figure: str) -> float:
    value = getattr(means[group][way], figure)
    assert isinstance(value, float)
    return value


def test_findings_of_planted_pools() -> None:
    pools = four_pools()
    settings = replace(SETTINGS, seen=["digits-byol"])
    found = findings(pools, [], settings)
    assert found.rule == ["participation_ratio_h"] and found.search[0].rho > 0.9
    assert len(found.search) == 10 and {len(one.columns) for one in found.alone} == {1}
    assert [p.half for p in found.pools] == ["held-out half", "all", "held-out half", "all"]
    assert [p.configurations for p in found.pools] == [6, 12, 6, 12]
    assert [(p.data, p.method) for p in found.pools][:2] == [("digits", "simclr"), ("shapes", "simclr")]
    assert set(found.means) == {"all", "digits", "shapes", "unseen"}
    unseen = [chose(p, "lidar_z").regret for p in found.pools if p.study != "digits-byol"]
    assert len(unseen) == 3 and mean(found.means, "unseen", "lidar_z", "regret") == pytest.approx(np.mean(unseen))
    ours = [chose(p, "consensus").over_random for p in found.pools]
    reached = mean(found.means, "all", "consensus", "over_random")
    assert reached == pytest.approx(np.mean([one for one in ours if one is not None])) and None not in ours
    over_range = mean(found.means, "all", "consensus", "over_range")
    assert found.goals.over_range == GoalReached(goal=0.1, reached=over_range, met=True)
    assert found.goals.over_random.met
    assert mean(found.means, "all", "random choice", "over_random") == pytest.approx(1)
    for verdict in found.pools:
        for rival in ("lidar_z", "rankme_z"):
            minus = verdict.minus[rival].regret
            assert minus is not None and minus < 0.02
        assert "misleads about" in verdict.loss.sentence
    assert files.to_json(found) == files.to_json(findings(four_pools(), [], settings))


def test_a_file_holds_the_findings_and_nothing_else(tmp_path: Path) -> None:
    found = findings(four_pools()[:2], [], SETTINGS)
    files.write_json(tmp_path / "page.json", found)
    assert records.read(tmp_path / "page.json", Findings, "") == found


def test_a_goal_that_is_missed_is_said_to_be() -> None:
    settings = replace(SETTINGS, goal=Goal(over_range=-1.0, over_random=1.0))
    assert findings(four_pools()[:2], [], settings).goals.over_range.met is False


def test_findings_judge_what_they_did_not_tune_on() -> None:
    """The judged half's quality turned round: the same rule, now the worst choice."""
    (made,) = four_pools()[:1]
    straight, other = (findings([found], [], SETTINGS) for found in (made, turned(made, odd=0)))
    assert straight.rule == other.rule and straight.search == other.search
    rho = [chose(found.pools[0], "consensus").rho or 0 for found in (straight, other)]
    assert rho[0] > 0.8 and rho[1] < -0.8


def test_a_round_tuned_on_another_table_is_judged_on_all_of_its_own() -> None:
    """What orders the other table's pools is the rule, though another column orders the round's own."""
    table = [planted(seed=9, truth=("lidar_z",), name="earlier", noise=0.02)]
    found = findings(four_pools(), table, of_largest(1))
    assert found.rule == ["lidar_z"] and {p.half for p in found.pools} == {"all"}
    assert [p.configurations for p in found.pools] == [12] * 4
    knows = mean(found.means, "all", "participation_ratio_h", "rho")
    assert knows > 0.9 > mean(found.means, "all", "consensus", "rho")


def test_collapsed_trials_can_only_be_chosen_where_it_says_so() -> None:
    made = planted(seed=0, data="shapes", noise=0.02)
    fooled = replace(made.members[5], status="collapsed", number=40, trial="f" * 16, configuration="broken")
    fooled = with_right(with_values(fooled, lidar_z=999.0), np.zeros(80))
    tuned = planted(seed=1, noise=0.02)
    found = findings([tuned, replace(made, members=[*made.members, fooled])], [], of_largest(1))
    verdict = found.pools[1]
    assert found.rule == ["lidar_z"] and (verdict.collapsed, verdict.best_collapsed) == (1, 0)
    healthy, among_all = chose(verdict, "consensus").over_range, verdict.with_collapsed["consensus"]
    assert healthy is not None and healthy < 0.2
    assert isinstance(among_all, Judged) and among_all.over_range == pytest.approx(1, abs=0.05)


def test_nothing_to_tune_on_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^rule\.tuned_on must be one of shapes, got 'digits'$"):
        findings([planted(seed=0, data="shapes")], [], SETTINGS)
