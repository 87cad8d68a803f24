"""Ranking without labels: order, refusals, drops, ties, and a winner per method."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.study.pool import TrialResult
from src.study.table import write_table
from tests.criteria.inputs import CONFIGS
from tests.pools import member, planted, pool
from tests.project import TINY_TRIAL, Project


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    """Trials by hand: two methods, one collapsed, one diverged, two dimensions."""
    project = Project(tmp_path_factory.mktemp("mixed"), database)
    project.prepare()
    long = ["schedule.images=16000", "schedule.rows=1", "schedule.evaluations=1"]  # until it has collapsed
    for study, trials in {
        "methods": [[], ["method=vicreg"]],
        "broken": [
            [],
            ["method=vicreg", "method.variance_weight=0", *long],
            ["optimizer=sgd", "optimizer.learning_rate=1e30", "optimizer.clip=1e30"],
        ],
        "sizes": [[], ["method.projector.dimension=12"]],
        "collapsed": [["method=vicreg", "method.variance_weight=0", *long]],
    }.items():
        for changes in trials:
            keys = {change.partition("=")[0] for change in changes}
            project.ok("train", *[o for o in TINY_TRIAL if o.partition("=")[0] not in keys], *changes, f"study={study}")
    return project


def ranking(project: Project, study: str = "tiny") -> list[dict[str, Any]]:
    return list(project.json(f"runs/{study}/selection.json")["ranking"])


def test_the_best_by_the_rule_comes_first_and_the_rest_follow(finished: Project) -> None:
    chosen = finished.json("runs/tiny/selection.json")
    scores = [line["score"] for line in chosen["ranking"]]
    assert scores == sorted(scores, reverse=True) and len(scores) == 3
    assert chosen["rule"] == "consensus" and chosen["noise"] == [{"method": "simclr", "halves": 2, "seeds": None}]
    assert chosen["winners"] == [line for line in chosen["ranking"] if line["picked"]]
    assert sum(line["probability_best"] for line in chosen["ranking"]) == pytest.approx(1)
    assert chosen["winners"][0]["tied_with_best"] and not chosen["winners"][0]["told_apart"]
    assert "ranking by consensus, no label read" in (finished.folder / "runs/tiny/selection.txt").read_text()


@pytest.mark.parametrize("rule", ["[lidar_z,rankme_h]", "consensus"])
def test_several_columns_are_combined_by_their_mean_rank(finished: Project, project: Project, rule: str) -> None:
    project.copy_of(finished)
    out = project.ok("selection", "study=tiny", f"rule={rule}", "draws=100")
    chosen = project.json("runs/tiny/selection.json")
    wanted = CONFIGS["consensus"]["columns"] if rule == "consensus" else ["lidar_z", "rankme_h"]
    assert list(chosen["columns"]) == wanted and chosen["rule"] == (rule if rule == "consensus" else "lidar_z+rankme_h")
    signs = [1 if CONFIGS[column.rpartition("_")[0]]["direction"] == "higher" else -1 for column in wanted]
    values = np.array([[line["values"][column] for column in wanted] for line in chosen["ranking"]]) * signs
    expected = (values[:, None] >= values[None]).sum(1).mean(1) / 3  # without ties: how many are no better
    assert [line["score"] for line in chosen["ranking"]] == pytest.approx(expected)
    assert f"ranking by {chosen['rule']}, no label read" in out


def test_a_rule_names_a_criterion_in_its_first_space_or_one_of_its_columns(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    for rule, column in (("rankme", "rankme_z"), ("rankme_h", "rankme_h")):
        project.ok("selection", "study=tiny", f"rule={rule}", "draws=100")
        assert project.json("runs/tiny/selection.json")["rule"] == column
        scores = {line["trial"]: line["score"] for line in ranking(project)}
        assert scores == {line["trial"]: line["values"][column] for line in ranking(project)}
        for trial, score in scores.items():
            kept = json.loads(next(project.folder.glob(f"runs/store/{trial}/criteria/[!s]*.json")).read_text())[
                "values"
            ]
            key = next(key for key in kept[max(kept, key=int)] if key.startswith(column))
            assert score == kept[max(kept, key=int)][key]["value"]


def test_a_criterion_that_is_better_when_lower_is_ranked_so(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    project.ok("selection", "study=tiny", "rule=alignment")
    values = [line["values"]["alignment_z"] for line in ranking(project)]
    assert values == sorted(values) and len(values) == 3
    assert [line["score"] for line in ranking(project)] == [-value for value in values]


def test_clid_is_relative_to_the_pool(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    project.ok("selection", "study=tiny", "rule=clid", "draws=100")
    chosen = project.json("runs/tiny/selection.json")
    assert list(chosen["columns"]) == ["cluster_learnability_h", "two_nn_h"]
    assert sum(line["score"] for line in chosen["ranking"]) == pytest.approx(0, abs=1e-9)
    study = project.json("runs/tiny/study.json")
    fewer = [trial for trial in study["trials"] if trial["number"] != chosen["ranking"][0]["number"]]
    (project.folder / "runs/tiny/study.json").write_text(json.dumps(study | {"trials": fewer}))
    project.ok("selection", "study=tiny", "rule=clid", "draws=100")
    before = {line["trial"]: line for line in chosen["ranking"]}
    for line in ranking(project):
        assert line["values"] == before[line["trial"]]["values"] and line["score"] != before[line["trial"]]["score"]


def test_all_snapshots_take_part_where_asked_to(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    project.ok("selection", "study=tiny", "rule=lidar", "draws=100")
    ends = {line["trial"]: line for line in ranking(project)}
    out = project.ok("selection", "study=tiny", "rule=lidar", "snapshots=all", "draws=100")
    lines = ranking(project)
    assert len(lines) == 6 and f"{lines[0]['number']}@{lines[0]['step']}" in out
    for trial, end in ends.items():
        steps = {int(path.stem) for path in project.folder.glob(f"runs/store/{trial}/snapshots/*")}
        own = {line["step"]: line for line in lines if line["trial"] == trial}
        assert set(own) == steps and max(steps) == end["step"]
        assert own[max(steps)]["values"] == end["values"] != own[min(steps)]["values"]
        assert own[max(steps)]["flops"] == end["flops"] > own[min(steps)]["flops"]


def test_a_label_budget_is_a_rule_once_it_was_measured(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    out = project.ok("selection", "study=tiny", "rule=labels_5-0", "draws=100")
    scored = project.json("runs/tiny/budget.json")["files"]["5-0"]["trials"]
    lines = ranking(project)
    assert [line["score"] for line in lines] == [scored[line["trial"]]["skill"] for line in lines]
    assert project.json("runs/tiny/selection.json")["noise"][0]["halves"] == 10
    assert "ranking by labels_5-0, its label file alone was read" in out and "no label read" not in out
    line = project.refused("selection", "study=tiny", "rule=labels_7")
    assert "labels_7 was not measured: measured are labels_1-0, labels_1-1" in line and "labels_all" in line
    (project.folder / "runs/tiny/budget.json").unlink()
    line = project.refused("selection", "study=tiny", "rule=labels_5-0")
    assert line == "error: labels_5-0 was not measured: run python -m src.budget study=tiny"
    assert ranking(project) == lines


def test_repeating_a_selection_gives_the_same_bytes(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    (project.folder / "runs/tiny/selection.json").unlink()
    project.ok("selection", "study=tiny", "draws=100")
    assert project.fingerprint() == finished.fingerprint()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rule=accuracy"], "rule must be one of alignment_h, alignment_z, alpha_req_h"),
        (["rule=accuracy"], "consensus, feature_std_h"),
        (["rule=[lidar_z,accuracy]"], "got 'accuracy'"),
        (["rule=nesum"], "nesum_h has no better direction"),
        (["rule=[lidar_z,nesum_z]"], "nesum_z has no better direction"),
        (["rule=labels_2-0"], "labels_2-0 was not measured"),
        (["rule=[]"], "rule must be a criterion, a column, labels_<file>, or a list of columns"),
        (["criterion=lidar"], "criterion isn't a key or group of selection"),
        (["snapshots=best"], "snapshots must be one of last, all, got 'best'"),
        (["draws=3"], "draws must be >= 100, got 3"),
        (["seed=-1"], "seed must be >= 0, got -1"),
        (["table=none.parquet"], "table=none.parquet doesn't exist: make evidence writes one"),
        (["table=runs/tiny/study.json"], "runs/tiny/study.json is not a trial table"),
    ],
)
def test_refusals(finished: Project, arguments: list[str], message: str) -> None:
    before = finished.files()
    assert message in finished.refused("selection", "study=tiny", *arguments)
    assert finished.files() == before


def test_each_method_has_its_winner(mixed: Project) -> None:
    out = mixed.ok("selection", "study=methods")
    chosen = mixed.json("runs/methods/selection.json")
    assert sorted(winner["method"] for winner in chosen["winners"]) == ["simclr", "vicreg"]
    assert "one winner for each method: consensus doesn't compare methods" in out


def test_collapsed_and_diverged_trials_are_listed_with_their_reason_and_never_ranked(mixed: Project) -> None:
    mixed.ok("selection", "study=broken")
    chosen = mixed.json("runs/broken/selection.json")
    assert [line["number"] for line in chosen["ranking"]] == [0]
    reasons = {line["status"]: line["reason"] for line in chosen["dropped"]}
    assert "all images map to one point" in reasons["collapsed"]
    assert "no longer finite" in reasons["diverged"]
    values = {trial["status"]: trial["value"] for trial in mixed.json("runs/broken/study.json")["trials"]}
    assert values["collapsed"] == values["diverged"] == CONFIGS["view_information"]["worst"]


def test_a_study_of_collapsed_trials_is_refused(mixed: Project) -> None:
    assert "no trial to pick from (collapsed: all images map" in mixed.refused("selection", "study=collapsed")
    assert not (mixed.folder / "runs/collapsed/selection.json").exists()


def test_rank_criteria_are_refused_across_dimensions(mixed: Project) -> None:
    line = mixed.refused("selection", "study=sizes", "rule=rankme")
    assert "can't rank trials of different z sizes [8, 12]" in line
    mixed.ok("selection", "study=sizes", "rule=alignment")


def test_the_loss_is_refused_where_it_is_defined_differently(finished: Project) -> None:
    line = finished.refused("selection", "study=tiny", "rule=train_loss")
    assert "compares only trials whose loss is defined alike" in line and "method.temperature" in line


def test_a_study_without_trials_is_refused(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    path = project.folder / "runs/tiny/study.json"
    study = json.loads(path.read_text())
    path.write_text(json.dumps(study | {"trials": []}))
    assert "study tiny has no trials" in project.refused("selection", "study=tiny")
    path.write_text("not json")
    assert "runs/tiny/study.json is damaged" in project.refused("selection", "study=tiny")


def test_a_listed_trial_that_is_gone_names_the_command_that_restores_it(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    trial = finished.json("runs/tiny/study.json")["trials"][1]["trial"]
    (project.folder / f"runs/store/{trial}/config.json").unlink()
    assert f"trial {trial} isn't in runs/store: run the study's python -m src.train -m again" in project.refused(
        "selection", "study=tiny"
    )


def kept(project: Project, members: list[TrialResult]) -> list[str]:
    """A kept table with these trials as its one study, and the arguments that name it."""
    write_table(project.folder / "kept.parquet", [pool(members)], {})
    return ["table=kept.parquet", "study=made"]


def measured(number: int, value: float, flops: float, halves: list[float], **other: Any) -> TrialResult:
    return member(number, {"rankme_z": value}, flops=flops, halves={"rankme_z": halves}, **other)


def test_a_tie_goes_to_the_cheaper_trial(project: Project) -> None:
    wide, low = [10.4, 9.6], measured(2, 5.0, 1e11, [5.1, 4.9])
    out = project.ok(
        "selection",
        *kept(project, [measured(0, 10.0, 3e12, wide), measured(1, 9.95, 1e12, wide[::-1]), low]),
        "rule=rankme",
    )
    chosen = project.json("runs/made/selection.json")
    assert [line["number"] for line in chosen["ranking"]] == [0, 1, 2]
    assert [line["tied_with_best"] for line in chosen["ranking"]] == [True, True, False]
    assert [line["told_apart"] for line in chosen["ranking"]] == [False, False, True]
    assert [winner["number"] for winner in chosen["winners"]] == [1]
    assert [line["probability_best"] for line in chosen["ranking"]] == pytest.approx([0.5, 0.5, 0], abs=0.05)
    assert "picked: trial 1" in out and "the cheapest of those tied with trial 0" in out
    assert "can't be told apart from 0" in " ".join(out.split())


def test_a_better_trial_that_can_be_told_apart_is_picked_whatever_it_costs(project: Project) -> None:
    members = [measured(0, 10.0, 3e12, [10.01, 9.99]), measured(1, 9.5, 1e12, [9.49, 9.51])]
    out = project.ok("selection", *kept(project, members), "rule=rankme")
    assert "picked: trial 0" in out and "first in 100 % of draws of other images (how stable" in " ".join(out.split())


def test_repeated_seeds_are_one_configuration_with_their_noise(project: Project) -> None:
    """The mean over seeds counts, and what seeds do blurs the order."""
    halves = [10.0, 10.0]
    members = [
        measured(0, 10.0, 3e12, halves, configuration="a"),
        measured(1, 9.0, 3e12, halves, configuration="b"),
        measured(2, 7.0, 3e12, halves, configuration="a", seed=1),
    ]
    out = project.ok("selection", *kept(project, members), "rule=rankme")
    chosen = project.json("runs/made/selection.json")
    assert [(line["number"], line["seeds"], line["score"]) for line in chosen["ranking"]] == [
        (1, [0], 9.0),
        (0, [0, 1], 8.5),
    ]
    assert chosen["noise"][0]["seeds"]["rankme_z"] == pytest.approx(np.std([10.0, 7.0], ddof=1))
    assert 0.05 < chosen["ranking"][1]["probability_best"] < 0.5
    assert "% of draws of other images and seeds (how stable" in " ".join(out.split())


def test_a_kept_table_needs_neither_store_nor_data_and_selection_reads_no_label_of_it(
    project: Project, tmp_path: Path, database: Path
) -> None:
    made = planted(seed=0)
    blind = [
        replace(m, budgets={}, snapshots=[replace(s, probes={}, right={}) for s in m.snapshots]) for m in made.members
    ]
    without = Project(tmp_path / "blind", database)
    for one, table in ((project, made), (without, replace(made, members=blind))):
        write_table(one.folder / "kept.parquet", [table], {})
        one.ok("selection", "table=kept.parquet", "study=made", "rule=[lidar_z,rankme_h]", "draws=100")
    assert project.fingerprint() == without.fingerprint() and len(project.fingerprint()) == 1
    project.ok("selection", "table=kept.parquet", "study=made", "rule=labels_5-0", "draws=100")
    line = without.refused("selection", "table=kept.parquet", "study=made", "rule=labels_5-0")
    assert "labels_5-0 was not measured" in line
    assert "study must be one of made in kept.parquet, got 'other'" in project.refused(
        "selection", "table=kept.parquet", "study=other"
    )
