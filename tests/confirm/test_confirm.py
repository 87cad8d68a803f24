"""The selection repeated on fresh seeds: ordinary trials of a study of their own, and no label."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from src.confirm.confirmation import compare
from src.runtime import files
from src.selection.ranking import rank
from src.selection.rule import make_rule
from tests.pools import planted
from tests.project import Project

CONFIRM = ("confirm", "study=tiny", "top=2", "seeds=[1]")


def test_fresh_seeds_are_ordinary_trials_of_a_study_of_their_own(finished: Project) -> None:
    study, again = finished.json("runs/tiny/study.json"), finished.json("runs/tiny-confirm/study.json")
    wanted = [line["number"] for line in finished.json("runs/tiny/selection.json")["ranking"][:2]]
    assert [trial["status"] for trial in again["trials"]] == ["complete", "complete"]
    assert again["criteria"] == study["criteria"] and again["evaluation"] == study["evaluation"]
    pairs = zip((study["trials"][number] for number in wanted), again["trials"], strict=True)
    for first, fresh in pairs:
        before, after = (finished.json(f"runs/store/{t['trial']}/config.json") for t in (first, fresh))
        assert fresh["trial"] == files.fingerprint(after) != first["trial"]
        assert {key for key in after if after[key] != before[key]} == {"seed"} and after["seed"] == 1
        assert fresh["overrides"] == [*first["overrides"], "seed=1"]
        assert finished.json(f"runs/store/{fresh['trial']}/record.json")["status"] == "complete"


def test_what_was_selected_is_compared_with_what_came_back(finished: Project) -> None:
    chosen, found = finished.json("runs/tiny/selection.json"), finished.json("runs/tiny/confirmation.json")
    assert found["selection"] == files.fingerprint(chosen) and found["rule"] == "consensus" and found["seeds"] == [1]
    assert [line["number"] for line in found["confirmed"]] == [line["number"] for line in chosen["ranking"][:2]]
    for line, first in zip(found["confirmed"], chosen["ranking"], strict=False):
        assert list(line["columns"]) == list(chosen["columns"])
        for column, fall in line["columns"].items():
            (fresh,) = line["fresh"]
            path = next(finished.folder.glob(f"runs/store/{fresh['trial']}/criteria/[!s]*.json"))
            kept = json.loads(path.read_text())["values"]
            last = kept[max(kept, key=int)]
            value = next(last[key]["value"] for key in last if key.startswith(f"{column}-"))
            assert fall["first"] == first["values"][column] and fall["fresh"] == [value]
            sign = 1 if chosen["columns"][column]["direction"] == "higher" else -1
            assert fall["curse"] == pytest.approx(sign * (fall["first"] - value))
    assert found["selected"] == [winner["number"] for winner in chosen["winners"]]
    (winner,) = found["winners"]
    assert winner["number"] in [line["number"] for line in found["confirmed"]]


def test_a_curse_is_positive_where_the_first_value_flattered_whichever_way_is_better() -> None:
    first = planted(seed=1)
    chosen = rank(first, make_rule(first, "train_loss"), snapshots="last", draws=100, seed=0)
    best = chosen.ranking[0]
    member = next(m for m in first.members if m.number == best.number)
    last = member.snapshots[-1]
    worse = replace(last, criteria=last.criteria | {"train_loss": last.criteria["train_loss"] + 0.5})
    fresh = replace(member, number=0, trial="fresh", seed=1, snapshots=[*member.snapshots[:-1], worse])
    second = next(m for m in first.members if m.number == chosen.ranking[1].number)
    lost = replace(second, number=1, trial="lost", seed=2, status="diverged", reason="it diverged", snapshots=[])
    found = compare(chosen, first, replace(first, members=[fresh, lost]))
    line, other = found.confirmed
    assert line.columns["train_loss"].curse == pytest.approx(0.5)
    assert [one.status for one in (*line.fresh, *other.fresh)] == ["complete", "diverged"]
    assert other.columns["train_loss"].fresh == [] and found.seeds == [1, 2]
    assert [d.trial for d in found.dropped] == ["lost"] and found.winners[0].number == best.number


def test_where_no_fresh_trial_is_left_nothing_is_confirmed_and_it_says_why() -> None:
    first = planted(seed=1)
    chosen = rank(first, make_rule(first, "train_loss"), snapshots="last", draws=100, seed=0)
    member = next(m for m in first.members if m.number == chosen.ranking[0].number)
    fresh = [replace(member, number=0, trial="a", seed=1), replace(member, number=1, trial="b", seed=2)]
    fresh[1] = replace(fresh[1], status="collapsed", reason="one point")
    found = compare(chosen, first, replace(first, members=fresh))
    assert found.winners == [] and "its configuration collapsed with seed 2" in found.why_none
    assert found.confirmed[0].columns["train_loss"].fresh == [member.last.criteria["train_loss"]]


def test_a_joint_selection_is_confirmed_at_its_own_snapshots() -> None:
    first = planted(seed=1)
    flipped = []
    for m in first.members:  # halfway the values are doubled, so that all picks are early
        early = replace(m.snapshots[1], criteria={c: 2 * v for c, v in m.last.criteria.items()})
        flipped.append(replace(m, snapshots=[m.snapshots[0], early, m.last]))
    first = replace(first, members=flipped)
    chosen = rank(first, make_rule(first, "lidar_z"), snapshots="all", draws=1, seed=0)
    member = next(m for m in flipped if m.number == chosen.winners[0].number)
    found = compare(chosen, first, replace(first, members=[replace(member, number=0, trial="fresh", seed=1)]))
    assert chosen.winners[0].step == member.snapshots[1].step == found.winners[0].step
    assert found.confirmed[0].columns["lidar_z"].fresh == [2 * member.last.criteria["lidar_z"]]


@pytest.mark.parametrize("write", [2, 9, 40])
def test_killed_and_run_again_it_gives_the_identical_confirmation(
    finished: Project, project: Project, write: int
) -> None:
    project.unconfirmed(finished)
    killed = project.run(*CONFIRM, "checkpoint_seconds=0.0", KILL_AT_WRITE=str(write))
    assert killed.returncode == -9 and not (project.folder / "runs/tiny/confirmation.json").exists()
    project.ok(*CONFIRM, "checkpoint_seconds=0.0")
    assert project.fingerprint() == finished.fingerprint()


def test_out_of_time_it_says_so_and_the_same_command_goes_on(finished: Project, project: Project) -> None:
    project.unconfirmed(finished)
    untouched = {p: p.read_bytes() for p in (project.folder / "runs/tiny").iterdir() if p.suffix != ".lock"}
    line = project.refused(*CONFIRM, "max_hours=0.000001")
    assert "max_hours are over; finished trials are kept, the same command goes on" in line
    assert not (project.folder / "runs/tiny/confirmation.json").exists()
    result = project.run(*CONFIRM)
    assert result.returncode == 0 and result.stderr == ""  # MLflow takes what it was told otherwise before
    assert "confirmed: trial" in result.stdout and "next: python -m src.report study=tiny" in result.stdout
    assert project.fingerprint() == finished.fingerprint()
    assert {path: path.read_bytes() for path in untouched} == untouched


def test_several_seeds_are_averaged_and_what_the_store_has_is_not_trained_again(
    finished: Project, project: Project
) -> None:
    project.copy_of(finished)
    out = project.ok("confirm", "study=tiny", "top=1", "seeds=[1,2]")
    assert out.count("(from the store)") == 1
    found = project.json("runs/tiny/confirmation.json")
    assert found["seeds"] == [1, 2] and len(found["confirmed"]) == 1
    (line,) = found["confirmed"]
    assert [fresh["seed"] for fresh in line["fresh"]] == [1, 2]
    for fall in line["columns"].values():
        assert len(fall["fresh"]) == 2
        assert abs(fall["curse"]) == pytest.approx(abs(fall["first"] - sum(fall["fresh"]) / 2))
    (noise,) = found["noise"]
    assert noise["seeds"].keys() == line["columns"].keys() and found["winners"][0]["probability_best"] == 1


def test_trials_named_by_number_are_repeated_without_a_selection(finished: Project, project: Project) -> None:
    project.unconfirmed(finished)
    (project.folder / "runs/tiny/selection.json").unlink()
    project.ok("confirm", "study=tiny", "trials=[0]", "seeds=[1]")
    overrides = project.json("runs/tiny/study.json")["trials"][0]["overrides"]
    again = project.json("runs/tiny-confirm/study.json")["trials"]
    assert [trial["overrides"] for trial in again] == [[*overrides, "seed=1"]]
    assert not (project.folder / "runs/tiny/confirmation.json").exists()


def test_a_study_guided_by_a_column_without_a_space_is_repeated_too(project: Project) -> None:
    project.prepare()
    project.ok("train", *project.sweep("criterion=train_loss", trials=1))
    project.ok("confirm", "study=tiny", "trials=[0]", "seeds=[1]")
    study, again = project.json("runs/tiny/study.json"), project.json("runs/tiny-confirm/study.json")
    assert again["criterion"] == study["criterion"] == "train_loss"
    assert [trial["overrides"][-1] for trial in again["trials"]] == ["seed=1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["top=0"], "top must be >= 1, got 0"),
        (["seeds=[]"], "seeds must be a list like [1,2] with at least one entry, got []"),
        (["seeds=1"], "seeds must be a list like [1,2], got 1"),
        (["seeds=[-1]"], "seeds.0 must be >= 0, got -1"),
        (["seeds=[1,1]"], "seeds must name each only once, got [1, 1]"),
        (["seeds=[0]"], "seeds must be fresh, and trial "),
        (["trials=[0,9]"], "trials must be numbers of study tiny, 0 to 2, got [0, 9]"),
        (["trials=[]"], "trials must be a list like [1,2] with at least one entry, got []"),
        (["max_hours=-1"], "max_hours must be > 0, got -1"),
    ],
)
def test_refusals(finished: Project, arguments: list[str], message: str) -> None:
    before = finished.files()
    assert message in finished.refused("confirm", "study=tiny", *arguments)
    assert finished.files() == before


def test_without_a_selection_it_names_the_stage_to_run_first(finished: Project, project: Project) -> None:
    project.unconfirmed(finished)
    (project.folder / "runs/tiny/selection.json").unlink()
    line = project.refused("confirm", "study=tiny")
    assert "runs/tiny/selection.json is missing: run python -m src.selection study=tiny first" in line
    assert not (project.folder / "runs/tiny-confirm").exists()


def test_a_selection_by_labels_is_refused(finished: Project, project: Project) -> None:
    project.unconfirmed(finished)
    project.ok("selection", "study=tiny", "rule=labels_5-0", "draws=100")
    assert "was made with labels, which confirm doesn't read" in project.refused("confirm", "study=tiny")
    assert not (project.folder / "runs/tiny-confirm").exists()


def test_trials_that_other_code_trained_are_refused_before_any_training(finished: Project, project: Project) -> None:
    project.unconfirmed(finished).own_code()
    loop = project.folder / "src/trial/loop.py"
    loop.write_text(loop.read_text() + "\nOTHER = 1\n")
    line = project.refused("confirm", "study=tiny", "top=2")
    assert "was trained by source " in line and "run its study again before it is repeated" in line
    assert not (project.folder / "runs/tiny-confirm").exists()


def test_mlflow_holds_the_repeated_trials_with_their_probes(finished: Project) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{finished.folder}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("tiny-confirm")
    assert experiment is not None
    runs = [r for r in client.search_runs([experiment.experiment_id]) if r.data.tags["stepwise.trial"] != "-"]
    again = finished.json("runs/tiny-confirm/study.json")["trials"]
    assert {run.data.tags["stepwise.trial"] for run in runs} == {trial["trial"] for trial in again}
    assert all(run.data.tags["seed"] == "1" and "probe/linear_top1" in run.data.metrics for run in runs)
