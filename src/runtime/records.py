"""Kept JSON files: each is a frozen dataclass, and one reader says which file doesn't fit, where, and what to do.

A record's class stands where the file is written; here are what such classes are made of, and the reading. Writing is
``files.write_json``, which leaves out a field that has its default: such a field may be absent from a file.
"""

from __future__ import annotations

import json
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, TypeVar, cast

from pydantic import (
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    with_config,
)
from typing_extensions import is_typeddict

T = TypeVar("T")

closed = with_config(ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))  # a dataclass with no other keys
extensible = with_config(ConfigDict(extra="ignore", strict=True, allow_inf_nan=False))  # others are passed over
UNNAMED = ConfigDict(strict=True, allow_inf_nan=False)  # for a file that is a plain list or mapping


def _as_written(value: float, handler: ValidatorFunctionWrapHandler) -> float:
    handler(value)
    return value


Config = dict[str, JsonValue]  # settings as Hydra composed them; src/runtime/build.py decides what may be built of them
Number = Annotated[float, WrapValidator(_as_written)]  # 1 stays 1 and doesn't become 1.0: hashes are made of these
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]  # of a trial, a configuration, a study's identity
Checksum = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Name = Annotated[str, Field(pattern=r"^[\w-][\w.-]*$")]  # may become part of a path
Count = Annotated[int, Field(ge=0)]
Step = Annotated[str, Field(pattern=r"^\d+$")]  # a key of a JSON object is text


def read(path: Path, shape: type[T], cure: str) -> T:
    """A JSON file as what it holds. Raises ValueError, with ``cure``, on one that is damaged or of another shape."""
    return parsed(path.read_bytes(), shape, str(path), cure)


def studies(runs: Path) -> str:
    """The names of the studies in a folder of runs, the first few of many; empty where there is none."""
    return ", ".join(sorted(path.parent.name for path in runs.glob("*/study.json"))[:12])


def check_replaceable(path: Path, shape: type[T], by: str) -> None:
    """Raise ValueError where ``path`` is taken by something that ``by`` didn't write."""
    if path.exists():
        read(path, shape, f"python -m src.{by} would write there; move it away")


def checked(value: JsonValue, shape: type[T], where: str, cure: str) -> T:
    """What a JSON value holds. Raises ValueError, with ``cure``, where it isn't of the shape."""
    # by way of text: strict mode takes a list for a tuple in JSON alone
    return parsed(json.dumps(value).encode(), shape, where, cure)


def parsed(content: bytes, shape: type[T], where: str, cure: str) -> T:
    """What JSON text holds, such as one line of a file of them, in the same way."""
    try:
        return cast(T, adapter(shape).validate_json(content, strict=True))  # type: ignore[arg-type]  # a type is a key
    except ValidationError as error:
        damaged = error.errors(include_url=False)[0]["type"] == "json_invalid"
        what = "is damaged" if damaged else "isn't as it was written"
        raise ValueError(f"{where} {what} ({_first(error)}): {cure}") from None


@cache
def adapter(shape: type[object]) -> TypeAdapter[object]:
    """What holds values against a type; making one takes some hundredths of a second."""
    return TypeAdapter(shape, config=None if is_dataclass(shape) or is_typeddict(shape) else UNNAMED)


def _first(error: ValidationError) -> str:
    """Where the first thing is that doesn't fit, what it is, and what belongs there."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    what = first["msg"][:1].lower() + first["msg"][1:]
    if first["type"] == "json_invalid":
        return what
    if first["type"] == "missing":
        return f"{place} is missing"
    got = repr(first["input"])
    shown = got if len(got) <= 40 else f"{got[:40]}..."
    return f"{place + ': ' if place else ''}{what}, got {shown}"
