"""What ``python -m src.evidence`` does."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from src.evidence.kept import keep, kept_pools, missing_pools
from src.evidence.page import render, study_tables
from src.evidence.rule_validation import findings
from src.evidence.settings import Settings
from src.evidence.training import carry, prepare, print_cost
from src.runtime import files, owned
from src.runtime.console import make_console


def run(settings: Settings) -> None:
    """Bring every pool into the table, one after the other, then judge the table and write the page."""
    owned.check_page(Path(settings.page), "# Which criteria can be trusted?", "python -m src.evidence")
    console = make_console()
    if not settings.judge_only:
        _train(settings, console)
    _judge(settings, console)


def _train(settings: Settings, console: Console) -> None:
    missing = missing_pools(settings)
    if missing:
        # First, since a dry run reads the data.
        prepare(missing, settings)
        print_cost(missing, settings, console)
    for pool in missing:
        carry(pool, settings)
        keep(pool.study, settings)
        console.print(f"kept: {pool.study} in {settings.table}", highlight=False)


def _judge(settings: Settings, console: Console) -> None:
    pools = kept_pools(Path(settings.table))
    tuning = kept_pools(Path(settings.rule.table)) if settings.rule.table else []
    result = findings(pools, tuning, settings)
    page = Path(settings.page)
    files.write_json(page.with_suffix(".json"), result)
    render(page, result, pools)
    console.print(*study_tables(result))
    console.print(f"written: {page}, {page.with_suffix('.json')}", highlight=False)
