"""Other stages as a person would type them, for commands that run several: each in a process of its own."""

from __future__ import annotations

import re
import sys

from src.runtime.settings import Folders

PREPARE_TAKES = ("data", "runs")  # of the folders; every other stage takes all
PLAIN = re.compile(r"(?!(null|true|false|nan|inf)$)[a-z./][\w./-]*", re.IGNORECASE)  # text to Hydra without quotes


def command(stage: str, *arguments: str, folders: Folders) -> list[str]:
    """The command line of a stage that reads and writes in ``folders``."""
    taken = PREPARE_TAKES if stage == "prepare" else Folders.__dataclass_fields__
    places = [override(f"folders.{name}", getattr(folders, name)) for name in taken]
    return [sys.executable, "-m", f"src.{stage}", *arguments, *places]


def override(key: str, value: str) -> str:
    """key=value for Hydra, whatever the value has in it."""
    if PLAIN.fullmatch(value):
        return f"{key}={value}"
    doubled = re.sub(r"\\+(?='|\Z)", lambda run: 2 * run[0], value)  # elsewhere a backslash stands for itself
    escaped = doubled.replace("'", r"\'")
    return f"{key}='{escaped}'"
