"""Every key of every stage, with its type and range: held against what was typed before a stage does anything.

Defaults stand in conf/ alone. What depends on data or on a study (numbers of trials, images that there are) is checked
by the stage, and a method's, model's or recipe's own settings by its constructor.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from src.runtime import check
from src.runtime.records import STRICT, Criterion

RECIPES = Path(__file__).resolve().parent.parent.parent / "conf" / "augmentation"


def _plain_name(value: Any) -> Any:
    if not isinstance(value, str) or not check.PLAIN_NAME.fullmatch(value):
        raise ValueError("must be a name of letters, digits, . - and _ (quote a number)")
    return value


def _component(value: Any) -> Any:
    if not isinstance(value, Mapping) or not isinstance(value.get("_target_"), str):
        raise ValueError("must be a group with a _target_, as the files of its folder in conf/ have")
    if not isinstance(value.get("name", ""), str):
        raise ValueError("must have text as its name")
    return value


def _recipe(value: str) -> str:
    known = sorted(path.stem for path in RECIPES.glob("*.yaml"))
    if value not in known:
        raise ValueError(f"must be one of {', '.join(known)}")
    return value


def _distinct(values: list[Any]) -> list[Any]:
    if len({repr(value) for value in values}) < len(values):
        raise ValueError("must name each only once")
    return values


def _rule(value: Any) -> Any:
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError("must be a criterion, a column, labels_<file>, or a list of columns, [lidar_z,rankme_h]")
    if any("," in name for name in names):
        raise ValueError("must be one name, or a list in brackets, [lidar_z,rankme_h]")
    return value


def _web_address(value: str) -> str:
    if re.fullmatch(r"https?://[^\s\"'<>]+", value) is None:
        raise ValueError("must be an address that begins with http:// or https://")
    return value


def _pair(values: list[int]) -> list[int]:
    if len(values) != 2:
        raise ValueError("must be the numbers of two trials, [0,7]")
    return values


def _files(value: Any) -> Any:
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError("must be a file or a list of files, [a.safetensors,b.pt]")
    return value


Name = Annotated[str, BeforeValidator(_plain_name)]
Place = Annotated[str, Field(min_length=1)]  # a path
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Several = Annotated[int, Field(ge=2)]
Threads = Positive
Seconds = Annotated[float, Field(ge=0)]
Hours = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Seeds = Annotated[list[Natural], Field(min_length=1), AfterValidator(_distinct)]
Component = Annotated[dict[str, JsonValue], BeforeValidator(_component)]
Quality = Literal["linear", "knn"]


@with_config(STRICT)
class Folders(TypedDict, total=False):
    data: Place
    runs: Place
    store: Place
    mlruns: Place
    report: Place


@with_config(STRICT)
class Data(TypedDict):
    name: Name
    oriented: bool
    recipe: Annotated[str, AfterValidator(_recipe)]
    leaks: Literal["list", "move", "refuse"]
    source: Component


@with_config(STRICT)
class Collapse(TypedDict):
    spread: Share
    rank: Annotated[float, Field(ge=1)]


@with_config(STRICT)
class Evaluation(TypedDict):
    images: Several
    pairwise_images: Several
    views: Several
    halves: Natural
    seed: Natural
    collapse: Collapse
    reference: Component


@with_config(STRICT)
class Budgets(TypedDict):
    per_class: Annotated[list[Positive], Field(min_length=1)]
    draws: Positive
    seed: Natural


@with_config(STRICT)
class Prepare(TypedDict):
    budgets: Budgets
    folders: Folders
    data: Data


@with_config(STRICT)
class Start(TypedDict):
    weights: Place | None
    encoder_prefix: str
    ignore: list[str]
    frozen: Natural


@with_config(STRICT)
class Optimizer(TypedDict):
    name: Name
    factory: Component
    learning_rate: Annotated[float, Field(gt=0)]
    scaling: str
    weight_decay: Annotated[float, Field(ge=0)]
    clip: Annotated[float, Field(gt=0)]
    layer_decay: Annotated[float, Field(gt=0, le=1)]


@with_config(STRICT)
class Schedule(TypedDict):
    name: Name
    decay: str
    images: Positive
    warmup: Share
    evaluations: Positive
    rows: Positive


@with_config(STRICT)
class Train(TypedDict):
    study: Name | None
    batch_size: Several
    seed: Natural
    precision: str
    compile: bool
    device: str
    threads: Threads
    max_hours: Hours | None
    dry_run: bool
    checkpoint_seconds: Seconds
    start: Start
    evaluation: Evaluation
    folders: Folders
    data: Data
    model: Component
    method: Component
    augmentation: Component
    optimizer: Optimizer
    schedule: Schedule
    criterion: Criterion


@with_config(STRICT)
class Adopt(TypedDict):
    study: Name
    weights: Annotated[JsonValue, BeforeValidator(_files)]
    encoder_prefix: str
    projector: Component | None
    projector_prefix: str
    ignore: list[str]
    images: Positive
    flops: Annotated[float, Field(ge=0)]
    threads: Threads
    evaluation: Evaluation
    folders: Folders
    data: Data
    model: Component
    augmentation: Component
    criterion: Criterion


@with_config(STRICT)
class Selection(TypedDict):
    study: Name
    rule: Annotated[JsonValue, BeforeValidator(_rule)]
    snapshots: Literal["last", "all"]
    draws: Annotated[int, Field(ge=100)]
    seed: Natural
    table: Place | None
    folders: Folders


@with_config(STRICT)
class Confirm(TypedDict):
    study: Name
    top: Positive
    trials: Annotated[list[Natural], Field(min_length=1), AfterValidator(_distinct)] | None
    seeds: Seeds
    max_hours: Hours | None
    checkpoint_seconds: Seconds
    folders: Folders


@with_config(STRICT)
class Finetune(TypedDict):
    trials: list[Natural]
    epochs: Positive
    batch_size: Several
    learning_rate: Annotated[float, Field(gt=0)]
    layer_decay: Annotated[float, Field(gt=0, le=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    seed: Natural


@with_config(STRICT)
class OneProbe(TypedDict):
    score: Component
    snapshots: Literal["last", "all"]


@with_config(STRICT)
class Probe(TypedDict):
    study: Name
    threads: Threads
    finetune: Finetune
    folders: Folders
    probe: Annotated[dict[str, OneProbe], Field(min_length=1)]


@with_config(STRICT)
class Budget(TypedDict):
    study: Name
    file: Place | None
    views: Several
    folds: Several
    strengths: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]
    halves: Natural
    seed: Natural
    threads: Threads
    folders: Folders


@with_config(STRICT)
class Report(TypedDict):
    study: Name
    quality: Quality
    seed: Natural
    halvings: Positive
    resamples: Annotated[int, Field(ge=100)]
    threads: Threads
    show: bool
    table: Place | None
    mlflow_ui: Annotated[str, AfterValidator(_web_address)]
    folders: Folders


@with_config(STRICT)
class Compare(TypedDict):
    study: Name
    trials: Annotated[list[Natural], AfterValidator(_pair)]
    column: str | None
    quality: Quality
    table: Place | None
    folders: Folders


@with_config(STRICT)
class Supervised(TypedDict):
    study: Name
    trial: Natural
    seeds: Seeds
    method: Component
    checkpoint_seconds: Seconds
    folders: Folders


@with_config(STRICT)
class Sheet(TypedDict):
    images: Annotated[int, Field(ge=1, le=64)]
    views: Annotated[int, Field(ge=1, le=16)]
    local_views: Annotated[int, Field(ge=0, le=16)]
    strengths: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)]
    seed: Natural
    folders: Folders
    data: Data
    augmentation: Component


@with_config(STRICT)
class Clean(TypedDict):
    delete: bool
    forever: bool
    folders: Folders


@with_config(STRICT)
class Goal(TypedDict):
    over_range: Annotated[float, Field(ge=0)]
    over_random: Annotated[float, Field(ge=0)]


@with_config(STRICT)
class Pools(TypedDict):
    of: dict[Name, Name]
    methods: Annotated[list[Name], Field(min_length=1)]


@with_config(STRICT)
class RuleSearch(TypedDict):
    tuned_on: Name | None
    table: Place | None
    largest: Annotated[int, Field(ge=1, le=4)]


@with_config(STRICT)
class Evidence(TypedDict):
    quality: Quality
    goal: Goal
    halvings: Positive
    resamples: Annotated[int, Field(ge=100)]
    seed: Natural
    judge_only: bool
    folders: Folders
    title: str
    pools: Pools
    committed: str
    seen: list[Name]
    seeds: list[Natural]
    rule: RuleSearch
    table: Place
    page: Place
    remark: str


@with_config(STRICT)
class Survey(TypedDict):
    data_sets: Annotated[list[Name], Field(min_length=1)]
    methods: dict[Name, list[str]]
    supervised: dict[Name, Name]
    seeds: Seeds
    columns: Annotated[list[str], Field(min_length=1)]
    jobs: Positive
    timed_steps: Positive
    table: Place
    page: Place
    page_only: bool


SHAPES: dict[str, Any] = {
    "adopt": Adopt,
    "budget": Budget,
    "clean": Clean,
    "compare": Compare,
    "confirm": Confirm,
    "evidence": Evidence,
    "prepare": Prepare,
    "probe": Probe,
    "report": Report,
    "selection": Selection,
    "sheet": Sheet,
    "supervised": Supervised,
    "survey": Survey,
    "train": Train,
}


def check_settings(stage: str, plain: Mapping[str, Any]) -> None:
    """Raise ValueError, with the first key that doesn't fit, what was expected and what it is."""
    hold("", dict(plain), SHAPES[stage])


def hold(name: str, value: Any, shape: Any) -> None:
    """Raise ValueError where a value of the key ``name`` hasn't the shape."""
    _check_finite(name, value)
    try:
        TypeAdapter(shape).validate_json(json.dumps(value), strict=True)  # as JSON a list may be a pair
    except ValidationError as error:
        raise ValueError(_sentence(name, error)) from None


def _check_finite(name: str, value: Any) -> None:
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
    if kind == "extra_forbidden":
        return f"{key} isn't a key of this command; --help lists them all"
    if kind == "literal_error":
        expected = "must be one of " + context["expected"].replace("'", "").replace(" or ", ", ")
    else:
        expected = EXPECTED.get(kind, first["msg"]).format(**context)
    return f"{key} {expected}, got {got!r}"
