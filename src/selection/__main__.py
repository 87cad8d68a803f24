"""selection: pick a trial by a rule. No label is read here, nor anything made from one unless the rule asks for it."""

from __future__ import annotations

from src.runtime import app
from src.selection.settings import Settings


def selection(settings: Settings) -> None:
    """Rank a study's trials by a rule and write runs/<study>/selection.json and selection.txt."""
    from src.selection.stage import run  # torch and more, which take seconds and --help doesn't need

    run(settings)


if __name__ == "__main__":
    app.run(selection, "selection", Settings)
