"""The report's numbers as tables: on the screen, and for spreadsheets."""

from __future__ import annotations

from dataclasses import fields
from typing import NamedTuple

from rich.table import Table

from src.report.numbers import Choosing, Judged, PickScores, ReferenceScores, ReportNumbers, TrialRow, Way
from src.runtime import files
from src.runtime.stats import Estimate, Interval
from src.study.tables import table_of

HEADS = ("chosen by", ">trial", ">quality", ">regret, points", ">95 %", ">/ range", ">/ random's", ">tau", ">rho")

Cells = dict[str, object]  # a row by column


def report_tables(numbers: ReportNumbers) -> list[Table]:
    """What each way of choosing cost, and what the final pick is worth on test."""
    tables = [_choosing_table(numbers, method, choosing) for method, choosing in (numbers.choosing or {}).items()]
    return [*tables, _test_table(numbers.test, numbers.quality)] if numbers.test else tables


class Line(NamedTuple):
    name: str
    judged: Judged


def _choosing_table(numbers: ReportNumbers, method: str, choosing: Choosing) -> Table:
    title = f"{numbers.study}, {method}: which criterion could be trusted here? ({numbers.quality} on val)"
    table = table_of(title, *HEADS)
    lines = [Line(way.name, way.judged) for way in choosing.rows if way.judged is not None]
    for name, judged in sorted(lines, key=lambda line: line.judged.regret):
        pick = "" if judged.pick is None else str(judged.pick)
        points = [f"{100 * judged.regret:.1f}", _points(judged.regret_interval)]
        ratios = [judged.over_range, judged.over_random, judged.tau, judged.rho]
        signed = ["" if ratio is None else f"{ratio:+.2f}" for ratio in ratios]
        style = "bold" if name == numbers.rule else None
        table.add_row(name, pick, f"{judged.quality:.3f}", *points, *signed, style=style)
    return table


def _points(spread: Interval | None) -> str:
    return "" if spread is None else f"{100 * spread.low:.1f} .. {100 * spread.high:.1f}"


def _test_table(rows: list[PickScores | ReferenceScores], quality: str | None) -> Table:
    probes = list(rows[0].scores)
    table = table_of(
        "sealed test split, accuracy with standard error",
        *("", *(f">{probe} top-1" for probe in probes), f">minus the default, {quality}"),
    )
    for row in rows:
        accuracies = [_with_error(row.scores[probe]) for probe in probes]
        gain = "" if row.minus_default is None or quality is None else _with_error(row.minus_default[quality], "+")
        table.add_row(row.name, *accuracies, gain)
    return table


def _with_error(estimate: Estimate, sign: str = "") -> str:
    return f"{estimate.value:{sign}.3f} ± {estimate.error:.3f}"


def trials_csv(numbers: ReportNumbers) -> bytes:
    """One line per trial, for `dvc plots` and spreadsheets."""
    return files.to_csv_of([_cells(trial) for trial in numbers.trials])


def _cells(trial: TrialRow) -> Cells:
    cells: Cells = {key: getattr(trial, key) for key in ("number", "trial", "seed", "method", "status", "tflops")}
    for probe, numbers in trial.probes.items():
        cells |= {f"{probe}_{name}": value for name, value in numbers.items()}
    return cells | trial.criteria | trial.knobs


def choosing_csv(numbers: ReportNumbers) -> bytes:
    """One line per way of choosing and method; with_collapsed says whether collapsed trials could be chosen."""
    rows: list[Cells] = []
    for method, choosing in (numbers.choosing or {}).items():
        for way in choosing.rows:
            rows += _lines(method, way)
    return files.to_csv_of(rows)


def _lines(method: str, way: Way) -> list[Cells]:
    """Among healthy trials, and with collapsed ones."""
    floor: Cells = {"noise_floor": way.noise_floor} if way.is_column else {}
    return [
        {"method": method, "chosen_by": way.name, "with_collapsed": False} | _flat(way.judged) | floor,
        {"method": method, "chosen_by": way.name, "with_collapsed": True} | _flat(way.with_collapsed),
    ]


def _flat(judged: Judged | None) -> Cells:
    """A verdict's figures, each interval as two."""
    if judged is None:
        return {}
    cells: Cells = {}
    for field in fields(judged):
        value = getattr(judged, field.name)
        if field.name.endswith("_interval"):
            low, high = value or (None, None)
            stem = field.name.removesuffix("_interval")
            cells |= {f"{stem}_low": low, f"{stem}_high": high}
        else:
            cells[field.name] = value
    return cells
