"""The report: its numbers, its figures, the seal, and MLflow's copy of everything."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from src.data.pack import read_labels, read_manifest
from src.runtime import files
from src.runtime.figure_style import INK
from src.runtime.stats import by_group
from src.study.pool import joined
from src.study.results import read_budgets, read_probed
from src.study.stored import StoredStudy, labelled_pool
from src.study.table import write_table
from tests.pools import planted
from tests.project import REPORT, Project

BASELINES = ["raw pixels", "untrained encoder"]


def runs(project: Project, study: str = "tiny") -> tuple[MlflowClient, list[Run]]:
    client = MlflowClient(f"sqlite:///{project.folder}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    return client, list(client.search_runs([experiment.experiment_id]))


OF_ONE_METHOD = {"budget.svg", "criteria_simclr.svg", "curves.svg", "more_simclr.svg", "parting.svg"}
OF_ONE_METHOD |= {"regret_simclr.svg", "slices.svg", "parallel.svg"}
OF_THE_STORE = {"spectrum.png", "views.png"}
OF_KNOBS = {"importance.svg"}


def page_of(project: Project) -> str:
    return (project.folder / "report/index.html").read_text()


def figures_of(project: Project) -> set[str]:
    return {path.name for path in (project.folder / "report/figures").iterdir()}


def check_page(project: Project) -> None:
    """The page needs no network, holds every figure that was drawn, and no figure brings a ground of its own."""
    page, drawn = page_of(project), figures_of(project)
    assert page.count("<svg") == sum(name.endswith(".svg") for name in drawn)
    assert page.count("<img") == page.count('<img src="data:image/png;base64,') == len(drawn & OF_THE_STORE)
    assert page.count("<figure>") == len(drawn)
    for link in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert link.startswith(("#", "data:image/png;base64,", "http://127.0.0.1:5000/#/experiments/")), link
    assert set(re.findall(r"url\((.)", page)) <= {"#"} and "@import" not in page and "<link" not in page
    assert not re.search(r"<script[^>]+src|fetch\(|XMLHttpRequest", page)
    assert "currentColor" in page and "@media (prefers-color-scheme: dark)" in page
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        assert not re.search("#000000|#ffffff|" + INK, svg)
    for name, shapes in definitions(page).items():
        assert len(shapes) == 1, f"{name} is two things in two figures of one page"


def definitions(page: str) -> dict[str, set[str]]:
    """What an SVG refers to by its id -> its shapes; ids are the whole page's."""
    found: dict[str, set[str]] = {}
    for name, shape in re.findall(r'<(?:clipPath|path) id="([^"]+)"(.*?)(?:</clipPath>|/>)', page, re.DOTALL):
        found.setdefault(name, set()).add(" ".join(shape.split()))
    return found


def test_the_page_is_one_file_with_every_figure_inside(finished: Project) -> None:
    assert figures_of(finished) == OF_ONE_METHOD | OF_THE_STORE  # too few configurations for a forest
    check_page(finished)


def test_each_trial_links_to_its_run(finished: Project) -> None:
    """Those that confirm repeated too, which are another study's."""
    metrics, page = finished.json("report/metrics.json"), page_of(finished)
    assert len(metrics["trials"]) == 5
    known: dict[str, tuple[str, str]] = {}
    for name in ("tiny", "tiny-confirm"):
        _, found = runs(finished, name)
        known |= {run.data.tags["stepwise.trial"]: (run.info.experiment_id, run.info.run_id) for run in found}
    for trial in metrics["trials"]:
        experiment, run = known[trial["trial"]]
        link = f"http://127.0.0.1:5000/#/experiments/{experiment}/runs/{run}"
        assert f'<a href="{link}"><code>{trial["trial"][:8]}</code></a>' in page


