"""probe: what the labels of ``probe`` and ``val`` say about every snapshot, raw pixels and an untrained encoder."""

from __future__ import annotations

from src.probe.settings import Settings
from src.runtime import app


def probe(settings: Settings) -> None:
    """Fit on the labels of ``probe``, score on ``val``, write probe.json of the study and of what confirmed it."""
    from src.probe.stage import run  # torch and more, which take seconds and --help doesn't need

    run(settings)


if __name__ == "__main__":
    app.run(probe, "probe", Settings)
