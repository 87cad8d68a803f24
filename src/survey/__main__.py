"""survey: trains every method alike, keeps the trial table, and writes how each of them learns."""

from __future__ import annotations

from src.runtime import app
from src.survey.settings import Settings


def survey(settings: Settings) -> None:
    """Train every method on every data set, then write the table and its page."""
    from src.survey.stage import run  # torch and more, which take seconds and --help doesn't need

    run(settings)


if __name__ == "__main__":
    app.run(survey, "survey", Settings)
