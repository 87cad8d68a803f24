"""The report: its numbers, its figures, the seal, and MLflow's copy of everything."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from src.data.pack import read_labels, read_manifest
from src.stats import by_group
from tests.project import REPORT, Project


def runs(project: Project) -> tuple[MlflowClient, list[Run]]:
    client = MlflowClient(f"sqlite:///{project.folder}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    return client, list(client.search_runs([experiment.experiment_id]))


def test_the_page_is_one_file_with_every_figure_inside(finished: Project) -> None:
    page = (finished.folder / "report/index.html").read_text()
    assert page.count('src="data:image/') == 5
    assert not re.search(r'(src|href)="(?!data:)', page)
    names = {path.name for path in (finished.folder / "report/figures").iterdir()}
    assert names == {"criteria.svg", "loss.svg", "curves.svg", "spectrum.png", "views.png"}


def numbers_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set().union(*(numbers_of(v) for v in value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*(numbers_of(v) for v in value)) if value else set()
    if isinstance(value, bool) or not isinstance(value, int | float):
        found = set(re.findall(r"[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?", str(value)))
        return found | {f"{float(number):.3g}" for number in found}
    return {
        f"{100 * value:.1f}",
        f"{value:.2f}",
        f"{abs(value):.2f}",
        f"{abs(100 * value):.1f}",
        f"{value:.4g}",
        str(value),
    }


def test_every_number_on_the_page_comes_from_metrics_json(finished: Project) -> None:
    page = (finished.folder / "report/index.html").read_text()
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", page)
    known = numbers_of(finished.json("report/metrics.json"))
    shown = {
        number for cell in cells for number in re.findall(r"(?<![\w.])[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?(?![\w])", cell)
    }
    assert len(shown) > 40
    assert shown - known == set()


def test_accuracy_and_regret_follow_from_probe_json(finished: Project) -> None:
    probed, metrics = finished.json("runs/tiny/probe.json"), finished.json("report/metrics.json")
    group = read_labels(read_manifest(finished.folder / "data/digits"), "val")["group"]
    snapshots = [probed["trials"][trial["trial"]] for trial in metrics["trials"]]
    last = [snapshot[max(snapshot, key=int)]["knn"] for snapshot in snapshots]
    per_source = np.array([by_group(np.array([c == "1" for c in knn["right"]]), group) for knn in last])
    assert [trial["knn"] for trial in metrics["trials"]] == pytest.approx([knn["top1"] for knn in last])
    means = per_source.mean(1)
    assert metrics["pool"]["best"] == pytest.approx(means.max())
    for row in metrics["criteria"]:
        if row.get("pick") is not None:
            assert row["knn"] == pytest.approx(means[row["pick"]])
    random = next(row for row in metrics["criteria"] if row["name"] == "random choice")
    default = next(row for row in metrics["criteria"] if row["name"] == "default configuration")
    assert random["knn"] == pytest.approx(means.mean())
    assert random["over_random"] == (1 if random["regret"] > 0 else None)
    assert default["pick"] == 0 and default["knn"] == pytest.approx(means[0])


def test_the_loss_says_that_selection_would_refuse_it(finished: Project) -> None:
    rows = {row["name"]: row for row in finished.json("report/metrics.json")["criteria"]}
    assert rows["train_loss"]["note"].startswith("selection refuses it here")
    assert rows["lidar"]["note"] == ""
    assert "alpha_req fits the ranks 11..15" in rows["alpha_req"]["note"] and "regret" not in rows["alpha_req"]


def test_the_seal_is_opened_once_for_a_selection(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    ledger = project.folder / "runs/seal.jsonl"
    assert ledger.read_text().count("\n") == 1
    before = (project.folder / "report/metrics.json").read_bytes()
    project.ok("report", *REPORT)
    assert ledger.read_text().count("\n") == 1
    assert (project.folder / "report/metrics.json").read_bytes() == before
    project.ok("selection", "study=tiny", "criterion=alignment")
    project.ok("report", *REPORT)
    assert ledger.read_text().count("\n") == 2
    assert project.json("report/metrics.json")["seal"]["openings"] == 2
    names = {row["name"] for row in project.json("report/metrics.json")["test"]}
    assert len(names) == 4 and {"default configuration", "raw pixels", "untrained encoder"} < names


def test_the_same_study_gives_the_same_report_bytes(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    project.ok("report", *REPORT)
    for name in ("index.html", "metrics.json", "trials.csv", "figures/criteria.svg", "figures/views.png"):
        assert (project.folder / "report" / name).read_bytes() == (finished.folder / "report" / name).read_bytes(), name


def test_mlflow_holds_the_study_its_trials_and_their_files(finished: Project) -> None:
    client, found = runs(finished)
    parents = [run for run in found if run.data.tags["stepwise.trial"] == "-"]
    children = [run for run in found if run.data.tags["stepwise.trial"] != "-"]
    assert len(parents) == 1 and len(children) == 3
    files = {artifact.path for artifact in client.list_artifacts(parents[0].info.run_id)}
    assert {"index.html", "metrics.json", "trials.csv", "figures"} <= files
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
        assert len(client.get_metric_history(run.info.run_id, "criterion/lidar")) == 2
        assert len(client.get_metric_history(run.info.run_id, "probe/knn_top1")) == 2


def test_the_selected_trial_is_tagged_so(finished: Project) -> None:
    _, found = runs(finished)
    tagged = {run.data.tags["stepwise.trial"]: run.data.tags.get("selected") for run in found}
    pick = finished.json("runs/tiny/selection.json")["winners"][0]["trial"]
    assert tagged[pick] == "lidar"
    assert sorted(value for key, value in tagged.items() if key not in (pick, "-")) == ["no", "no"]  # type: ignore[type-var]


def test_probes_are_compared_with_pixels_and_the_untrained_encoder(finished: Project) -> None:
    baselines = finished.json("runs/tiny/probe.json")["baselines"]
    assert set(baselines) == {"raw pixels", "untrained encoder"}
    for scores in baselines.values():
        for score in scores.values():
            assert score["top1"] == pytest.approx(score["right"].count("1") / len(score["right"]))


def test_a_criterion_added_later_is_measured_without_retraining(finished: Project, project: Project) -> None:
    project.copy_of(finished)

    def weights() -> dict[str, int]:
        return {str(p): p.stat().st_mtime_ns for p in project.folder.glob("runs/store/*/snapshots/*")}

    def measured() -> set[str]:
        values = [json.loads(p.read_text())["values"] for p in project.folder.glob("runs/store/*/criteria/*.json")]
        return {key for value in values for entries in value.values() for key in entries if key.startswith("rankme-")}

    trained = weights()
    assert len(measured()) == 1
    out = project.ok("train", *project.sweep("criterion=rankme", "criterion.score.eps=1e-6"))
    assert out.count("(from the store)") == 3
    assert weights() == trained and len(measured()) == 2
