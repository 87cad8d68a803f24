"""The kept trial table of a round: which of its pools it holds whole, and adding one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from src.evidence.settings import Settings
from src.report.labelled import judged_pool
from src.runtime.records import Config
from src.study.pool import Pool
from src.study.stored import StoredStudy
from src.study.table import read_about, read_pool, write_table
from src.tracking.client import git_tags


class PlannedPool(NamedTuple):
    """A pool that the round wants."""

    name: str  # of its file in conf/pool/
    method: str

    @property
    def study(self) -> str:
        return f"evidence-{self.name}-{self.method}"


def planned_pools(settings: Settings) -> list[PlannedPool]:
    return [PlannedPool(name, method) for method in settings.pools.methods for name in settings.pools.of]


def missing_pools(settings: Settings) -> list[PlannedPool]:
    """The pools that the table lacks, or holds without some seed that is wanted."""
    path = Path(settings.table)
    studies = read_about(path).pools if path.exists() else {}
    missing = []
    for pool in planned_pools(settings):
        members = read_pool(path, pool.study, probes=False, budgets=False).members if pool.study in studies else []
        if not members or not {member.seed for member in members} >= set(settings.seeds):
            missing.append(pool)
    return missing


def kept_pools(table: Path) -> list[Pool]:
    """All pools of a table, with what labels say about them."""
    return [read_pool(table, name, probes=True, budgets=True) for name in read_about(table).pools]


def trained_pool(study: str, settings: Settings) -> Pool:
    """A pool as its study and the store hold it."""
    return judged_pool(StoredStudy(settings.folders.of(study), settings.folders.trusted()))


def keep(study: str, settings: Settings) -> None:
    """Add a finished pool, with its second seeds, to the table."""
    path = Path(settings.table)
    facts: Config = {}
    others: list[Pool] = []
    if path.exists():
        facts = read_about(path).facts
        others = [pool for pool in kept_pools(path) if pool.name != study]
    # Of this pool alone: others of the table may have been trained at another commit.
    tags: Config = {**git_tags()}
    wanted = [pool.study for pool in planned_pools(settings)]
    # In the plan's order, whichever pool was trained first; then pools that the plan no longer has.
    order = list(dict.fromkeys([*wanted, *(pool.name for pool in others)]))
    pools = sorted([*others, trained_pool(study, settings)], key=lambda pool: order.index(pool.name))
    write_table(path, pools, facts | {study: tags})
