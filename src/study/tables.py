"""Tables as people see them on the screen."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from src.runtime.console import WIDTH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

    from src.study.cleaning import Unneeded
    from src.study.log import StudyEntry
    from src.study.pool import TrialResult
    from src.study.results import Confirmation, LabelFile, ProbeFile, ProbeScores, RankedTrial, Selection
    from src.study.stored import StoredStudy


def as_text(tables: list[Table]) -> str:
    """Tables as they look on a wide screen, for a file."""
    console = Console(width=WIDTH, file=io.StringIO(), record=True)
    for table in tables:
        console.print(table)
    return console.export_text()


def study_table(entries: list[StudyEntry], guide: str, direction: str) -> Table:
    """The trials of a study, best first, those without a comparable value last."""
    sign = 1 if direction == "higher" else -1

    def rank(entry: StudyEntry) -> tuple[bool, float]:
        if entry.status == "complete" and entry.criterion is not None:
            return False, -sign * entry.criterion
        return True, entry.number

    arrow = "higher is better" if sign > 0 else "lower is better"
    table = table_of(f"by {guide} ({arrow})", ">trial", "hash", "status", f">{guide}", "what it changes")
    for entry in sorted(entries, key=rank):
        table.add_row(
            *(str(entry.number), entry.trial[:8], entry.status, _number(entry.criterion), changes(entry.overrides))
        )
    return table


def probe_table(study: StoredStudy, probed: ProbeFile) -> Table:
    """The headline of every probe on the last snapshots, best linear first, and of the baselines."""
    rows = [(name, "", scores) for name, scores in probed.baselines.items()]
    for entry in study.entries:
        if entry.steps:
            rows.append((str(entry.number), entry.trial.key[:8], probed.of(entry.trial.key, entry.steps[-1])))
    heads: dict[str, str] = {}  # probe -> its headline's name; not of a probe without numbers
    for _, _, scores in rows:
        for probe, score in scores.items():
            if score.numbers:
                heads.setdefault(probe, next(iter(score.numbers)))
    titles = [probe if name == probe else f"{probe} {name}" for probe, name in heads.items()]
    table = table_of("fitted on probe, scored on val", ">trial", "hash", *(f">{title}" for title in titles))
    first = next(iter(heads))
    for name, key, scores in sorted(rows, key=lambda row: -_headline(row[2], first)):
        table.add_row(name, key, *(f"{_headline(scores, probe):.3f}" if probe in scores else "" for probe in heads))
    return table


def _headline(scores: ProbeScores, probe: str) -> float:
    """A probe's first number; 0 where it has none."""
    return next(iter(scores[probe].numbers.values()), 0.0) if probe in scores else 0.0


def budget_table(study: StoredStudy, result: Mapping[str, LabelFile]) -> Table:
    """Skill of every trial with each label budget's first draw."""
    shown = [name for name in result if name == "all" or name.endswith("-0")] or list(result)
    shown.sort(key=lambda name: result[name].labels)
    heads = [f">{name.removesuffix('-0')} ({result[name].labels})" for name in shown]
    table = table_of("skill by label budget (labels in the file), cross-validated within it", ">trial", "hash", *heads)
    for entry in study.entries:
        if entry.trained:
            skills = [result[name].trials[entry.trial.key].skill for name in shown]
            table.add_row(str(entry.number), entry.trial.key[:8], *(f"{skill:.3f}" for skill in skills))
    return table


def selection_tables(chosen: Selection) -> list[Table]:
    """The ranking, and what was dropped where anything was."""
    columns = list(chosen.columns)
    several = columns != [chosen.rule]  # then the score is none of the columns
    labelled = any(column.startswith("labels_") for column in columns)
    seen = "its label file alone was read" if labelled else "no label read"
    heads = [">trial", "hash", "method", *([f">{chosen.rule}"] if several else []), *(f">{name}" for name in columns)]
    title = f"{chosen.study}: ranking by {chosen.rule}, {seen}"
    ranking = table_of(title, *heads, ">TFLOP", ">P(best) %", "", "what it changes")
    for line in chosen.ranking:
        number = str(line.number) if chosen.snapshots == "last" else f"{line.number}@{line.step}"
        ranking.add_row(
            *(number, line.trial[:8], line.method),
            *([f"{line.score:.3f}"] if several else []),
            *(f"{line.values[column]:.4g}" for column in columns),
            f"{line.flops / 1e12:.2f}",
            "?" if line.probability_best is None else f"{100 * line.probability_best:.0f}",
            *(_mark(line), changes(line.overrides)),
            style="bold" if line.picked else None,
        )
    dropped = table_of("dropped", ">trial", "hash", "status", "reason")
    for out in chosen.dropped:
        dropped.add_row(str(out.number), out.trial[:8], out.status, out.reason)
    return [ranking, dropped] if chosen.dropped else [ranking]


def _mark(line: RankedTrial) -> str:
    """What a line of the ranking is to the pick."""
    if line.picked:
        return "picked"
    if line.tied_with_best:
        return "tied"
    unknown = line.probability_best is None
    return "" if unknown or line.told_apart else "close"


def confirmation_table(result: Confirmation) -> Table:
    """Each repeated trial's selected value, its mean over fresh seeds, and how far it fell."""
    columns = list(dict.fromkeys(column for line in result.confirmed for column in line.columns))
    heads = [head for column in columns for head in (f">{column}", ">fresh mean", ">fell by")]
    table = table_of(f"{result.study}: repeated with seeds {result.seeds}", ">trial", "hash", *heads)
    winners = {winner.number for winner in result.winners}
    for line in result.confirmed:
        cells: list[str] = []
        for column in columns:
            fall = line.columns[column]
            mean = sum(fall.fresh) / len(fall.fresh) if fall.fresh else None
            cells += [_number(fall.first), _number(mean), _number(fall.curse)]
        table.add_row(str(line.number), line.trial[:8], *cells, style="bold" if line.number in winners else None)
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


def _cell(value: JsonValue) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _numbers_of(member: TrialResult) -> dict[str, float]:
    if not member.snapshots:
        return {}
    measured = {"TFLOP": member.last.flops / 1e12, "seed": float(member.seed)}
    for probe, numbers in member.last.probes.items():
        measured |= {f"{probe} {name}": value for name, value in numbers.items()}
    return measured | member.last.criteria


def clean_table(unneeded: list[Unneeded], everything: int) -> Table:
    """What could go, and how much of the whole it is."""
    total = sum(one.bytes for one in unneeded)
    table = table_of(f"{total / 1e6:.1f} of {everything / 1e6:.1f} MB could go", "folder", "what it is", ">MB")
    for one in unneeded:
        table.add_row(str(one.path), one.what, f"{one.bytes / 1e6:.1f}")
    return table


def shorten(override: str) -> str:
    """optimizer.learning_rate=0.00312345 -> learning_rate=0.00312."""
    name, _, value = override.partition("=")
    parts = name.split(".")
    # both heads have a width
    ambiguous = name.endswith(("projector.width", "predictor.width"))
    last = ".".join(parts[-2:]) if ambiguous else parts[-1]
    try:
        return f"{last}={float(value):.3g}"
    except ValueError:
        return f"{last}={value}"


def changes(overrides: list[str]) -> str:
    return " ".join(shorten(override) for override in overrides) or "nothing: the default configuration"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def table_of(title: str, *columns: str) -> Table:
    """A table whose columns written with > are flush right."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(
            column.removeprefix(">"), justify="right" if column.startswith(">") else "left", overflow="fold"
        )
    return table