def numbers_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = set().union(*(numbers_of(key) for key in value)) if value else set()
        return own.union(*(numbers_of(v) for v in value.values())) | {str(len(value))}
    if isinstance(value, list):
        return set().union(*(numbers_of(v) for v in value)) | {str(len(value))}
    if isinstance(value, bool) or not isinstance(value, int | float):
        found = set(re.findall(NUMBER, str(value)))
        return found | {f"{float(number.replace(',', '')):.3g}" for number in found}
    shown = {f"{100 * value:.1f}", f"{value:.2f}", f"{value:+.2f}", f"{value:.4g}", f"{value:,}", str(value)}
    return {number.lstrip("+-") for number in shown}


NUMBER = r"(?<![\w.#,])[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?(?![\w])"


def shown_numbers(page: str) -> set[str]:
    """Every number that a reader sees outside figures."""
    text = re.sub(r"<(svg|style|script|title|code)\b.*?</\1>|<figcaption>.*?</figcaption>", " ", page, flags=re.DOTALL)
    return set(re.findall(NUMBER, html.unescape(re.sub(r"<[^>]*>", " ", text)).replace("−", "")))


def test_every_number_on_the_page_comes_from_metrics_json(finished: Project) -> None:
    metrics = finished.json("report/metrics.json")
    known = numbers_of(metrics) | {"95", "1", "10", "8"}  # 95 % intervals, P(top 10 %), +1, utf-8
    for choosing in metrics["choosing"].values():
        known |= numbers_of(
            [2 * choosing["standard_error"], sum(choosing["snapshots"][k] for k in ("optimism", "gain"))]
        )
        known |= {str(sum(bool(row["note"]) for row in choosing["rows"]))}
    for line in metrics["confirmation"]["confirmed"]:
        known |= numbers_of([float(np.mean(column["fresh"])) for column in line["columns"].values()])
    shown = shown_numbers(page_of(finished))
    assert len(shown) > 150
    assert shown - known == set()


def test_a_number_that_metrics_json_lacks_would_be_found() -> None:
    page = (
        '<title>1</title><p>3 trials, <b>12.5 %</b> − 1,920 images</p><svg>7</svg><td class="a">−0.25 &hellip; 4</td>'
    )
    assert shown_numbers(page) == {"3", "12.5", "1,920", "0.25", "4"}
    assert numbers_of({"a": [0.125, 1920]}) >= {"12.5", "1,920"} and "0.25" not in numbers_of([0.125, 1920])


def test_quality_and_picks_follow_from_probe_json(finished: Project) -> None:
    metrics = finished.json("report/metrics.json")
    probed = {
        t: s for name in ("tiny", "tiny-confirm") for t, s in finished.json(f"runs/{name}/probe.json")["trials"].items()
    }
    group = read_labels(read_manifest(finished.folder / "data/digits"), "val")["group"]
    last = [probed[t["trial"]][max(probed[t["trial"]], key=int)]["linear"] for t in metrics["trials"]]
    assert [t["probes"]["linear"]["top1"] for t in metrics["trials"]] == [found["numbers"]["top1"] for found in last]
    configurations: dict[str, list[float]] = {}
    for trial, found in zip(metrics["trials"], last, strict=True):
        score = by_group(np.array([c == "1" for c in found["right"]]), group).mean()
        configurations.setdefault(trial["configuration"], []).append(float(score))
    means = {name: np.mean(scores) for name, scores in configurations.items()}
    assert sorted(map(len, configurations.values())) == [1, 2, 2]
    choosing = metrics["choosing"]["simclr"]
    assert choosing["best"] == pytest.approx(max(means.values())) and choosing["configurations"] == 3
    rows = {row["name"]: row for row in choosing["rows"]}
    for row in rows.values():
        if row.get("pick") is not None:
            assert row["quality"] == pytest.approx(means[metrics["trials"][row["pick"]]["configuration"]])
    assert rows["random choice"]["quality"] == pytest.approx(np.mean(list(means.values())))
    assert rows["random choice"]["over_random"] in (None, pytest.approx(1))  # None: nothing to lose but noise
    assert rows["default configuration"]["pick"] == 0


