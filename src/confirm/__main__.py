"""confirm: the first few trials of a selection once more with fresh seeds, and the selection repeated on those."""

from __future__ import annotations

from src.confirm.settings import Settings
from src.runtime import app


def confirm(settings: Settings) -> None:
    """Train runs/<study>-confirm, an ordinary study, and write runs/<study>/confirmation.json."""
    from src.confirm.stage import run  # torch and more, which take seconds and --help doesn't need

    run(settings)


if __name__ == "__main__":
    app.run(confirm, "confirm", Settings)
