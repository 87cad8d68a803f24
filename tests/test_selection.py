"""Ranking without labels: order, refusals, drops, ties, and a winner per method."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.project import TINY_TRIAL, Project


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    """Trials by hand: two methods, one collapsed, one diverged, two dimensions."""
    project = Project(tmp_path_factory.mktemp("mixed"), database)
    project.prepare()
    long = [*TINY_TRIAL, "schedule.images=16000", "schedule.rows=1", "schedule.evaluations=1"]
    for study, trials in {
        "methods": [[], ["seed=1"], ["method=vicreg"], ["method=vicreg", "seed=1"]],
        "broken": [
            [],
            ["method=vicreg", "method.variance_weight=0"],
            ["optimizer=sgd", "optimizer.learning_rate=1e30", "optimizer.clip=1e30"],
        ],
        "sizes": [[], ["method.projector.dimension=12"]],
        "collapsed": [["method=vicreg", "method.variance_weight=0"]],
    }.items():
        for changes in trials:
            keys = {change.partition("=")[0] for change in changes}
            project.ok("train", *[o for o in long if o.partition("=")[0] not in keys], *changes, f"study={study}")
    return project


def test_the_best_by_the_criterion_is_picked_and_the_rest_follow(finished: Project) -> None:
    chosen = finished.json("runs/tiny/selection.json")
    values = [line["value"] for line in chosen["ranking"]]
    assert values == sorted(values, reverse=True) and len(values) == 3
    assert chosen["winners"] == chosen["ranking"][:1]
    assert "ranking by lidar, no label read" in (finished.folder / "runs/tiny/selection.txt").read_text()


def test_a_criterion_that_is_better_when_lower_is_ranked_so(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    project.ok("selection", "study=tiny", "criterion=alignment")
    values = [line["value"] for line in project.json("runs/tiny/selection.json")["ranking"]]
    assert values == sorted(values)


def test_repeating_a_selection_gives_the_same_bytes(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    project.ok("selection", "study=tiny")
    assert project.fingerprint() == finished.fingerprint()


def test_an_unknown_criterion_is_refused(finished: Project) -> None:
    line = finished.refused("selection", "study=tiny", "criterion=accuracy")
    assert "criterion=accuracy doesn't exist" in line and "the options are alignment, alpha_req" in line


def test_each_method_has_its_winner(mixed: Project) -> None:
    out = mixed.ok("selection", "study=methods")
    chosen = mixed.json("runs/methods/selection.json")
    assert sorted(winner["method"] for winner in chosen["winners"]) == ["simclr", "vicreg"]
    assert "one winner for each method: lidar doesn't compare methods" in out


def test_collapsed_and_diverged_trials_are_listed_with_their_reason_and_never_ranked(mixed: Project) -> None:
    mixed.ok("selection", "study=broken")
    chosen = mixed.json("runs/broken/selection.json")
    assert [line["number"] for line in chosen["ranking"]] == [0]
    reasons = {line["status"]: line["reason"] for line in chosen["dropped"]}
    assert "all images map to one point" in reasons["collapsed"]
    assert "no longer finite" in reasons["diverged"]
    values = {trial["status"]: trial["value"] for trial in mixed.json("runs/broken/study.json")["trials"]}
    assert values["collapsed"] == values["diverged"] == 0.0  # the criterion's declared worst


def test_a_study_of_collapsed_trials_is_refused(mixed: Project) -> None:
    assert "no trial to pick from (collapsed: all images map" in mixed.refused("selection", "study=collapsed")
    assert not (mixed.folder / "runs/collapsed/selection.json").exists()


def test_rank_criteria_are_refused_across_dimensions(mixed: Project) -> None:
    line = mixed.refused("selection", "study=sizes", "criterion=rankme")
    assert "can't rank trials of different z sizes [8, 12]" in line
    mixed.ok("selection", "study=sizes", "criterion=alignment")


def test_the_loss_is_refused_where_it_is_defined_differently(finished: Project) -> None:
    line = finished.refused("selection", "study=tiny", "criterion=train_loss")
    assert "compares only trials whose loss is defined alike" in line and "method.temperature" in line


def test_a_study_without_trials_is_refused(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    path = project.folder / "runs/tiny/study.json"
    study = json.loads(path.read_text())
    path.write_text(json.dumps(study | {"trials": []}))
    assert "study tiny has no trials" in project.refused("selection", "study=tiny")
    path.write_text("not json")
    assert "is not a study of format 1" in project.refused("selection", "study=tiny")


def test_a_listed_trial_that_is_gone_names_the_command_that_restores_it(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    trial = finished.json("runs/tiny/study.json")["trials"][1]["trial"]
    (project.folder / f"runs/store/{trial}/config.json").unlink()
    assert f"trial {trial} isn't in runs/store: run the study's python -m src.train -m again" in project.refused(
        "selection", "study=tiny"
    )
