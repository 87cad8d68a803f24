"""Tables as people see them on the screen."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from src.runtime.console import WIDTH

if TYPE_CHECKING:
    from src.study.cleaning import Unneeded
    from src.study.pool import TrialResult
    from src.study.stored import StoredStudy


def as_text(tables: list[Table]) -> str:
    """Tables as they look on a wide screen, for a file."""
    console = Console(width=WIDTH, file=io.StringIO(), record=True)
    for table in tables:
        console.print(table)
    return console.export_text()


def study_table(entries: list[dict[str, Any]], guide: str, direction: str) -> Table:
    """The trials of a study, best first, those without a comparable value last."""
    sign = 1 if direction == "higher" else -1

    def rank(entry: dict[str, Any]) -> tuple[bool, float]:
        healthy = entry["status"] == "complete" and entry["criterion"] is not None
        return (not healthy, -sign * entry["criterion"] if healthy else entry["number"])

    arrow = "higher is better" if sign > 0 else "lower is better"
    table = table_of(f"by {guide} ({arrow})", ">trial", "hash", "status", f">{guide}", "what it changes")
    for entry in sorted(entries, key=rank):
        value = "" if entry["criterion"] is None else f"{entry['criterion']:.4g}"
        table.add_row(str(entry["number"]), entry["trial"][:8], entry["status"], value, _changes(entry["overrides"]))
    return table


def probe_table(study: StoredStudy, result: dict[str, Any]) -> Table:
    """The headline of every probe on the last snapshots, best linear first, and of the baselines."""
    rows = [(name, "", found) for name, found in result["baselines"].items()]
    for entry in study.entries:
        snapshots = result["trials"][entry.trial.key]
        if snapshots:
            rows.append((str(entry.number), entry.trial.key[:8], snapshots[max(snapshots, key=int)]))
    shown = list(dict.fromkeys(probe for _, _, found in rows for probe, score in found.items() if score["numbers"]))
    table = table_of(
        "fitted on probe, scored on val", ">trial", "hash", *(f">{_headline(rows, probe)}" for probe in shown)
    )
    first = shown[0]
    for name, key, found in sorted(rows, key=lambda row: -_first(row[2].get(first))):
        table.add_row(name, key, *(f"{_first(found[probe]):.3f}" if probe in found else "" for probe in shown))
    return table


def _headline(rows: list[tuple[str, str, dict[str, Any]]], probe: str) -> str:
    number = next(next(iter(found[probe]["numbers"])) for _, _, found in rows if found.get(probe, {}).get("numbers"))
    return probe if number == probe else f"{probe} {number}"


def _first(score: dict[str, Any] | None) -> float:
    return float(next(iter(score["numbers"].values()))) if score and score["numbers"] else 0.0


def budget_table(study: StoredStudy, result: dict[str, Any]) -> Table:
    """Skill of every trial with each label budget's first draw."""
    shown = [name for name in result if name == "all" or name.endswith("-0")] or list(result)
    shown.sort(key=lambda name: result[name]["labels"])
    heads = [f">{name.removesuffix('-0')} ({result[name]['labels']})" for name in shown]
    table = table_of("skill by label budget (labels in the file), cross-validated within it", ">trial", "hash", *heads)
    for entry in study.entries:
        if entry.trained:
            skills = [result[name]["trials"][entry.trial.key]["skill"] for name in shown]
            table.add_row(str(entry.number), entry.trial.key[:8], *(f"{skill:.3f}" for skill in skills))
    return table


def selection_tables(chosen: dict[str, Any]) -> list[Table]:
    """The ranking, and what was dropped where anything was."""
    columns = list(chosen["columns"])
    score = [] if columns == [chosen["rule"]] else [f">{chosen['rule']}"]
    seen = "no label read" if not any(c.startswith("labels_") for c in columns) else "its label file alone was read"
    ranking = table_of(
        f"{chosen['study']}: ranking by {chosen['rule']}, {seen}",
        *(
            ">trial",
            "hash",
            "method",
            *score,
            *(f">{column}" for column in columns),
            ">TFLOP",
            ">P(best) %",
            "",
            "what it changes",
        ),
    )
    for line in chosen["ranking"]:
        mark = (
            "picked"
            if line["picked"]
            else "tied"
            if line["tied_with_best"]
            else ""
            if line["told_apart"] or line["probability_best"] is None
            else "close"
        )
        number = f"{line['number']}" if chosen["snapshots"] == "last" else f"{line['number']}@{line['step']}"
        ranking.add_row(
            *(number, line["trial"][:8], line["method"]),
            *([f"{line['score']:.3f}"] if score else []),
            *(f"{line['values'][column]:.4g}" for column in columns),
            *(
                f"{line['flops'] / 1e12:.2f}",
                "?" if line["probability_best"] is None else f"{100 * line['probability_best']:.0f}",
                mark,
                _changes(line["overrides"]),
            ),
            style="bold" if line["picked"] else None,
        )
    dropped = table_of("dropped", ">trial", "hash", "status", "reason")
    for line in chosen["dropped"]:
        dropped.add_row(str(line["number"]), line["trial"][:8], line["status"], line["reason"])
    return [ranking, dropped] if chosen["dropped"] else [ranking]


