"""What each kept JSON file holds, and the one reader that says which file isn't so, where, and what to do."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,  # Python's own before 3.12 can't be held against values
    TypeVar,
)

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

T = TypeVar("T")
Config = dict[str, JsonValue]  # settings as Hydra composed them; what may be built of them src/runtime/build.py decides
Numbers = dict[str, float]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]  # of a trial, a configuration, a study's identity
Checksum = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Name = Annotated[str, Field(pattern=r"^[\w-][\w.-]*$")]  # may become part of a path
Count = Annotated[int, Field(ge=0)]
Step = Annotated[str, Field(pattern=r"^\d+$")]
Status = Literal["complete", "collapsed", "diverged", "stopped"]

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
OPEN = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)  # more keys than those that are read


@with_config(STRICT)
class Split(TypedDict):
    """One split in images/manifest.json and study.json."""

    count: Count
    groups: Count
    shape: Annotated[list[Count], Field(min_length=4, max_length=4)]
    checksum: Checksum


@with_config(STRICT)
class Splits(TypedDict):
    pretrain: Split
    probe: Split
    val: Split
    test: Split


@with_config(STRICT)
class ImagesManifest(TypedDict):
    """data/<name>/images/manifest.json."""

    format: Literal[1]
    name: Name
    config: Config
    splits: Splits
    mean: Annotated[list[float], Field(min_length=1)]
    std: Annotated[list[float], Field(min_length=1)]
    labelled: NotRequired[bool]


@with_config(STRICT)
class LabelsManifest(TypedDict):
    """data/<name>/labels/manifest.json."""

    format: Literal[1]
    checksums: dict[str, Checksum]
    images: dict[str, Checksum]
    classes: list[str]


@with_config(STRICT)
class Criterion(TypedDict):
    """A file of conf/criterion/."""

    name: Name
    score: Config
    input: str
    spaces: list[Literal["h", "z"]]
    direction: Literal["higher", "lower", "none"]
    invariances: list[str]
    worst: float | None
    version: int
    within: NotRequired[list[str]]
    columns: NotRequired[list[str]]


@with_config(STRICT)
class CollapseGate(TypedDict):
    spread: float
    rank: float


@with_config(STRICT)
class Protocol(TypedDict):
    """How criteria are measured."""

    images: Count
    pairwise_images: Count
    views: Count
    halves: Count
    seed: Count
    collapse: CollapseGate
    reference: Config


@with_config(STRICT)
class StudyEntry(TypedDict):
    """A line of a study's log, and one of study.json's trials."""

    number: Count
    overrides: list[str]
    trial: Hash
    status: Status
    reason: str
    criterion: float | None
    value: float | None


@with_config(STRICT)
class StudyData(TypedDict):
    name: Name
    folder: str
    splits: Splits


@with_config(STRICT)
class StudyFolders(TypedDict):
    store: str
    mlruns: str


@with_config(STRICT)
class StudyFile(TypedDict):
    """runs/<study>/study.json."""

    format: Literal[2]
    study: Name
    identity: Config
    trials: list[StudyEntry]
    data: StudyData
    criterion: str
    criteria: Annotated[list[Criterion], Field(min_length=1)]
    evaluation: Protocol
    folders: StudyFolders


@with_config(STRICT)
class RankedTrial(TypedDict):
    """A line of a selection's ranking."""

    number: Count
    trial: Name  # of a kept table it can be any
    seeds: list[Count]
    method: Name
    step: Count
    images: Count
    flops: float
    score: float
    values: Numbers
    overrides: list[str]
    probability_best: float | None
    tied_with_best: bool
    told_apart: bool
    picked: bool


@with_config(STRICT)
class Dropped(TypedDict):
    number: Count
    trial: Name
    status: str
    reason: str


@with_config(STRICT)
class NoiseFact(TypedDict):
    method: str
    halves: Count
    seeds: Numbers | None


