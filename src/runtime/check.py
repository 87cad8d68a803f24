"""Checks of single values, each failing with one line that names the value and what was expected."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence


def number(
    name: str,
    value: object,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    whole: bool = False,
) -> None:
    """Raise ValueError unless ``value`` is a finite number (``whole``: an integer) inside the bounds."""
    bounds = ((">", above), (">=", at_least), ("<", below), ("<=", at_most))
    wanted = " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)
    kind = "a whole number" if whole else "a number"
    # to Python, True is an int
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise ValueError(f"{name} must be {kind}{' ' + wanted if wanted else ''}, got {value!r}")
    inside = (
        math.isfinite(value)
        and (above is None or value > above)
        and (at_least is None or value >= at_least)
        and (below is None or value < below)
        and (at_most is None or value <= at_most)
    )
    if not inside:
        raise ValueError(f"{name} must be {wanted or 'finite'}, got {value!r}")


def interval(name: str, value: object, *, at_least: float | None = None, at_most: float | None = None) -> None:
    """Raise ValueError unless ``value`` is a pair [low, high] with low <= high inside the bounds."""
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        raise ValueError(f"{name} must be a pair [low, high], got {value!r}")
    for bound in value:
        number(name, bound, at_least=at_least, at_most=at_most)
    if value[0] > value[1]:
        raise ValueError(f"{name} must be a pair [low, high] with low <= high, got {list(value)!r}")


def flag(name: str, value: object) -> None:
    """Raise ValueError unless ``value`` is true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {value!r}")


PLAIN_NAME = re.compile(r"[\w-][\w.-]*")
MANY = 20  # more options than a line holds: the nearest are named


def choice(name: str, value: object, options: Sequence[object]) -> None:
    """Raise ValueError unless ``value`` is one of ``options``."""
    if value not in options and len(options) > MANY:
        near = difflib.get_close_matches(str(value), list(map(str, options)), n=5, cutoff=0.3)
        names = f", such as {', '.join(near)}" if near else ""
        raise ValueError(f"{name} must be one of {len(options)} names{names}, got {value!r}")
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(str, options))}, got {value!r}")


def keyed(name: str, value: object, keys: Sequence[str]) -> None:
    """Raise ValueError unless ``value`` has just these keys."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must have the keys {', '.join(keys)}, got {value!r}")
    for key in value:
        choice(f"a key of {name}", key, keys)
    missing = [key for key in keys if key not in value]
    if missing:
        raise ValueError(f"{name}.{missing[0]} is missing")


def listed(name: str, value: object) -> None:
    """Raise ValueError unless ``value`` is a list with something in it."""
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise ValueError(f"{name} must be a list like [1,2] with at least one entry, got {value!r}")


def plain_name(name: str, value: object) -> None:
    """Raise ValueError unless ``value`` can name a folder: letters, digits, dots, dashes and underscores."""
    if not isinstance(value, str) or not PLAIN_NAME.fullmatch(value):
        raise ValueError(f"{name} must be a name of letters, digits, . - and _ (quote a number), got {value!r}")
