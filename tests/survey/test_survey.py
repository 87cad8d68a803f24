"""docs/methods.md: its numbers follow from the kept table, every method learns, and the command makes such a table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from src.study.table import read_about, read_pool, write_table
from src.survey.page import SUPERVISED, UNTRAINED, render
from tests.project import ROOT, TINY_TRIAL, Project

CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "conf/survey.yaml").read_text())
TABLE, PAGE = ROOT / CONFIG["table"], ROOT / CONFIG["page"]
METHODS = sorted(path.stem for path in (ROOT / "conf/method").glob("*.yaml"))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return render(tmp_path_factory.mktemp("page") / "methods.md", TABLE, CONFIG["columns"])


def test_the_page_follows_from_the_kept_table(tmp_path: Path) -> None:
    render(tmp_path / "methods.md", TABLE, CONFIG["columns"])
    assert (tmp_path / "methods.md").read_text() == PAGE.read_text()
    assert (tmp_path / "methods/accuracy.svg").exists()


def test_every_method_was_surveyed_on_every_data_set_with_every_seed(found: dict[str, Any]) -> None:
    for data in CONFIG["data_sets"]:
        rows = found[data]
        assert {row["method"] for row in rows} == {*METHODS, SUPERVISED}
        assert {row["name"] for row in rows} == {*CONFIG["methods"], *CONFIG["supervised"]}
        for row in rows:
            assert len(row["statuses"]) == len(CONFIG["seeds"]) >= 3
            assert row["seconds"] > 0 and (row["gflop"] > 0) == (row["method"] != UNTRAINED)


@pytest.mark.parametrize("method", [name for name in METHODS if name != UNTRAINED])
def test_every_method_learns(method: str, found: dict[str, Any]) -> None:
    """More than two standard errors above its own untrained encoder, on at least one data set."""
    rows = [row for data in found.values() for row in data if row["method"] == method]
    assert any(
        row[f"{probe}_gain"]["value"] > 2 * row[f"{probe}_gain"]["error"] > 0
        for row in rows
        for probe in ("linear", "knn")
    )


def test_one_method_that_is_wrong_everywhere_changes_the_page(tmp_path: Path) -> None:
    about = read_about(TABLE)
    pools = [read_pool(TABLE, name, probes=True, budgets=True) for name in about["pools"]]
    place = next(i for i, pool in enumerate(pools) if pool.methods == ["simclr"])
    members = [
        replace(m, snapshots=[*m.snapshots[:-1], replace(m.last, right={p: 0 * r for p, r in m.last.right.items()})])
        for m in pools[place].members
    ]
    pools[place] = replace(pools[place], members=members)
    write_table(tmp_path / "changed.parquet", pools, about["facts"])
    found = render(tmp_path / "methods.md", tmp_path / "changed.parquet", CONFIG["columns"])
    row = next(row for row in found[pools[place].data] if row["method"] == "simclr")
    assert row["linear"]["value"] == 0 and row["beats"] == [] and row["linear_gain"]["value"] < 0


def test_standard_errors_join_images_and_seeds() -> None:
    from src.survey.page import _estimate

    same = [np.array([0.0, 1.0, 1.0, 0.0])] * 3
    assert list(_estimate(same)) == [0.5, pytest.approx(np.sqrt(1 / 3) / 2)]
    apart = [np.full(4, value) for value in (0.2, 0.4, 0.6)]
    assert list(_estimate(apart)) == [pytest.approx(0.4), pytest.approx(0.2 / np.sqrt(3))]


def test_the_command_makes_such_a_table(project: Project) -> None:
    """Two methods with three rates between them, their reference, and the page, in processes of their own."""
    project.prepare()
    tiny = ",".join(
        f'"{value}"' for value in [*TINY_TRIAL, "evaluation.collapse.spread=0", "evaluation.collapse.rank=1"]
    )
    rates = '"optimizer.learning_rate=choice(0.002,0.005)"'
    plain = [value for value in TINY_TRIAL if "projector" not in value]
    blank = ",".join(f'"{value}"' for value in plain)
    left_out = [f"~methods.{name}" for name in CONFIG["methods"] if name not in ("simclr", "untrained_cnn")]
    arguments = [
        *("jobs=2", "data_sets=[digits]", "seeds=[1,2]", "timed_steps=2", "~supervised.supervised_vit", *left_out),
        f'methods.simclr=["method=simclr",{tiny},{rates}]',
        f'methods.untrained_cnn=["method=untrained",{blank},"optimizer.learning_rate=choice(0.005)"]',
        *("table=methods.parquet", "page=methods.md"),
    ]
    done = project.run_afresh("survey", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "written: methods.md" in done.stdout and (project.folder / "methods/accuracy.svg").exists()
    about = read_about(project.folder / "methods.parquet")
    assert set(about["pools"]) == {f"survey-digits-{name}" for name in ("simclr", "untrained_cnn", "supervised_cnn")}
    page = (project.folder / "methods.md").read_text()
    assert "| simclr | cnn | " in page and "| supervised_cnn | cnn | " in page
    chosen = project.json("runs/survey-digits-simclr/selection.json")
    confirmed = project.json("runs/survey-digits-simclr-confirm/study.json")["trials"]
    assert chosen["rule"] == "labels_all" and {trial["overrides"][-1] for trial in confirmed} == {"seed=1", "seed=2"}
    assert not (project.folder / "runs/survey-digits-simclr/probe.json").exists()  # val is read of the choice alone
    again = project.run_afresh("survey", "page_only=true", "table=methods.parquet", "page=again.md")
    assert again.returncode == 0
    assert (project.folder / "again.md").read_text() == page.replace("methods/", "again/").replace(
        "methods.p", "again.p"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["page_only=maybe"], "page_only must be true or false"),
        (["jobs=0"], "jobs must be >= 1, got 0"),
        (["seeds=[]"], "seeds must be"),
        (["page_only=true", "table=none.parquet"], "table=none.parquet doesn't exist"),
    ],
)
def test_a_bad_value_is_one_line(arguments: list[str], message: str, project: Project) -> None:
    assert message in project.refused("survey", *arguments)
