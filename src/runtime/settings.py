"""What settings are made of: value types with their ranges, and the check that says in one line what doesn't fit.

Each stage's own settings are a dataclass beside it; defaults stand in conf/ alone. What depends on data or on a study
(numbers of trials, images that there are) is checked by the stage, and a method's, model's or recipe's own settings by
its constructor.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar, cast

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from src.runtime import check
from src.runtime.records import Config, Number, adapter, closed

T = TypeVar("T")


def _plain_name(value: object) -> object:
    if not isinstance(value, str) or not check.PLAIN_NAME.fullmatch(value):
        raise ValueError("must be a name of letters, digits, . - and _ (quote a number)")
    return value


def _component(value: object) -> object:
    if not isinstance(value, Mapping) or not isinstance(value.get("_target_"), str):
        raise ValueError("must be a group with a _target_, as the files of its folder in conf/ have")
    if not isinstance(value.get("name", ""), str):  # of a method: pools' studies are called after it
        raise ValueError("must have text as its name")
    return value


def _distinct(values: list[T]) -> list[T]:
    if len({repr(value) for value in values}) < len(values):
        raise ValueError("must name each only once")
    return values


def stated(kind: str) -> BeforeValidator:
    """That a key which may be left out, and is None then, isn't null where it is there."""

    def check_stated(value: object) -> object:
        if value is None:
            raise ValueError(f"must be {kind}")
        return value

    return BeforeValidator(check_stated)


Name = Annotated[str, BeforeValidator(_plain_name)]
Place = Annotated[str, Field(min_length=1)]  # a path
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Several = Annotated[int, Field(ge=2)]
Threads = Positive
Seconds = Annotated[Number, Field(ge=0)]
Hours = Annotated[Number, Field(gt=0)]
Share = Annotated[Number, Field(ge=0, lt=1)]
Seeds = Annotated[list[Natural], Field(min_length=1), AfterValidator(_distinct)]
Component = Annotated[Config, BeforeValidator(_component)]
Quality = Literal["linear", "knn"]


@closed
@dataclass(frozen=True)
class Folders:
    """Where a command reads and writes."""

    data: Place
    runs: Place
    store: Place
    mlruns: Place

    def of(self, study: str) -> Path:
        """The folder of a study."""
        return Path(self.runs) / study

    def packed(self, name: str) -> Path:
        """The folder of a data set."""
        return Path(self.data) / name

    def trusted(self) -> list[str]:
        """Folders that the person named: a record may lead there."""
        return [self.data, self.runs, self.store, self.mlruns]


def hold(name: str, value: object, shape: type[T]) -> T:
    """The value of the key ``name`` as its shape. Raises ValueError where it isn't of that shape."""
    _check_finite(name, value)
    text = json.dumps(value)  # where a list may be a pair
    try:
        return cast(T, adapter(shape).validate_json(text, strict=True))  # type: ignore[arg-type]  # a type is a key
    except ValidationError as error:
        raise ValueError(_sentence(name, error)) from None


def _check_finite(name: str, value: object) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _check_finite(f"{name}.{key}" if name else str(key), inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_finite(name, inner)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value!r}")


EXPECTED = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "string_too_short": "must be text, and not empty",
    "list_type": "must be a list like [1,2]",
    "tuple_type": "must be a list like [1,2]",
    "too_short": "must be a list like [1,2] with at least one entry",
    "dict_type": "must be a group of keys",
    "dataclass_type": "must be a group of keys",
    "greater_than": "must be > {gt:g}",
    "greater_than_equal": "must be >= {ge:g}",
    "less_than": "must be < {lt:g}",
    "less_than_equal": "must be <= {le:g}",
    "finite_number": "must be finite",
    "value_error": "{error}",
}


def _sentence(name: str, error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(part for part in (name, *map(str, first["loc"])) if part)
    kind, got, context = first["type"], first["input"], first.get("ctx", {})
    if got == "???":
        return f"{key} is needed: add {key}=..."
    if kind == "missing":
        return f"{key} is missing: --help shows what belongs there"
    if kind == "unexpected_keyword_argument":
        return f"{key} isn't a key of this command; --help lists them all"
    if kind == "literal_error":
        expected = "must be one of " + context["expected"].replace("'", "").replace(" or ", ", ")
    else:
        expected = EXPECTED.get(kind, first["msg"]).format(**context)
    return f"{key} {expected}, got {got!r}"