@with_config(STRICT)
class Selection(TypedDict):
    """runs/<study>/selection.json."""

    study: Name
    identity: str
    rule: str
    columns: dict[str, Config | None]
    combined_by: Config | None
    evaluation: Config
    snapshots: Literal["last", "all"]
    draws: Count
    seed: Count
    noise: list[NoiseFact]
    winners: Annotated[list[RankedTrial], Field(min_length=1)]
    ranking: Annotated[list[RankedTrial], Field(min_length=1)]
    dropped: list[Dropped]


@with_config(STRICT)
class FreshTrial(TypedDict):
    seed: Count
    trial: Name
    status: Status


@with_config(STRICT)
class Fall(TypedDict):
    first: float | None
    fresh: list[float]
    curse: NotRequired[float]


@with_config(STRICT)
class Repeated(TypedDict):
    number: Count
    trial: Name
    method: Name
    step: Count
    fresh: list[FreshTrial]
    columns: dict[str, Fall]


@with_config(STRICT)
class ConfirmedWinner(TypedDict):
    number: Count
    trial: Name
    method: Name
    fresh: list[FreshTrial]
    step: Count
    probability_best: float | None


@with_config(STRICT)
class RankedAgain(TypedDict):
    number: Count
    step: Count
    score: float
    probability_best: float | None


@with_config(STRICT)
class Confirmation(TypedDict):
    """runs/<study>/confirmation.json."""

    study: Name
    selection: Hash
    rule: str
    seeds: list[Count]
    confirmed: list[Repeated]
    winners: list[ConfirmedWinner]
    why_none: str
    selected: list[Count]
    noise: list[NoiseFact]
    ranking: list[RankedAgain]
    dropped: list[Dropped]


@with_config(STRICT)
class ProbeScore(TypedDict):
    numbers: Numbers
    right: NotRequired[Annotated[str, Field(pattern=r"^[01]*$")]]


@with_config(STRICT)
class ProbeConfig(TypedDict):
    score: Config
    snapshots: Literal["last", "all"]


@with_config(STRICT)
class ProbeFile(TypedDict):
    """runs/<study>/probe.json."""

    study: Name
    probe: dict[Name, ProbeConfig]
    baselines: dict[str, dict[Name, ProbeScore]]
    trials: dict[Hash, dict[Step, dict[Name, ProbeScore]]]


@with_config(STRICT)
class BudgetScore(TypedDict):
    skill: float
    halves: list[float]


@with_config(STRICT)
class LabelFile(TypedDict):
    labels: Count
    checksum: Checksum
    views: Count
    folds: Count
    strengths: list[float]
    halves: Count
    seed: Count
    trials: dict[Hash, BudgetScore]


@with_config(STRICT)
class BudgetFile(TypedDict):
    """runs/<study>/budget.json."""

    format: Literal[2]
    study: Name
    files: dict[str, LabelFile]


@with_config(OPEN)
class TrialConfig(TypedDict):
    """config.json of a trial: what determines its weights."""

    model: Config
    method: Config
    augmentation: Config
    optimizer: Config
    schedule: Config
    batch_size: Count
    seed: Count
    precision: str
    start: NotRequired[Config]
    data: Config
    device: str
    threads: Count
    torch: str
    source: str


@with_config(STRICT)
class TrialRecord(TypedDict):
    """record.json of a trial, written last."""

    trial: Hash
    status: Literal["complete", "diverged"]
    steps: Count
    flops: float
    files: dict[Annotated[str, Field(pattern=r"^(config\.json|history\.json|snapshots/\d{7}\.safetensors)$")], Checksum]


def _has_clocks(row: Numbers) -> Numbers:
    missing = {"step", "images", "flops"} - row.keys()
    if missing or row["step"] != int(row["step"]):
        raise ValueError("a row needs a whole step, images and flops")
    return row


