"""What ``python -m src.survey`` does."""

from __future__ import annotations

from pathlib import Path

from src.runtime import owned
from src.runtime.console import make_console
from src.study.table import read_about
from src.survey.kept import keep
from src.survey.page import render, survey_table
from src.survey.settings import Settings
from src.survey.training import train_all


def run(settings: Settings) -> None:
    """Train every method on every data set, then write the table and its page."""
    page, table = Path(settings.page), Path(settings.table)
    owned.check_page(page, "# How every method learns", "python -m src.survey")
    if table.exists():
        # Raises ValueError where the file isn't such a table, which then isn't ours to replace.
        read_about(table)
    console = make_console()
    if not settings.page_only:
        for line in train_all(settings):
            console.print(line, highlight=False)
        keep(settings)
    console.print(survey_table(render(page, table, settings.columns)))
    console.print(f"written: {page}", highlight=False)
