"""The report's numbers of pools of which every number is known, and how they are kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from src.report.numbers import Choosing, FinalPick, Importance, ReportNumbers, SpentPoint, Way, as_kept
from src.report.summary import ALL_METHODS, agreement, find, trial_row
from src.runtime import files, records
from src.study.pool import Pool
from src.study.results import Confirmation, ConfirmedWinner, FreshTrial, Selection
from tests.pools import member, planted, pool
from tests.report.known import SETTINGS, selected, sure, with_epochs

QUALITY = [0.2, 0.9, 0.5, 0.4]


def numbers_of(made: Pool, chosen: Selection | None = None, confirmation: Confirmation | None = None) -> ReportNumbers:
    return find(made, chosen or selected(made), confirmation, SETTINGS)


def in_order(order: list[float]) -> Pool:
    """Trials of these qualities that lidar_z puts in this order."""
    return pool([sure(i, q, {"lidar_z": value}) for i, (q, value) in enumerate(zip(QUALITY, order, strict=True))])


def chance(found: Choosing) -> Way:
    return next(way for way in found.rows if way.name == "random choice")


def confirming(chosen: Selection, *winners: tuple[int, str]) -> Confirmation:
    """A confirmation with these winners: number and method."""
    fresh = [FreshTrial(seed=1, trial="f", status="complete")]
    return Confirmation(
        study=chosen.study,
        selection=files.fingerprint(chosen),
        rule=chosen.rule,
        seeds=[1],
        confirmed=[],
        winners=[ConfirmedWinner(number, f"t{number}", method, fresh, 100, None) for number, method in winners],
        why_none="" if winners else "all collapsed",
        selected=[winner.number for winner in chosen.winners],
        noise=[],
        ranking=[],
        dropped=[],
    )


# what is said of a pool without labels


def test_trials_are_counted_by_how_they_ended() -> None:
    nothing = [member(4, status="diverged"), member(5, status="stopped"), member(6, status="stopped")]
    made = pool([*in_order([1, 4, 3, 2]).members, *nothing, sure(7, 0.1, status="collapsed")])
    counts = numbers_of(made).pool
    assert (counts.trials, counts.complete, counts.collapsed, counts.diverged, counts.stopped) == (8, 4, 1, 1, 2)


def test_compute_is_of_all_that_has_weights() -> None:
    made = pool([sure(0, 0.5, {"lidar_z": 1.0}, flops=2e12), sure(1, 0.6, {"lidar_z": 2.0}, flops=3e12)])
    made = replace(made, members=[*made.members, member(2, status="diverged", evaluation_flops=0.0)])
    found = numbers_of(made).compute
    assert found.training_tflops == pytest.approx(5) and found.evaluation_tflops == pytest.approx(0.002)


def test_the_glossary_says_what_compared_trials_share() -> None:
    glossary = numbers_of(in_order([1, 4, 3, 2])).criteria
    assert glossary["train_loss"].direction == "lower" and glossary["train_loss"].within == ["loss"]
    assert glossary["lidar"].spaces == ["z", "h"] and glossary["lidar"].within == ["method", "dimension"]
    assert glossary["consensus"].within == ["dimension", "method"]  # all that its columns do


def test_the_final_pick_is_the_confirmed_one() -> None:
    made = in_order([1, 4, 3, 2])
    chosen = selected(made)
    assert numbers_of(made, chosen).final == [FinalPick(1, confirmed=False)]
    assert numbers_of(made, chosen, confirming(chosen, (2, "simclr"))).final == [FinalPick(2, confirmed=True)]
    assert numbers_of(made, chosen, confirming(chosen)).final == [FinalPick(1, confirmed=False)]


def test_each_methods_final_pick_is_its_own() -> None:
    made = pool([sure(i, q, {"lidar_z": q}, method=f"m{i % 2}") for i, q in enumerate(QUALITY)])
    chosen = selected(made)
    assert [(pick.method, pick.number) for pick in chosen.winners] == [("m0", 2), ("m1", 1)]
    found = numbers_of(made, chosen, confirming(chosen, (3, "m1")))
    assert found.final == [FinalPick(2, confirmed=False), FinalPick(3, confirmed=True)]


def test_without_labels_what_cannot_be_known_is_left_out() -> None:
    made = pool([member(i, {"lidar_z": float(i)}, budgets={"5-0": 0.1 * i}) for i in range(3)])
    found = numbers_of(made)
    assert found.quality is None and found.loss is None and found.choosing is None and found.budget is None
    assert found.label_files == ["5-0"] and found.picked == [2]
    assert not {"loss", "choosing", "budget"} & as_kept(found).keys() and as_kept(found)["quality"] is None


def test_a_trial_without_weights_has_a_row_all_the_same() -> None:
    row = trial_row(member(3, status="diverged", budgets={}), "linear")
    assert row.tflops is None and row.criteria == {} and row.probes == {} and row.over_training == []
    assert (row.number, row.status, row.reason) == (3, "diverged", "it diverged")


def test_a_trials_row_has_its_end_and_its_path() -> None:
    trial = with_epochs(0, [0.3, 0.8], [1, 9], budgets={"5-0": 0.7}, flops=4e12)
    row = trial_row(trial, "linear")
    assert row.criteria == {"lidar_z": 9, "labels_5-0": 0.7} and row.tflops == pytest.approx(4)
    assert row.top1("linear") == pytest.approx(0.8)
    assert [(point.images, point.criteria["lidar_z"]) for point in row.over_training] == [(6400, 1), (12_800, 9)]
    assert [point.quality for point in row.over_training] == pytest.approx([0.3, 0.8])
    assert [point.quality for point in trial_row(trial, "knn").over_training] == [None, None]


# with labels


def test_methods_are_judged_apart_and_together() -> None:
    members = [sure(i, q, {"lidar_z": q}, method=f"m{i % 2}") for i, q in enumerate(QUALITY)]
    members.append(sure(4, 0.1, {"lidar_z": 0.0}, method="m2", status="collapsed"))
    found = numbers_of(pool(members))
    assert found.methods == ["m0", "m1"]  # m2 has no healthy trial to choose
    assert found.choosing is not None and list(found.choosing) == ["m0", "m1", ALL_METHODS]
    assert [one.configurations for one in found.choosing.values()] == [2, 2, 4]
    by_chance = {name: chance(one) for name, one in found.choosing.items()}
    assert by_chance["m0"].with_collapsed == by_chance["m0"].judged
    among_all = by_chance[ALL_METHODS].with_collapsed
    assert among_all is not None and among_all.quality == pytest.approx(np.mean([*QUALITY, 0.1]))  # of m2 too
    assert found.loss is not None and list(found.loss) == ["m0", "m1"]


def test_the_loss_is_said_with_collapsed_trials_where_there_are_some() -> None:
    """The lower the loss the better, but for a trial of the lowest that is the worst."""
    members = [sure(i, q, {"lidar_z": q}, losses=[1 - q]) for i, q in enumerate(QUALITY)]
    clean = numbers_of(pool(members)).loss
    assert clean is not None and clean["simclr"].between == pytest.approx(1)
    assert clean["simclr"].with_collapsed is None and clean["simclr"].sentence.startswith("simclr: ")
    collapsed = sure(4, 0.1, {"lidar_z": 0.0}, losses=[0.0], status="collapsed")
    found = numbers_of(pool([*members, collapsed])).loss
    assert found is not None and found["simclr"].between == pytest.approx(1)
    assert found["simclr"].with_collapsed is not None and found["simclr"].with_collapsed.trials == 5
    assert found["simclr"].with_collapsed.between == pytest.approx(0)  # ranks 1 4 3 2 5 against 2 5 4 3 1


def test_had_the_study_stopped_earlier() -> None:
    """Trials cost 1 TFLOP and 0.001 of measuring: one that collapsed costs as much, one that diverged has no count."""
    members = [
        sure(0, 0.4, {"lidar_z": 3.0}),
        member(1, status="diverged"),
        sure(2, 0.9, {"lidar_z": 1.0}),
        sure(3, 0.1, {"lidar_z": 9.0}, status="collapsed"),
        sure(4, 0.5, {"lidar_z": 5.0}),
        sure(5, 0.8, {"lidar_z": 7.0}, configuration="c4", seed=1),  # repeated after the choice
        sure(6, 0.7, {}),  # not comparable: it lacks the column
    ]
    found = numbers_of(pool(members)).budget
    assert found is not None
    assert [point.tflops for point in found] == pytest.approx([1.001, 2.002, 3.003, 4.004, 5.005])
    assert [point.pick for point in found] == pytest.approx([0.4, 0.4, 0.4, 0.5, 0.5])
    assert [point.best for point in found] == pytest.approx([0.4, 0.9, 0.9, 0.9, 0.9])
    assert isinstance(found[0], SpentPoint)


def test_importances_agree_where_two_forests_put_the_knobs_in_one_order() -> None:
    def found(r2: float, *knobs: float) -> Importance:
        return Importance(r2, dict(zip("abc", knobs, strict=True)), dict.fromkeys("abc", 0.0), agreement=None)

    assert agreement(found(0.5, 3, 2, 1), found(0.9, 30, 5, 4)) == pytest.approx(1)
    assert agreement(found(0.5, 3, 2, 1), found(0.9, 1, 2, 3)) == pytest.approx(-1)
    assert agreement(found(0.5, 3, 2, 1), found(0.0, 3, 2, 1)) is None  # which knows nothing
    assert agreement(found(0.5, 1, 1, 1), found(0.9, 1, 2, 3)) is None


def test_knobs_of_enough_configurations_are_compared_with_quality() -> None:
    found = numbers_of(planted(seed=3, repeated=4))
    assert found.varied == ["optimizer.learning_rate", "batch_size"]
    assert set(found.knobs) >= {"quality", "lidar_z"} and found.knobs["quality"].pairs is not None
    for name, importance in found.knobs.items():
        assert (importance.agreement is None) == (min(importance.r2, found.knobs["quality"].r2) <= 0), name
        assert (importance.pairs is None) == (name != "quality")
    assert numbers_of(in_order([1, 4, 3, 2])).knobs == {}  # too few for a forest


# how they are kept


@pytest.mark.parametrize("labelled", [True, False])
def test_metrics_json_is_read_back_as_the_same_numbers(tmp_path: Path, labelled: bool) -> None:
    made = planted(seed=3, repeated=4)
    collapsed = replace(made.members[1], number=20, trial="c", configuration="c", status="collapsed", reason="a point")
    made = replace(made, members=[*made.members, collapsed, member(21, status="diverged")])
    if not labelled:
        blind = [[replace(s, probes={}, right={}) for s in trial.snapshots] for trial in made.members]
        pairs = zip(made.members, blind, strict=True)
        made = replace(made, members=[replace(trial, snapshots=snapshots) for trial, snapshots in pairs])
    chosen = selected(made, ["lidar_z", "rankme_h"])
    numbers = numbers_of(made, chosen, confirming(chosen, (2, "simclr")))
    path = tmp_path / "metrics.json"
    files.write_json(path, as_kept(numbers))
    again = records.read(path, ReportNumbers, "run it again")
    assert again == numbers
    assert files.to_json(as_kept(again)) == path.read_bytes()


def test_a_way_that_chose_nothing_keeps_no_figures() -> None:
    found = as_kept(numbers_of(in_order([1, 4, 3, 2])))
    rows = {row["name"]: row for row in json.loads(files.to_json(found))["choosing"]["simclr"]["rows"]}
    assert rows["rankme_h"] == {"name": "rankme_h", "with_collapsed": {}, "note": "not measured", "noise_floor": None}
    assert "noise_floor" not in rows["random choice"] and rows["random choice"]["regret"] == pytest.approx(0.4)
