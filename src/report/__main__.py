"""report: what the selection was worth, as one page, one table of numbers and figures."""

from __future__ import annotations

from src.report.settings import Settings
from src.runtime import app


def report(settings: Settings) -> None:
    """Join what the stages before wrote, open the seal for the pick, write report/ and mirror it."""
    from src.report.stage import run  # torch and more, which take seconds and --help doesn't need

    run(settings)


if __name__ == "__main__":
    app.run(report, "report", Settings)