def confirmation_table(result: dict[str, Any]) -> Table:
    """Each repeated trial's selected value, its mean over fresh seeds, and how far it fell."""
    columns = list(dict.fromkeys(column for line in result["confirmed"] for column in line["columns"]))
    heads = [head for column in columns for head in (f">{column}", ">fresh mean", ">fell by")]
    table = table_of(f"{result['study']}: repeated with seeds {result['seeds']}", ">trial", "hash", *heads)
    winners = {winner["number"] for winner in result["winners"]}
    for line in result["confirmed"]:
        cells: list[str] = []
        for column in columns:
            fall = line["columns"][column]
            mean = sum(fall["fresh"]) / len(fall["fresh"]) if fall["fresh"] else None
            cells += [_number(fall["first"]), _number(mean), _number(fall.get("curse"))]
        table.add_row(
            str(line["number"]), line["trial"][:8], *cells, style="bold" if line["number"] in winners else None
        )
    return table


def comparison_tables(a: TrialResult, b: TrialResult) -> list[Table]:
    """The knobs in which two trials differ, and everything measured of both at their ends."""
    heads = (f">trial {a.number}", f">trial {b.number}")
    knobs = table_of("settings that differ", "", *heads)
    for name in dict.fromkeys([*a.knobs, *b.knobs]):
        if a.knobs.get(name) != b.knobs.get(name):
            knobs.add_row(name, *(_cell(member.knobs.get(name)) for member in (a, b)))
    measured = table_of("at the end of training", "", *heads, ">difference")
    measured.add_row("status", a.status, b.status, "")
    pair = [_numbers_of(member) for member in (a, b)]
    for name in dict.fromkeys([*pair[0], *pair[1]]):
        left, right = (numbers.get(name) for numbers in pair)
        gap = "" if left is None or right is None else f"{right - left:+.4g}"
        measured.add_row(name, _number(left), _number(right), gap)
    return [knobs, measured]


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _numbers_of(member: TrialResult) -> dict[str, float]:
    if not member.snapshots:
        return {}
    probes = {f"{probe} {name}": v for probe, numbers in member.last.probes.items() for name, v in numbers.items()}
    return {"TFLOP": member.last.flops / 1e12, "seed": float(member.seed)} | probes | member.last.criteria


def report_tables(metrics: dict[str, Any]) -> list[Table]:
    """What each way of choosing cost, and what the final pick is worth on test."""
    tables = []
    for method, choosing in metrics.get("choosing", {}).items():
        table = table_of(
            f"{metrics['study']}, {method}: which criterion could be trusted here? ({metrics['quality']} on val)",
            *("chosen by", ">trial", ">quality", ">regret, points", ">95 %", ">/ range", ">/ random's", ">tau", ">rho"),
        )
        for row in sorted((row for row in choosing["rows"] if "regret" in row), key=lambda row: row["regret"]):
            low, high = row["regret_interval"]
            table.add_row(
                *(row["name"], "" if row["pick"] is None else str(row["pick"]), f"{row['quality']:.3f}"),
                *(f"{100 * row['regret']:.1f}", f"{100 * low:.1f} .. {100 * high:.1f}"),
                *(_ratio(row[name]) for name in ("over_range", "over_random", "tau", "rho")),
                style="bold" if row["name"] == metrics["rule"] else None,
            )
        tables.append(table)
    if metrics["test"]:
        probes = list(metrics["test"][0]["scores"])
        test = table_of(
            "sealed test split, accuracy with standard error",
            *("", *(f">{probe} top-1" for probe in probes), f">minus the default, {metrics['quality']}"),
        )
        for row in metrics["test"]:
            cells = [f"{row['scores'][probe]['value']:.3f} ± {row['scores'][probe]['error']:.3f}" for probe in probes]
            gain = row["minus_default"] and row["minus_default"][metrics["quality"]]
            test.add_row(row["name"], *cells, f"{gain['value']:+.3f} ± {gain['error']:.3f}" if gain else "")
        tables.append(test)
    return tables


def clean_table(found: list[Unneeded], everything: int) -> Table:
    """What could go, and how much of the whole it is."""
    total = sum(one.bytes for one in found)
    table = table_of(f"{total / 1e6:.1f} of {everything / 1e6:.1f} MB could go", "folder", "what it is", ">MB")
    for one in found:
        table.add_row(str(one.path), one.what, f"{one.bytes / 1e6:.1f}")
    return table


def shorten(override: str) -> str:
    """optimizer.learning_rate=0.00312345 -> learning_rate=0.00312."""
    name, _, value = override.partition("=")
    last = (
        ".".join(name.split(".")[-2:]) if name.endswith(("projector.width", "predictor.width")) else name.split(".")[-1]
    )
    try:
        return f"{last}={float(value):.3g}"
    except ValueError:
        return f"{last}={value}"


def _changes(overrides: list[str]) -> str:
    return " ".join(shorten(override) for override in overrides) or "nothing: the default configuration"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


def table_of(title: str, *columns: str) -> Table:
    """A table whose columns written with > are flush right."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(
            column.removeprefix(">"), justify="right" if column.startswith(">") else "left", overflow="fold"
        )
    return table
