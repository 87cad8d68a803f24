"""The trial table: pools as one parquet file that needs neither the store nor the data to be judged again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from src.runtime import files
from src.runtime.records import TableFacts, checked
from src.study.pool import LABELS, Pool, Snapshot, TrialResult

FORMAT = 2
MEMBER = (
    *("number", "trial", "configuration", "seed", "method", "status", "reason", "dimensions", "loss_definition"),
    *("numerics", "evaluation_flops", "seconds", "overrides"),
)
AS_JSON = ("dimensions", "numerics", "overrides")
SNAPSHOT = ("step", "images", "flops", "loss", "collapsed")
PARTS = 240


def write_table(path: Path, pools: list[Pool], facts: dict[str, Any]) -> None:
    """One row for each snapshot of each trial (one without a snapshot for a trial that has none), atomically."""
    rows = [row for pool in pools for row in _rows(pool)]
    names = dict.fromkeys(name for row in rows for name in row)
    about = {
        "format": FORMAT,
        "facts": facts,
        "pools": {
            pool.name: {
                "data": pool.data,
                "criteria": pool.criteria,
                "protocol": pool.protocol,
                "probes": pool.probes,
                "test_sources": pool.test_sources,
                "identity": pool.identity,
                "default": pool.default,
                "label_files": pool.label_files,
            }
            for pool in pools
        },
    }
    table = pa.table({name: pa.array([row.get(name) for row in rows], type=_type(name)) for name in names})
    table = table.replace_schema_metadata({b"stepwise": files.to_json(about)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", compression_level=19, write_page_checksum=True)
    files.write_atomically(path, sink.getvalue().to_pybytes())


def _type(name: str) -> pa.DataType | None:
    """Halves as single precision, which is ample for a spread and half of the file; the rest as it comes."""
    return pa.list_(pa.float32()) if name.startswith("halves.") else None


def _rows(pool: Pool) -> list[dict[str, Any]]:
    rows = []
    for member in pool.members:
        shared = {name: getattr(member, name) for name in MEMBER}
        shared |= {name: json.dumps(shared[name], sort_keys=True) for name in AS_JSON}
        shared |= {f"config.{knob}": _cell(value) for knob, value in member.knobs.items()}
        for number, snapshot in enumerate(member.snapshots or [None]):
            row = {"study": pool.name, **shared}
            if snapshot is not None:
                row |= {name: getattr(snapshot, name) for name in SNAPSHOT}
                row |= {f"criterion.{column}": value for column, value in snapshot.criteria.items()}
                row |= {f"fact.{fact}": value for fact, value in snapshot.facts.items()}
                row |= {f"probe.{p}.{n}": v for p, numbers in snapshot.probes.items() for n, v in numbers.items()}
                row |= {f"right.{probe}": _pack(right) for probe, right in snapshot.right.items()}
            if snapshot is None or number == len(member.snapshots) - 1:
                row |= {f"halves.{column}": values for column, values in member.halves.items()}
                row |= {f"budget.{budget}": skill for budget, skill in member.budgets.items()}
                row["refused"] = json.dumps(member.refused, sort_keys=True)
            rows.append(row)
    return rows


def _cell(value: Any) -> str:
    return json.dumps(value)


def _pack(right: np.ndarray) -> bytes:
    """Shares as 240ths: exact for a source image with 1 to 6, 8, 10, 12 or 15 copies, else within 0.002."""
    return np.round(right * PARTS).astype(np.uint8).tobytes()


def _unpack(packed: bytes) -> np.ndarray:
    return np.frombuffer(packed, dtype=np.uint8) / PARTS


def read_about(path: Path) -> dict[str, Any]:
    """What the table says of itself: its pools' criteria, protocol and probes, and the facts it was written with.

    Raises ValueError where the file isn't such a table.
    """
    if not path.exists():
        raise ValueError(f"table={path} doesn't exist: make evidence writes one")
    try:
        about = json.loads((pq.read_schema(path).metadata or {})[b"stepwise"])
        found = about["format"]
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{path} is not a trial table ({error}): make evidence writes one") from None
    if found != FORMAT:
        raise ValueError(f"{path} is a trial table of format {found}, not {FORMAT}: make evidence writes one")
    return dict(checked(about, TableFacts, f"the metadata of {path}", "make evidence writes one"))


def read_pool(path: Path, study: str, *, probes: bool, budgets: bool) -> Pool:
    """A study of the table; without ``probes`` nothing that a label of val decided is even read from the file."""
    about = read_about(path)
    if study not in about["pools"]:
        raise ValueError(f"study must be one of {', '.join(sorted(about['pools']))} in {path}, got {study!r}")
    hidden = (*(() if probes else ("probe.", "right.")), *(() if budgets else ("budget.", f"halves.{LABELS}")))
    try:
        wanted = [name for name in pq.read_schema(path).names if not hidden or not name.startswith(hidden)]
        own = [("study", "=", study)]
        frame = pq.read_table(path, columns=wanted, filters=own, page_checksum_verification=True).to_pylist()
    except (pa.ArrowException, ValueError, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}): make evidence writes it anew") from None
    by_number: dict[int, list[dict[str, Any]]] = {}
    for row in frame:
        kept = {name: value for name, value in row.items() if value is not None}
        by_number.setdefault(kept["number"], []).append(kept)
    definition = dict(about["pools"][study].items())
    try:
        members = [_member(rows) for rows in by_number.values()]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}): make evidence writes it anew") from None
    return Pool(name=study, members=members, **definition)


def _member(rows: list[dict[str, Any]]) -> TrialResult:
    last = rows[-1]
    shared: dict[str, Any] = {name: last.get(name) for name in MEMBER}
    shared |= {name: json.loads(str(shared[name])) for name in AS_JSON}
    snapshots = [
        Snapshot(
            **{name: row[name] for name in SNAPSHOT if name != "loss"},
            loss=row.get("loss"),
            criteria=_prefixed(row, "criterion."),
            probes=_nested(_prefixed(row, "probe.")),
            right={name: _unpack(packed) for name, packed in _prefixed(row, "right.").items()},
            facts=_prefixed(row, "fact."),
        )
        for row in rows
        if "step" in row
    ]
    return TrialResult(
        **shared,
        knobs={name: json.loads(value) for name, value in _prefixed(last, "config.").items()},
        snapshots=snapshots,
        halves=_prefixed(last, "halves."),
        refused=json.loads(last["refused"]),
        budgets=_prefixed(last, "budget."),
    )


def _prefixed(row: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}


def _nested(numbers: dict[str, float]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for name, value in numbers.items():
        probe, _, number = name.partition(".")
        found.setdefault(probe, {})[number] = value
    return found