def test_every_way_of_choosing_is_judged_and_every_trial_counts(finished: Project) -> None:
    """Label budgets too: confirm's trials are scored with them, or a confirmed pick could never be their pick."""
    rows = {row["name"]: row for row in finished.json("report/metrics.json")["choosing"]["simclr"]["rows"]}
    ways = {"random choice", "default configuration", "this selection", "consensus", "clid"}
    labels = {"labels: 1 per class", "labels: 5 per class", "labels: all of probe"}
    assert ways | labels < set(rows) and "nesum_h" not in rows
    for name in ("consensus", "lidar_z", "train_loss", *sorted(labels)):
        assert rows[name]["tau"] is not None, name


def test_what_selection_would_refuse_is_said_so(finished: Project) -> None:
    rows = {row["name"]: row for row in finished.json("report/metrics.json")["choosing"]["simclr"]["rows"]}
    assert rows["train_loss"]["note"].startswith("selection refuses it here")
    assert rows["lidar_z"]["note"] == ""
    assert "alpha_req fits the ranks 11.." in rows["alpha_req_h"]["note"] and "regret" not in rows["alpha_req_h"]
    assert f"{sum(bool(row['note']) for row in rows.values())} criteria that selection would refuse" in page_of(
        finished
    )


def test_tables_for_spreadsheets_hold_every_trial_and_every_way_of_choosing(finished: Project) -> None:
    metrics = finished.json("report/metrics.json")
    with (finished.folder / "report/trials.csv").open() as file:
        trials = list(csv.DictReader(file))
    assert [row["trial"] for row in trials] == [trial["trial"] for trial in metrics["trials"]]
    assert [float(row["linear_top1"]) for row in trials] == [t["probes"]["linear"]["top1"] for t in metrics["trials"]]
    assert [float(row["lidar_z"]) for row in trials] == [t["criteria"]["lidar_z"] for t in metrics["trials"]]
    with (finished.folder / "report/choosing.csv").open() as file:
        choosing = list(csv.DictReader(file))
    rows = metrics["choosing"]["simclr"]["rows"]
    assert [row["chosen_by"] for row in choosing] == [row["name"] for row in rows for _ in range(2)]
    assert [row["with_collapsed"] for row in choosing[:2]] == ["False", "True"]
    lidar = next(row for row in rows if row["name"] == "lidar_z")
    flat = next(row for row in choosing if row["chosen_by"] == "lidar_z")
    assert [float(flat["regret_low"]), float(flat["regret_high"])] == lidar["regret_interval"]


