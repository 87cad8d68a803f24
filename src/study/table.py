"""The trial table: pools as one parquet file that needs neither the store nor the data to be judged again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import JsonValue

from src.runtime import files
from src.runtime.records import Config, Name, closed, parsed
from src.study.pool import LABELS, Floats, Pool, PoolFacts, Snapshot, TrialFacts, TrialResult

FORMAT: Literal[2] = 2
ANEW = "make evidence writes one"
PARTS = 240  # in which the share right of a source image is kept

Cell = str | int | float | bool | bytes | list[float] | None
Cells = dict[str, Cell]  # a row by column


@closed
@dataclass(frozen=True)
class TableFacts:
    """The metadata."""

    format: Literal[2]
    facts: Config  # whatever it was written with
    pools: dict[Name, PoolFacts]


AS_JSON = ("dimensions", "numerics", "overrides")  # columns of text
TRIAL = tuple(field.name for field in fields(TrialFacts))


def write_table(path: Path, pools: list[Pool], facts: Config) -> None:
    """One row for each snapshot of each trial (one without a snapshot for a trial that has none), atomically."""
    rows = [row for pool in pools for row in _rows(pool)]
    # in the order of their first row: pools needn't have the same columns
    names = dict.fromkeys(name for row in rows for name in row)
    table = pa.table({name: pa.array([row.get(name) for row in rows], type=_type(name)) for name in names})
    about = TableFacts(FORMAT, facts, {pool.name: _facts(pool) for pool in pools})
    table = table.replace_schema_metadata({b"stepwise": files.to_json(about)})
    sink = pa.BufferOutputStream()
    # checksums of pages: a flipped bit is an error instead of another number
    pq.write_table(table, sink, compression="zstd", compression_level=19, write_page_checksum=True)
    files.write_atomically(path, sink.getvalue().to_pybytes())


def _facts(pool: Pool) -> PoolFacts:
    return PoolFacts(**{field.name: getattr(pool, field.name) for field in fields(PoolFacts)})


def _type(name: str) -> pa.DataType | None:
    """Halves as single precision, which is ample for a spread and half of the file; the rest as it comes."""
    return pa.list_(pa.float32()) if name.startswith("halves.") else None


def _rows(pool: Pool) -> list[Cells]:
    rows = []
    for member in pool.members:
        shared: Cells = {"study": pool.name} | {name: getattr(member, name) for name in TRIAL}
        shared |= {name: json.dumps(getattr(member, name), sort_keys=True) for name in AS_JSON}
        shared |= {f"config.{knob}": json.dumps(value) for knob, value in member.knobs.items()}
        own = [shared | _of_snapshot(snapshot) for snapshot in member.snapshots] or [shared]
        # halves, label budgets and refusals are of the last snapshot
        own[-1] = own[-1] | _of_the_last(member)
        rows += own
    return rows


def _of_snapshot(snapshot: Snapshot) -> Cells:
    cells: Cells = {"step": snapshot.step, "images": snapshot.images, "flops": snapshot.flops}
    cells |= {"loss": snapshot.loss, "collapsed": snapshot.collapsed}
    cells |= {f"criterion.{column}": value for column, value in snapshot.criteria.items()}
    cells |= {f"fact.{fact}": value for fact, value in snapshot.facts.items()}
    for probe, numbers in snapshot.probes.items():
        cells |= {f"probe.{probe}.{name}": value for name, value in numbers.items()}
    return cells | {f"right.{probe}": _pack(right) for probe, right in snapshot.right.items()}


def _of_the_last(member: TrialResult) -> Cells:
    cells: Cells = {f"halves.{column}": values for column, values in member.halves.items()}
    cells |= {f"budget.{budget}": skill for budget, skill in member.budgets.items()}
    return cells | {"refused": json.dumps(member.refused, sort_keys=True)}


def _pack(right: Floats) -> bytes:
    """Shares as 240ths: exact for a source image with 1 to 6, 8, 10, 12 or 15 copies, else within 0.002."""
    return np.round(right * PARTS).astype(np.uint8).tobytes()


def _unpack(packed: bytes) -> Floats:
    return np.frombuffer(packed, dtype=np.uint8) / PARTS


def read_about(path: Path) -> TableFacts:
    """What the table says of itself: its pools' criteria, protocol and probes, and the facts it was written with.

    Raises ValueError where the file isn't such a table.
    """
    if not path.exists():
        raise ValueError(f"table={path} doesn't exist: {ANEW}")
    try:
        about = (pq.read_schema(path).metadata or {})[b"stepwise"]
        # the format first: of another one, nothing else need have this shape
        written = json.loads(about)["format"]
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{path} is not a trial table ({error}): {ANEW}") from None
    if written != FORMAT:
        raise ValueError(f"{path} is a trial table of format {written}, not {FORMAT}: {ANEW}")
    return parsed(about, TableFacts, f"the metadata of {path}", ANEW)


def read_pool(path: Path, study: str, *, probes: bool, budgets: bool) -> Pool:
    """A study of the table; without ``probes`` nothing that a label of val decided is even read from the file."""
    about = read_about(path)
    if study not in about.pools:
        raise ValueError(f"study must be one of {', '.join(sorted(about.pools))} in {path}, got {study!r}")
    hidden: tuple[str, ...] = () if probes else ("probe.", "right.")
    if not budgets:
        hidden += ("budget.", f"halves.{LABELS}")
    try:
        wanted = [name for name in pq.read_schema(path).names if not hidden or not name.startswith(hidden)]
        own = [("study", "=", study)]
        frame = pq.read_table(path, columns=wanted, filters=own, page_checksum_verification=True).to_pylist()
    except (pa.ArrowException, ValueError, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}): make evidence writes it anew") from None
    by_number: dict[Cell, list[Cells]] = {}
    for row in frame:
        kept = {name: value for name, value in row.items() if value is not None}
        by_number.setdefault(kept["number"], []).append(kept)
    try:
        members = [_member(rows) for rows in by_number.values()]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}): make evidence writes it anew") from None
    return Pool(**vars(about.pools[study]), name=study, members=members)


def _member(rows: list[Cells]) -> TrialResult:
    last = rows[-1]
    plain: dict[str, JsonValue] = {name: cast(JsonValue, last.get(name)) for name in TRIAL if name not in AS_JSON}
    plain |= {name: json.loads(str(last[name])) for name in AS_JSON}
    own = parsed(json.dumps(plain).encode(), TrialFacts, f"trial {last['number']!r}", ANEW)
    return TrialResult(
        **vars(own),
        knobs={name: json.loads(str(value)) for name, value in _prefixed(last, "config.").items()},
        snapshots=[_snapshot(row) for row in rows if "step" in row],
        halves={name: cast(list[float], values) for name, values in _prefixed(last, "halves.").items()},
        refused=json.loads(str(last["refused"])),
        budgets=_numbers(last, "budget."),
    )


def _snapshot(row: Cells) -> Snapshot:
    step, images, flops = (cast(int, row[name]) for name in ("step", "images", "flops"))
    return Snapshot(
        step=step,
        images=images,
        flops=flops,
        loss=cast(float | None, row.get("loss")),
        collapsed=bool(row["collapsed"]),
        criteria=_numbers(row, "criterion."),
        probes=_by_probe(_numbers(row, "probe.")),
        right={name: _unpack(cast(bytes, packed)) for name, packed in _prefixed(row, "right.").items()},
        facts=_numbers(row, "fact."),
    )


def _prefixed(row: Cells, prefix: str) -> Cells:
    return {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}


def _numbers(row: Cells, prefix: str) -> dict[str, float]:
    return cast(dict[str, float], _prefixed(row, prefix))


def _by_probe(numbers: Mapping[str, float]) -> dict[str, dict[str, float]]:
    by_probe: dict[str, dict[str, float]] = {}
    for name, value in numbers.items():
        probe, _, number = name.partition(".")
        by_probe.setdefault(probe, {})[number] = value
    return by_probe
