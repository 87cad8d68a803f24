"""evidence: trains the pools that criteria are judged on, keeps their trial table, and says what can be trusted."""

from __future__ import annotations

from src.evidence.settings import Settings
from src.runtime import app


def evidence(settings: Settings) -> None:
    """Bring every pool into the table, one after the other, then judge the table and write the page."""
    from src.evidence.stage import run  # torch and more, which take seconds and --help doesn't need

    run(settings)


if __name__ == "__main__":
    app.run(evidence, "evidence", Settings)
