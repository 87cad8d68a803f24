"""prepare: pack a data set's images and labels, split by source image."""

from __future__ import annotations

from src.prepare.settings import Settings
from src.runtime import app


def prepare(settings: Settings) -> None:
    """Make images/, labels/, budgets/ and report/ below data/<name> from conf/data/<name>.yaml."""
    from src.prepare.stage import run  # torch and more, which take seconds and --help doesn't need

    run(settings)


if __name__ == "__main__":
    app.run(prepare, "prepare", Settings)