History = list[Annotated[Numbers, AfterValidator(_has_clocks)]]  # history.json of a trial


@with_config(STRICT)
class Timing(TypedDict):
    train_seconds: Annotated[float, Field(ge=0)]


@with_config(STRICT)
class Measured(TypedDict, total=False):
    """A criterion of one snapshot: its value with what goes with it, or why it has none."""

    value: float
    own: float
    halves: list[float]
    facts: Numbers
    refused: str


@with_config(OPEN)
class CollapseVerdict(TypedDict):
    reason: str


@with_config(STRICT)
class Spectra(TypedDict, total=False):
    h: list[float]
    z: list[float]


@with_config(STRICT)
class CriteriaFile(TypedDict):
    """criteria/<protocol>.json of a trial."""

    protocol: Config
    values: dict[Step, dict[str, Measured | CollapseVerdict | Spectra]]


SpectraFile = dict[Step, Spectra]  # criteria/spectrum-<images>.json


@with_config(STRICT)
class StoreUser(TypedDict):
    """A note in the store of a folder of studies whose trials are in it."""

    runs: str


@with_config(OPEN)
class SealEntry(TypedDict):
    """A line of runs/seal.jsonl: an opening of the test split."""

    key: Hash
    study: Name
    picks: list[Config]
    scores: list[Config]


@with_config(OPEN)
class Choosing(TypedDict):
    rows: list[Config]


@with_config(OPEN)
class LossTrust(TypedDict):
    sentence: str


@with_config(OPEN)
class ReportNumbers(TypedDict):
    """report/metrics.json, as far as the tables on the screen need it."""

    study: Name
    rule: str
    quality: str | None
    choosing: NotRequired[dict[str, Choosing]]
    loss: NotRequired[dict[str, LossTrust]]
    test: list[Config]


@with_config(STRICT)
class PoolFacts(TypedDict):
    """A pool in the metadata of a trial table."""

    data: str
    criteria: dict[str, Criterion]
    protocol: Config
    probes: Config
    test_sources: Count
    identity: str
    default: str | None
    label_files: dict[str, Config]


@with_config(STRICT)
class TableFacts(TypedDict):
    """The metadata of a trial table."""

    format: Literal[2]
    facts: Config
    pools: dict[Name, PoolFacts]


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape, config=None if hasattr(shape, "__pydantic_config__") else STRICT)


def read(path: Path, shape: type[T], cure: str) -> T:
    """A JSON file, held against its shape. Raises ValueError, with ``cure``, on one that is damaged or otherwise."""
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}): {cure}") from None
    return checked(value, shape, str(path), cure)


def check_replaceable(path: Path, shape: type[T], by: str) -> None:
    """Raise ValueError where ``path`` is taken by something that ``by`` didn't write."""
    if path.exists():
        read(path, shape, f"python -m src.{by} would write there; move it away")


def read_line(line: bytes, shape: type[T], where: str, cure: str) -> T:
    """One line of a file of JSON lines, in the same way."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is damaged ({error}): {cure}") from None
    return checked(value, shape, where, cure)


def checked(value: Any, shape: type[T], where: str, cure: str) -> T:
    """The value itself, unchanged, where it has the shape. Raises ValueError, with ``cure``, where it hasn't."""
    try:
        _adapter(shape).validate_python(value)  # type: ignore[arg-type]  # a shape can be a key
    except ValidationError as error:
        raise ValueError(f"{where} isn't as it was written ({_first(error)}): {cure}") from None
    found: T = value
    return found


def _first(error: ValidationError) -> str:
    """Where the first thing is that doesn't fit, what it is, and what belongs there."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    got = repr(first["input"])
    shown = got if len(got) <= 40 else f"{got[:40]}..."
    what = first["msg"][:1].lower() + first["msg"][1:]
    if first["type"] == "missing":
        return f"{place} is missing"
    return f"{place + ': ' if place else ''}{what}, got {shown}"
