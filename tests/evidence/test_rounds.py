"""docs/: every number of the study follows from its kept tables, and the default rule is what they earned."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from src.evidence.findings import Findings
from src.evidence.page import render
from src.evidence.search import judged_half
from src.runtime import records
from src.study.pool import TrialResult
from src.study.table import read_about, read_pool, write_table
from tests.project import ROOT, Project

ROUNDS = ("first", "second")


def settings(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / f"conf/round/{name}.yaml").read_text()))


def kept(name: str) -> Any:
    return json.loads((ROOT / settings(name)["page"]).with_suffix(".json").read_text())


def judged(project: Project, name: str, *arguments: str) -> tuple[Any, str]:
    """What the command makes of the kept tables: the numbers and the page."""
    plan = settings(name)
    tables = [f"table={ROOT / plan['table']}"]
    if plan["rule"]["table"]:
        tables.append(f"rule.table={ROOT / plan['rule']['table']}")
    values = [*tables, *arguments]
    last = {value.partition("=")[0]: value for value in values}
    project.ok("evidence", f"round={name}", "judge_only=true", "page=page.md", *last.values())
    return project.json("page.json"), (project.folder / "page.md").read_text()


def numbers(value: Any) -> Any:
    """The same structure, numbers to be compared up to how a processor adds them up."""
    if isinstance(value, dict):
        return {key: numbers(one) for key, one in value.items() if key != "plan"}
    if isinstance(value, list):
        return [numbers(one) for one in value]
    return pytest.approx(value, rel=1e-6, abs=1e-9) if isinstance(value, float) else value


@pytest.mark.parametrize("name", ROUNDS)
def test_every_number_follows_from_the_kept_table(project: Project, name: str) -> None:
    found, _ = judged(project, name)
    assert numbers(kept(name)) == {key: value for key, value in found.items() if key != "plan"}


@pytest.mark.parametrize("name", ROUNDS)
def test_the_page_says_what_the_numbers_say(tmp_path: Path, name: str) -> None:
    table, page = (ROOT / settings(name)[key] for key in ("table", "page"))
    pools = [read_pool(table, study, probes=True, budgets=True) for study in read_about(table).pools]
    render(tmp_path / page.name, records.read(page.with_suffix(".json"), Findings, ""), pools)
    assert (tmp_path / page.name).read_text() == page.read_text()
    drawn = {path.name: path.read_bytes() for path in (tmp_path / page.stem).iterdir()}
    assert drawn.keys() == {path.name for path in page.with_suffix("").iterdir()}


def wrong(member: TrialResult) -> TrialResult:
    last = replace(member.last, right={name: np.zeros_like(right) for name, right in member.last.right.items()})
    return replace(member, snapshots=[*member.snapshots[:-1], last])


def test_one_changed_trial_changes_the_page(project: Project) -> None:
    """The best configuration of the judged half of one pool is wrong on every image of val."""
    quick = ["halvings=2", "resamples=100"]
    table = ROOT / settings("first")["table"]
    studies = [*read_about(table).pools]
    pools = [read_pool(table, study, probes=True, budgets=True) for study in (*studies[:2], *studies[-2:])]
    assert len({pool.data for pool in pools}) == 2
    best = max(judged_half(pools[0], pools[0].healthy), key=lambda m: m.last.probes["linear"]["top1"])
    members = [wrong(m) if m.configuration == best.configuration else m for m in pools[0].members]
    write_table(project.folder / "kept.parquet", pools, {})
    write_table(project.folder / "changed.parquet", [replace(pools[0], members=members), *pools[1:]], {})
    before, page = judged(project, "first", *quick, "table=kept.parquet")
    after, other = judged(project, "first", *quick, "table=changed.parquet")
    assert before["pools"][0]["worst"] > after["pools"][0]["worst"] == 0 and before["pools"][1:] == after["pools"][1:]
    assert page != other and before["means"]["all"]["consensus"] != after["means"]["all"]["consensus"]


def test_the_default_rule_is_the_one_that_was_judged_last() -> None:
    consensus = yaml.safe_load((ROOT / "conf/criterion/consensus.yaml").read_text())
    assert sorted(consensus["columns"]) == sorted(kept(ROUNDS[-1])["rule"])


def test_no_round_judges_what_another_has_seen() -> None:
    """Neither a trial nor a configuration: the default one, with a seed of its own, apart."""
    seen: set[str] = set()
    for name in ROUNDS:
        table = ROOT / settings(name)["table"]
        pools = [read_pool(table, study, probes=False, budgets=False) for study in read_about(table).pools]
        configurations = {m.configuration for pool in pools for m in pool.members if m.configuration != pool.default}
        trials = {member.trial for pool in pools for member in pool.members}
        assert not seen & (configurations | trials)
        seen |= configurations | trials


def test_the_tables_stay_small() -> None:
    assert sum((ROOT / settings(name)["table"]).stat().st_size for name in ROUNDS) < 5e6
