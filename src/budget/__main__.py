"""budget: the quality of every trial by a few labels alone, read from one file, cross-validated within it."""

from __future__ import annotations

from src.budget.settings import Settings
from src.runtime import app


def budget(settings: Settings) -> None:
    """Write budget.json of the study and of what confirmed it: the skill of every trial by each label file."""
    from src.budget.stage import run  # torch and more, which take seconds and --help doesn't need

    run(settings)


if __name__ == "__main__":
    app.run(budget, "budget", Settings)