def test_the_seal_is_opened_once_for_a_selection(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    ledger = project.folder / "runs/seal.jsonl"
    assert ledger.read_text().count("\n") == 1
    names = [row["name"] for row in project.json("report/metrics.json")["test"]]
    assert (
        names[1].startswith("confirmed: trial")
        and names[1].endswith(", 1 fresh")
        and names[2:] == ["default configuration", *BASELINES]
    )
    project.ok("report", *REPORT)
    assert ledger.read_text().count("\n") == 1
    project.ok("selection", "study=tiny", "rule=alignment")
    project.ok("report", *REPORT)
    assert ledger.read_text().count("\n") == 2
    metrics = project.json("report/metrics.json")
    assert metrics["seal"]["openings"] == 2 and metrics["confirmation"] is None  # which was of another selection
    names = [row["name"] for row in metrics["test"]]
    assert names[0].startswith("pick: trial ") and names[1:] == ["default configuration", *BASELINES]
    assert set(metrics["test"][0]["scores"]) == {"knn", "linear"}
    assert "The test seal has been opened 2 times." in page_of(project)


def test_a_torn_line_of_the_ledger_is_no_opening(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    ledger = project.folder / "runs/seal.jsonl"
    whole = ledger.read_bytes()
    ledger.write_bytes(whole + b'{"key": "ab')
    project.ok("report", *REPORT)
    assert ledger.read_bytes() == whole
    ledger.write_bytes(b"{\n" + whole)
    assert "seal.jsonl, line 1 is damaged" in project.refused("report", *REPORT)


def test_a_joint_selection_is_scored_at_its_own_snapshot(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    out = project.ok("selection", "study=tiny", "snapshots=all", "rule=alignment_z", "draws=100")
    (winner,) = project.json("runs/tiny/selection.json")["winners"]
    assert f"its weights: runs/store/{winner['trial']}/snapshots/{winner['step']:07d}.safetensors" in out
    assert "order is was not measured: noise is measured on last snapshots" in " ".join(out.split())
    project.ok("confirm", "study=tiny", "top=1", "seeds=[1]")
    project.ok("probe", "study=tiny", "threads=1")
    project.ok("report", *REPORT)
    opened = json.loads((project.folder / "runs/seal.jsonl").read_text().splitlines()[-1])
    assert (opened["picks"][0]["kind"], opened["picks"][0]["step"]) == ("pick", winner["step"])
    page = page_of(project)
    assert f"after {winner['images']:,} images" in page and "noise is measured on last snapshots only" in page
    assert project.json("runs/tiny/confirmation.json")["confirmed"][0]["step"] == winner["step"]


def test_a_rule_of_listed_columns_is_judged_like_any_other(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    project.ok("selection", "study=tiny", "rule=[lidar,view_information_h]", "draws=100")
    project.ok("report", *REPORT)
    metrics = project.json("report/metrics.json")
    assert metrics["rule"] == "lidar_z+view_information_h"
    row = next(row for row in metrics["choosing"]["simclr"]["rows"] if row["name"] == metrics["rule"])
    assert row["tau"] is not None and row["regret"] is not None
    assert f'<tr class="picked"><td>{metrics["rule"]}</td>' in page_of(project)


def test_the_same_study_gives_the_same_report_bytes(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    project.ok("report", *REPORT)
    reports = [{p.name: p.read_bytes() for p in (one.folder / "report").rglob("*.*")} for one in (project, finished)]
    assert reports[0].keys() == reports[1].keys() and len(reports[0]) == 4 + 10 + 1  # the list of these
    assert [name for name in reports[0] if reports[0][name] != reports[1][name]] == []


def test_mlflow_holds_the_study_its_trials_and_their_files(finished: Project) -> None:
    client, found = runs(finished)
    parents = [run for run in found if run.data.tags["stepwise.trial"] == "-"]
    children = [run for run in found if run.data.tags["stepwise.trial"] != "-"]
    assert len(parents) == 1 and len(children) == 3
    files = {artifact.path for artifact in client.list_artifacts(parents[0].info.run_id)}
    assert {"index.html", "metrics.json", "trials.csv", "choosing.csv", "figures"} == files
    for run in children:
        assert run.data.tags["mlflow.parentRunId"] == parents[0].info.run_id
        assert run.info.status == "FINISHED" and run.data.tags["status"] in ("complete", "collapsed")
        assert run.data.tags["stepwise.trial"][:8] in str(run.info.run_name)
        assert run.data.params["method.temperature"] and run.data.params["optimizer.learning_rate"]
        for tag in ("seed", "device", "threads", "data.checksum", "version.torch", "source", "number"):
            assert run.data.tags[tag]
        artifacts = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
        assert artifacts == {
            "config.yaml",
            "history.csv",
            "spectrum.json",
            "trial.png",
            "weights.safetensors",
        }
        losses = client.get_metric_history(run.info.run_id, "train/loss")
        assert len(losses) == len({point.step for point in losses}) == 4
        assert len(client.get_metric_history(run.info.run_id, "criterion/lidar_z")) == 2
        assert len(client.get_metric_history(run.info.run_id, "probe/knn_top1")) == 2
        assert len(client.get_metric_history(run.info.run_id, "probe/ridge_r2")) == 1  # of the last snapshot only


def test_the_selected_trial_is_tagged_so(finished: Project) -> None:
    _, found = runs(finished)
    tagged = {run.data.tags["stepwise.trial"]: run.data.tags.get("selected") for run in found}
    winner = finished.json("runs/tiny/selection.json")["winners"][0]
    pick = winner["trial"]
    assert tagged[pick] == f"consensus at step {winner['step']}"
    assert sorted(value for key, value in tagged.items() if key not in (pick, "-")) == ["no", "no"]  # type: ignore[type-var]


def test_probes_are_compared_with_pixels_and_the_untrained_encoder(finished: Project) -> None:
    baselines = finished.json("runs/tiny/probe.json")["baselines"]
    assert list(baselines) == sorted(BASELINES)
    for scores in baselines.values():
        assert set(scores) == {"linear", "knn", "few_label", "cross_validated", "kmeans", "ridge"}
        for score in (scores["linear"], scores["knn"]):
            assert score["numbers"]["top1"] == pytest.approx(score["right"].count("1") / len(score["right"]))


def test_a_report_from_a_kept_table_says_the_same_without_store_or_data(
    finished: Project, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished.folder)
    group = read_labels(read_manifest(Path("data/digits")), "val")["group"]
    pools = []
    for name in ("tiny", "tiny-confirm"):
        folder = Path("runs") / name
        probed = read_probed(folder)
        assert probed is not None
        pools.append(labelled_pool(StoredStudy(folder), probed, group, read_budgets(folder)))
    write_table(project.folder / "kept.parquet", [joined(*pools)], {})
    project.ok("selection", "study=tiny", "table=kept.parquet", "draws=100")
    project.ok("report", *REPORT, "table=kept.parquet")
    assert not (project.folder / "data").exists() and not (project.folder / "runs/store").exists()
    ours, theirs = (one.json("report/metrics.json") for one in (project, finished))
    for metrics in (ours, theirs):  # of the repeated trials too here, of the first alone there
        rows = metrics["choosing"]["simclr"]["rows"]
        rows.remove(next(row for row in rows if row["name"] == "this selection"))
    for part in ("trials", "choosing", "default", "loss", "knobs", "budget", "compute", "criteria", "pool"):
        assert ours[part] == theirs[part], part
    assert ours["test"] == [] and ours["links"] == {} and ours["noise"][0]["seeds"] is not None
    assert "The test split is sealed." in page_of(project) and "What the pick is worth" not in page_of(project)
    assert figures_of(project) == OF_ONE_METHOD
    check_page(project)


def test_every_figure_is_drawn_where_there_are_trials_enough(project: Project) -> None:
    made = planted(seed=3, repeated=4)
    write_table(project.folder / "kept.parquet", [made], {})
    arguments = ["study=made", "table=kept.parquet"]
    project.ok("selection", *arguments, "rule=lidar", "draws=100")
    project.ok("report", *arguments, "resamples=100", "threads=1", "halvings=10")
    assert figures_of(project) == OF_ONE_METHOD | OF_KNOBS
    check_page(project)
    metrics, page = project.json("report/metrics.json"), page_of(project)
    assert "Which knobs matter?" in page and "Strongest interactions for accuracy" in page
    assert "draws of other images and seeds: how stable the rule's order is, not how accurate the trial." in page
    rows = {row["name"]: row for row in metrics["choosing"]["simclr"]["rows"]}
    assert rows["lidar_z"]["tau"] > 0.8 and rows["lidar_z"]["noise_floor"] < rows["rankme_z"]["noise_floor"]
    assert rows["lidar_z"]["over_random"] < 0.3 < rows["train_loss"]["over_random"]
    assert "between runs a lower loss misleads about it" in metrics["loss"]["simclr"]["sentence"]
    out = project.ok("report", "show=true")
    assert metrics["loss"]["simclr"]["sentence"] in " ".join(out.split())


def test_the_report_of_an_earlier_release_is_refused_in_one_line(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    path = project.folder / "report/metrics.json"
    metrics = json.loads(path.read_text())
    first = ("study", "rule", "columns", "picks", "ranking", "dropped", "test", "trials")  # what it had
    path.write_text(json.dumps({name: metrics[name] for name in first}))
    line = project.refused("report", "show=true")
    assert line.startswith("error: report/metrics.json isn't as it was written (")
    assert line.endswith(" is missing): run python -m src.report study=... again")
    path.write_text("{")
    assert "report/metrics.json is damaged" in project.refused("report", "show=true")


def test_knobs_are_shown_where_nothing_is_labelled(project: Project) -> None:
    made = planted(seed=3, repeated=4)
    blind = [
        replace(m, budgets={}, snapshots=[replace(s, probes={}, right={}) for s in m.snapshots]) for m in made.members
    ]
    write_table(project.folder / "kept.parquet", [replace(made, members=blind)], {})
    project.ok("selection", "study=made", "table=kept.parquet", "rule=lidar", "draws=100")
    project.ok("report", "study=made", "table=kept.parquet", "resamples=100", "threads=1")
    assert figures_of(project) == {"curves.svg", "slices.svg", "parallel.svg"} | OF_KNOBS
    assert "Which knobs matter?" in page_of(project) and "Agrees: rank" not in page_of(project)
    assert {found["agreement"] for found in project.json("report/metrics.json")["knobs"].values()} == {None}
    check_page(project)


def test_methods_are_judged_apart_and_broken_trials_are_listed(project: Project) -> None:
    made, other = planted(seed=3), planted(seed=4)
    vicreg = [
        replace(m, number=12 + i, trial=f"v{i}", configuration=f"v{i}", method="vicreg", loss_definition="two")
        for i, m in enumerate(other.members)
    ]
    nothing: dict[str, Any] = {"snapshots": [], "halves": {}, "budgets": {}}
    collapsed = replace(
        made.members[1], number=24, trial="c", configuration="c", status="collapsed", reason="one point"
    )
    diverged = replace(
        made.members[1], number=25, trial="d", configuration="d", status="diverged", reason="NaN", **nothing
    )
    stopped = replace(
        made.members[1], number=26, trial="s", configuration="s", status="stopped", reason="time", **nothing
    )
    members = [*made.members, *vicreg, collapsed, diverged, stopped]
    write_table(project.folder / "kept.parquet", [replace(made, members=members)], {})
    arguments = ["study=made", "table=kept.parquet"]
    project.ok("selection", *arguments, "rule=lidar", "draws=100")
    project.ok("report", *arguments, "resamples=100", "threads=1", "halvings=5")
    metrics, page = project.json("report/metrics.json"), page_of(project)
    assert "27 trials of simclr, vicreg on digits: 24 healthy, 1 collapsed,\n1 diverged, 1 stopped." in page
    assert "Pick for simclr: <b>trial" in page and "Pick for vicreg: <b>trial" in page
    for method in ("simclr", "vicreg"):
        assert {f"{part}_{method}.svg" for part in ("regret", "criteria", "more")} <= figures_of(project)
        assert metrics["choosing"][method]["configurations"] == 12
    check_page(project)
    for trial, status, reason in (
        ("24 (<code>c</code>)", "collapsed", "one point"),
        ("25 (<code>d</code>)", "diverged", "NaN"),
    ):
        assert f"<li>trial {trial}, {status}: {reason}</li>" in page
    rows = {row["name"]: row for row in metrics["choosing"]["simclr"]["rows"]}  # where the collapsed one looks good
    assert rows["random choice"]["with_collapsed"]["quality"] != rows["random choice"]["quality"]
    other_rows = {row["name"]: row for row in metrics["choosing"]["vicreg"]["rows"]}
    assert other_rows["lidar_z"]["with_collapsed"]["regret"] == other_rows["lidar_z"]["regret"]
    assert "regret" not in other_rows["default configuration"]  # which is simclr's


@pytest.mark.parametrize("numbers", [[0], [0, 12], [0, 1]], ids=["one trial", "one twice", "two"])
def test_a_pool_too_small_to_say_anything_has_a_report_all_the_same(project: Project, numbers: list[int]) -> None:
    made = planted(seed=3, repeated=4)
    few = [member for member in made.members if member.number in numbers]
    write_table(project.folder / "kept.parquet", [replace(made, members=few)], {})
    project.ok("selection", "study=made", "table=kept.parquet", "rule=lidar", "draws=100")
    result = project.run("report", "study=made", "table=kept.parquet", "resamples=100", "threads=1", "halvings=5")
    assert result.returncode == 0 and result.stderr == "", result.stderr
    assert "too few trials or snapshots to say" in page_of(project)
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", page_of(project))
    check_page(project)


def strip_classes(project: Project) -> None:
    """Leave of the labels what an unlabelled data set has: which source image each image is of."""
    labels = project.folder / "data/digits/labels"
    for path in labels.glob("*.csv"):
        lines = [line.split(",") for line in path.read_text().splitlines()]
        place = lines[0].index("group")
        path.write_text("".join(f"{line[place]}\n" for line in lines))
    checksums = {path.stem: files.checksum(path) for path in labels.glob("*.csv")}
    about = json.loads((labels / "manifest.json").read_text())
    files.write_json(labels / "manifest.json", about | {"checksums": checksums})


@pytest.mark.parametrize("labels", ["gone", "without classes"])
def test_without_labels_the_page_says_what_cannot_be_known(finished: Project, project: Project, labels: str) -> None:
    project.copy_of(finished)
    for name in ("runs/tiny/probe.json", "runs/tiny-confirm/probe.json", "runs/tiny/budget.json", "runs/seal.jsonl"):
        (project.folder / name).unlink()
    if labels == "gone":
        shutil.rmtree(project.folder / "data/digits/labels")
    else:
        strip_classes(project)
    project.ok("report", *REPORT)
    page, metrics = page_of(project), project.json("report/metrics.json")
    assert "What can't be known here" in page and "so nobody can say how good any trial is" in page
    assert "python -m src.budget study=tiny file=few.csv" in page and "labels_" not in page
    assert "The test split is sealed." in page and not (project.folder / "runs/seal.jsonl").exists()
    assert metrics["quality"] is None and not {"choosing", "loss", "budget"} & set(metrics)
    assert "regret" not in page and "Confirmed with fresh seeds" in page
    assert figures_of(project) == {"curves.svg", "slices.svg", "parallel.svg", *OF_THE_STORE}
    check_page(project)


def test_the_few_labels_there_are_stand_in_the_report(finished: Project, project: Project) -> None:
    """No class of val is known, but a label file was scored, and picked by."""
    project.copy_of(finished)
    for name in ("runs/tiny/probe.json", "runs/tiny-confirm/probe.json", "runs/seal.jsonl"):
        (project.folder / name).unlink()
    shutil.rmtree(project.folder / "data/digits/labels")
    project.ok("selection", "study=tiny", "rule=labels_5-0", "draws=100")
    project.ok("report", *REPORT)
    page = page_of(project)
    assert "so nobody can say how good any trial is" in page and "rule=labels_1-0 picks by it" in page
    skills = project.json("runs/tiny/budget.json")["files"]["5-0"]["trials"].values()
    assert all(f"<td>{scored['skill']:.4g}</td>" in page for scored in skills)
    assert "score by labels_5-0" in (project.folder / "report/figures/slices.svg").read_text()
    check_page(project)


def test_a_report_of_a_selection_by_labels_draws_what_it_can(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    project.ok("selection", "study=tiny", "rule=labels_5-0", "draws=100")
    project.ok("report", *REPORT)
    assert "Picked by labels_5-0" in page_of(project)
    check_page(project)
    curves = (project.folder / "report/figures/curves.svg").read_text()
    assert "training loss" in curves and "linear top-1 on val" in curves and "labels_5-0" not in curves
    assert "pick" in curves and "default" in curves  # the legend


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quality=kmeans"], "quality must be one of linear, knn, got 'kmeans'"),
        (["resamples=10"], "resamples must be >= 100, got 10"),
        (["halvings=0"], "halvings must be >= 1, got 0"),
        (["show=perhaps"], "show must be true or false, got 'perhaps'"),
        (["table=none.parquet"], "table=none.parquet doesn't exist"),
    ],
)
def test_refusals(finished: Project, arguments: list[str], message: str) -> None:
    assert message in finished.refused("report", "study=tiny", *arguments)


@pytest.mark.parametrize("stage", ["selection", "probe"])
def test_a_missing_stage_is_named(finished: Project, project: Project, stage: str) -> None:
    project.copy_of(finished)
    (project.folder / f"runs/tiny/{stage}.json").unlink()
    line = project.refused("report", *REPORT)
    assert line == f"error: runs/tiny/{stage}.json is missing: run python -m src.{stage} study=tiny first"


@pytest.mark.parametrize("study", ["tiny", "tiny-confirm"])
def test_trials_that_came_after_probe_are_named(finished: Project, project: Project, study: str) -> None:
    project.copy_of(finished)
    path = project.folder / f"runs/{study}/probe.json"
    probed = json.loads(path.read_text())
    probed["trials"].pop(project.json(f"runs/{study}/study.json")["trials"][1]["trial"])
    path.write_text(json.dumps(probed))
    line = project.refused("report", *REPORT)
    assert f"runs/{study}/probe.json lacks trial 1: run python -m src.probe study=tiny again" in line


def test_a_criterion_whose_settings_change_is_measured_without_retraining(finished: Project, project: Project) -> None:
    project.copy_of(finished)

    def measured() -> set[str]:
        values = [json.loads(p.read_text())["values"] for p in project.folder.glob("runs/store/*/criteria/[!s]*.json")]
        return {key for value in values for entries in value.values() for key in entries if key.startswith("rankme_z-")}

    trained = weights(project)
    assert len(measured()) == 1
    out = project.ok("train", *project.sweep("criterion=rankme", "criterion.score.eps=1e-6"))
    assert out.count("(from the store)") == 3
    assert weights(project) == trained and len(measured()) == 2


def weights(project: Project) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in project.folder.glob("runs/store/*/snapshots/*")}


def test_an_added_criterion_is_measured_by_the_studys_own_command(finished: Project, project: Project) -> None:
    """One function and one file; nothing is trained again, and what was measured before stays as it was."""
    project.copy_of(finished).own_code()
    (project.folder / "src/criteria/norm.py").write_text(
        "def norm(e, *, power):\n    return float((e.double().norm(dim=1) ** power).mean())\n"
    )
    (project.folder / "conf/criterion/norm.yaml").write_text(
        "name: norm\nscore: {_target_: src.criteria.norm.norm, _partial_: true, power: 2}\ninput: images\nspaces: [h]\n"
        "direction: lower\nwithin: []\ninvariances: [rotation]\nworst: null\nversion: 1\n"
    )

    trained, before = (
        weights(project),
        {p.name: p.read_bytes() for p in project.folder.glob("runs/store/*/record.json")},
    )
    old = {t["trial"]: t for t in finished.json("report/metrics.json")["trials"]}
    assert project.ok("train", *project.sweep()).count("(from the store)") == 3
    assert weights(project) == trained
    _, found = runs(project)
    assert all("criterion/norm_h" in run.data.metrics for run in found if run.data.tags["stepwise.trial"] != "-")
    assert before == {p.name: p.read_bytes() for p in project.folder.glob("runs/store/*/record.json")}
    project.ok("selection", "study=tiny", "rule=[norm_h,lidar_z]", "draws=100")
    for line in project.json("runs/tiny/selection.json")["ranking"]:
        assert line["values"]["norm_h"] > 0
        assert line["values"]["lidar_z"] == old[line["trial"]]["criteria"]["lidar_z"]


def test_a_probe_that_was_left_out_is_not_judged_by(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    project.ok("probe", "study=tiny", "threads=1", "~probe.linear")
    line = project.refused("report", *REPORT)
    assert "quality must be one of the probes in runs/tiny/probe.json, " in line and "got 'linear'" in line
    assert "knn" in line.partition("probe.json, ")[2].partition(", got")[0]
