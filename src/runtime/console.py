"""The console that tables and messages are printed on."""

from __future__ import annotations

from rich.console import Console

WIDTH = 150


def make_console() -> Console:
    """As wide as the terminal, and wide enough for a table where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)
