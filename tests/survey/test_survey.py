"""docs/methods.md: its numbers follow from the kept table, when a method learns, and the command makes such a table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import src.survey.training as training
from src.runtime import files
from src.runtime.records import Config
from src.runtime.settings import hold
from src.study.pool import Pool
from src.study.table import read_about, read_pool, write_table
from src.survey.page import render
from src.survey.rows import PROBES, SUPERVISED, UNTRAINED, Epoch, SurveyFacts, estimate
from src.survey.settings import Settings
from src.survey.stage import run
from tests.pools import member, pool
from tests.project import ROOT, TINY_TRIAL, Project

CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "conf/survey.yaml").read_text())
TABLE, PAGE = ROOT / CONFIG["table"], ROOT / CONFIG["page"]
METHODS = sorted(path.stem for path in (ROOT / "conf/method").glob("*.yaml"))


def settings_of(*overrides: str) -> Settings:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return hold("", OmegaConf.to_container(compose("survey", [*overrides]), resolve=True), Settings)


def test_the_page_follows_from_the_kept_table(tmp_path: Path) -> None:
    render(tmp_path / "methods.md", TABLE, CONFIG["columns"])
    assert (tmp_path / "methods.md").read_text() == PAGE.read_text()
    assert (tmp_path / "methods/accuracy.svg").exists()


def test_what_readme_says_of_the_kept_table(tmp_path: Path) -> None:
    """Every method of conf/ is in it, with every seed, and beats its untrained encoder on at least one data set."""
    found = render(tmp_path / "methods.md", TABLE, CONFIG["columns"])
    assert set(found) == set(CONFIG["data_sets"])
    for rows in found.values():
        assert {row.method for row in rows} == {*METHODS, SUPERVISED}
        assert {row.name for row in rows} == {*CONFIG["methods"], *CONFIG["supervised"]}
        assert {tuple(row.seeds) for row in rows} == {tuple(CONFIG["seeds"])} and len(CONFIG["seeds"]) >= 3
    beaten = {row.method for rows in found.values() for row in rows if row.beats}
    assert beaten - {SUPERVISED} == {*METHODS} - {UNTRAINED}


def surveyed(name: str, method: str, right: list[int]) -> Pool:
    """A seed each of a method that is right, by either probe, on the first so many of 100 images."""
    members = []
    for number, count in enumerate(right):
        made = member(
            number,
            right=(np.arange(100) < count).astype(float),
            method=method,
            seed=1 + number,
            knobs={"model.name": "cnn", "optimizer.learning_rate": 0.005},
        )
        (last,) = made.snapshots
        members.append(replace(made, snapshots=[replace(last, right=dict.fromkeys(PROBES, last.right["linear"]))]))
    return pool(members, name=f"survey-digits-{name}")


def test_a_method_learns_where_it_gains_more_than_two_standard_errors(tmp_path: Path) -> None:
    counts = {"better": 60, "hardly": 53, "worse": 40, "untrained_cnn": 50}
    pools = [
        surveyed(name, UNTRAINED if name.startswith(UNTRAINED) else "simclr", [count] * 3)
        for name, count in counts.items()
    ]
    pools.append(surveyed("lucky", "simclr", [90, 40, 65]))  # more than all of the others, by one seed alone
    facts = SurveyFacts(epochs={one.name: Epoch(gflop=1.0, seconds=2.0) for one in pools}, git={})
    write_table(tmp_path / "made.parquet", pools, cast(Config, files.plain(facts)))
    rows = {row.name: row for row in render(tmp_path / "page.md", tmp_path / "made.parquet", [])["digits"]}
    for name, gain in (("better", 0.1), ("hardly", 0.03), ("worse", -0.1)):
        of_images = np.sqrt(abs(gain) * (1 - abs(gain)) / 99)
        knn = rows[name].scores["knn"].gain
        assert knn.value == pytest.approx(gain) and knn.error == pytest.approx(of_images)
    lucky = rows["lucky"].scores["linear"].gain
    assert lucky.value == pytest.approx(0.15) and lucky.error > np.std([0.9, 0.4, 0.65], ddof=1) / np.sqrt(3)
    assert {name for name, row in rows.items() if row.beats == [*PROBES]} == {"better"}
    assert not any(row.beats for name, row in rows.items() if name != "better")
    assert [row.name for row in rows.values()] == ["lucky", "better", "hardly", "untrained_cnn", "worse"]


def test_one_method_that_is_wrong_everywhere_changes_the_page(tmp_path: Path) -> None:
    about = read_about(TABLE)
    pools = [read_pool(TABLE, name, probes=True, budgets=True) for name in about.pools]
    place = next(i for i, pool in enumerate(pools) if pool.methods == ["simclr"])
    members = [
        replace(m, snapshots=[*m.snapshots[:-1], replace(m.last, right={p: 0 * r for p, r in m.last.right.items()})])
        for m in pools[place].members
    ]
    pools[place] = replace(pools[place], members=members)
    write_table(tmp_path / "changed.parquet", pools, about.facts)
    found = render(tmp_path / "methods.md", tmp_path / "changed.parquet", CONFIG["columns"])
    row = next(row for row in found[pools[place].data] if row.method == "simclr")
    linear = row.scores["linear"]
    assert linear.mean.value == 0 and row.beats == [] and linear.gain.value < 0


def test_standard_errors_join_images_and_seeds() -> None:
    same = estimate([np.array([0.0, 1.0, 1.0, 0.0])] * 3)
    assert same.value == 0.5 and same.error == pytest.approx(np.sqrt(1 / 3) / 2)
    apart = estimate([np.full(4, value) for value in (0.2, 0.4, 0.6)])
    assert apart.value == pytest.approx(0.4) and apart.error == pytest.approx(0.2 / np.sqrt(3))


def test_the_command_makes_such_a_table(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two methods with three rates between them, their reference, and the page; each stage is a command of its own."""
    project.prepare()
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr(training, "_stage", lambda settings, stage, *typed: project.ok(stage, *typed))
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
    run(settings_of(*arguments))
    assert (project.folder / "methods/accuracy.svg").exists()
    about = read_about(project.folder / "methods.parquet")
    assert set(about.pools) == {f"survey-digits-{name}" for name in ("simclr", "untrained_cnn", "supervised_cnn")}
    page = (project.folder / "methods.md").read_text()
    assert "| simclr | cnn | " in page and "| supervised_cnn | cnn | " in page
    chosen = project.json("runs/survey-digits-simclr/selection.json")
    confirmed = project.json("runs/survey-digits-simclr-confirm/study.json")["trials"]
    assert chosen["rule"] == "labels_all" and {trial["overrides"][-1] for trial in confirmed} == {"seed=1", "seed=2"}
    assert not (project.folder / "runs/survey-digits-simclr/probe.json").exists()  # val is read of the choice alone
    assert "written: again.md" in project.ok("survey", "page_only=true", "table=methods.parquet", "page=again.md")
    assert (project.folder / "again.md").read_text() == page.replace("methods/", "again/").replace(
        "methods.p", "again.p"
    )


def test_a_stage_that_fails_ends_it_with_what_it_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    settings = settings_of("page_only=true")
    training._stage(settings, "selection", "--help")
    said = r"^python -m src\.selection study=none failed: error: no study in runs/none: "
    with pytest.raises(ValueError, match=said):
        training._stage(settings, "selection", "study=none")


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
