"""What the pages and README say of the loss is counted, and README says what the pages count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import yaml

from src.evidence.findings import Findings
from src.evidence.page import LossFacts, loss_facts
from src.report.loss_correlation import loss_trust
from src.report.numbers import LossTrust
from src.runtime import records
from src.study.pool import Pool
from src.study.table import read_about, read_pool
from tests.pools import member, pool
from tests.project import ROOT


def trusted(one: Pool) -> LossTrust:
    return loss_trust(one.healthy, "linear", resampled=100, seed=0)


def trial(number: int, losses: list[float], quality: list[float], **other: Any) -> Any:
    *earlier, last = [np.full(10, one) for one in quality]
    return member(number, earlier=[{}] * len(earlier), earlier_right=earlier, right=last, losses=losses, **other)


def falling(count: int) -> list[Any]:
    """Trials whose loss falls as quality rises, and is the lower between them the better they end."""
    return [trial(n, [5.0, 2.0 - 0.1 * n], [0.1, 0.3 + 0.01 * n]) for n in range(count)]


def test_losses_that_follow_quality_and_one_that_rose() -> None:
    rose = trial(12, [0.1, 0.5], [0.1, 0.9])
    pools = [pool(falling(12)), pool([*falling(12), rose])]
    facts = loss_facts([trusted(one) for one in pools], pools)
    assert facts == LossFacts(rising=1, trials=25, between=2, collapsed=0)


def test_a_pool_whose_loss_misleads_and_whose_lowest_is_a_collapsed_trials() -> None:
    misled = [trial(n, [5.0, 2.0 - 0.1 * n], [0.1, 0.5 - 0.01 * n]) for n in range(12)]
    collapsed, diverged = trial(12, [5.0, 0.1], [0.1, 0.1], status="collapsed"), member(13, status="diverged")
    pools = [pool([*misled, collapsed, diverged]), pool([member(0, status="diverged")])]
    facts = loss_facts([trusted(one) for one in pools], pools)
    assert facts == LossFacts(rising=0, trials=12, between=0, collapsed=1)


@pytest.fixture(scope="module")
def counted() -> dict[str, int]:
    """Of the kept tables of both rounds together."""
    total = {"pools": 0}
    for name in ("first", "second"):
        plan = yaml.safe_load((ROOT / f"conf/round/{name}.yaml").read_text())
        table = ROOT / plan["table"]
        pools = [read_pool(table, study, probes=True, budgets=False) for study in read_about(table).pools]
        found = records.read((ROOT / plan["page"]).with_suffix(".json"), Findings, "")
        facts = loss_facts([pool.loss for pool in found.pools], pools)._asdict() | {"pools": len(pools)}
        total = {what: total.get(what, 0) + count for what, count in facts.items()}
    return total


def test_readme_says_of_the_loss_what_the_tables_count(counted: dict[str, int]) -> None:
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert (
        f"{counted['rising']} of {counted['trials']} trials of five methods ended better with a higher loss" in readme
    )
    assert f"certainty in only {counted['between']} of {counted['pools']} pools" in readme
