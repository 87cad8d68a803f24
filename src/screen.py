"""What a person sees while a study trains."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from src.record import StudyRecord

WIDTH = 150


def make_console() -> Console:
    """As wide as the terminal, and wide enough for a table where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def as_text(tables: list[Table]) -> str:
    """Tables as they look on a wide screen, for a file."""
    console = Console(width=WIDTH, file=io.StringIO(), record=True)
    for table in tables:
        console.print(table)
    return console.export_text()


class Screen:
    """One bar for the study, one for the running trial, one line for each trial that ended."""

    def __init__(self, study: str, trials: int, criterion: str) -> None:
        self.console = make_console()
        self.criterion, self.trials = criterion, trials
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self.console,
            transient=True,
        )
        self.study = self.bars.add_task(f"study {study}", total=trials, facts="")
        self.trial = self.bars.add_task("", total=None, facts="", visible=False)
        self.bars.start()

    def begin(self, number: int, done: int, images: int) -> None:
        self.bars.update(self.study, completed=done, facts=f"trial {number} of {self.trials - 1}")
        self.bars.reset(self.trial, total=images, description=f"trial {number}", facts="", visible=True)

    def advance(self, images: float, loss: float, value: float | None) -> None:
        facts = f"loss {loss:.3f}" + (f"  {self.criterion} {value:.4g}" if value is not None else "")
        self.bars.update(self.trial, completed=images, facts=facts)

    def end(self, entry: dict[str, Any], trained: bool, done: int) -> None:
        self.bars.update(self.study, completed=done)
        self.bars.update(self.trial, visible=False)
        how = "" if trained else " (from the store)"
        value = "" if entry["criterion"] is None else f"{self.criterion} {entry['criterion']:.4g}"
        line = f"trial {entry['number']:>3}  {entry['trial'][:8]}  {entry['status']:<9}  {value}{how}"
        self.console.print(line, highlight=False)

    def stop(self) -> None:
        self.bars.stop()


def study_table(entries: list[dict[str, Any]], criterion: dict[str, Any]) -> Table:
    """The trials of a study, best first, those without a comparable value last."""
    sign = 1 if criterion["direction"] == "higher" else -1

    def rank(entry: dict[str, Any]) -> tuple[bool, float]:
        healthy = entry["status"] == "complete" and entry["criterion"] is not None
        return (not healthy, -sign * entry["criterion"] if healthy else entry["number"])

    arrow = "higher is better" if sign > 0 else "lower is better"
    table = Table(title=f"by {criterion['name']} ({arrow})", title_justify="left")
    table.add_column("trial", justify="right")
    table.add_column("hash")
    table.add_column("status")
    table.add_column(criterion["name"], justify="right")
    table.add_column("what it changes", overflow="fold")
    for entry in sorted(entries, key=rank):
        value = "" if entry["criterion"] is None else f"{entry['criterion']:.4g}"
        changes = " ".join(shorten(override) for override in entry["overrides"]) or "nothing: the default configuration"
        table.add_row(str(entry["number"]), entry["trial"][:8], entry["status"], value, changes)
    return table


def probe_table(study: StudyRecord, result: dict[str, Any]) -> Table:
    """Accuracy on val of the last snapshots, best kNN first, and of the baselines."""
    table = Table(title="accuracy on val", title_justify="left")
    table.add_column("trial", justify="right")
    table.add_column("hash")
    for name in result["probe"]:
        table.add_column(f"{name} top-1", justify="right")
    rows = [(name, "", scores) for name, scores in result["baselines"].items()]
    for entry in study.entries:
        snapshots = result["trials"][entry.trial.key]
        if snapshots:
            rows.append((str(entry.number), entry.trial.key[:8], snapshots[max(snapshots, key=int)]))
    for name, key, scores in sorted(rows, key=lambda row: -row[2]["knn"]["top1"]):
        table.add_row(name, key, *(f"{scores[probe]['top1']:.3f}" for probe in result["probe"]))
    return table


def selection_tables(chosen: dict[str, Any]) -> list[Table]:
    """The ranking, and what was dropped where anything was."""
    name = chosen["criterion"]["name"]
    ranking = Table(title=f"{chosen['study']}: ranking by {name}, no label read", title_justify="left")
    dropped = Table(title="dropped", title_justify="left")
    for table in (ranking, dropped):
        table.add_column("trial", justify="right")
        table.add_column("hash")
    ranking.add_column("method")
    ranking.add_column(name, justify="right")
    ranking.add_column("what it changes", overflow="fold")
    winners = {winner["trial"] for winner in chosen["winners"]}
    for line in chosen["ranking"]:
        changes = " ".join(shorten(override) for override in line["overrides"]) or "nothing: the default configuration"
        picked = "bold" if line["trial"] in winners else None
        ranking.add_row(
            str(line["number"]), line["trial"][:8], line["method"], f"{line['value']:.4g}", changes, style=picked
        )
    dropped.add_column("status")
    dropped.add_column("reason", overflow="fold")
    for line in chosen["dropped"]:
        dropped.add_row(str(line["number"]), line["trial"][:8], line["status"], line["reason"])
    return [ranking, dropped] if chosen["dropped"] else [ranking]


def report_tables(metrics: dict[str, Any]) -> list[Table]:
    """What each criterion's pick cost, and what the final pick is worth on test."""
    criteria = Table(title=f"{metrics['study']}: which criterion could be trusted here? (val)", title_justify="left")
    for name in ("chosen by", "trial", "kNN top-1", "regret, points", "/ random's", "tau", "95 % interval"):
        criteria.add_column(name, justify="left" if name == "chosen by" else "right")
    for row in metrics["criteria"]:
        if "regret" not in row:
            continue
        ratio = "" if row["over_random"] is None else f"{row['over_random']:.2f}"
        tau = [f"{row['tau']:+.2f}", f"{row['tau_low']:+.2f} .. {row['tau_high']:+.2f}"] if "tau" in row else ["", ""]
        pick = "" if row["pick"] is None else str(row["pick"])
        style = "bold" if row["name"] == metrics["criterion"] else None
        criteria.add_row(row["name"], pick, f"{row['knn']:.3f}", f"{100 * row['regret']:.1f}", ratio, *tau, style=style)
    test = Table(title="sealed test split, accuracy with standard error", title_justify="left")
    for name in ("", "kNN top-1", "linear top-1", "pick minus this, kNN"):
        test.add_column(name, justify="right" if name else "left")
    for row in metrics["test"]:
        cells = [f"{row[probe]['value']:.3f} ± {row[probe]['error']:.3f}" for probe in ("knn", "linear")]
        gain = row["pick_minus_this"]["knn"]
        test.add_row(row["name"], *cells, f"{gain['value']:+.3f} ± {gain['error']:.3f}")
    return [criteria, test]


def clean_table(found: list[tuple[Path, str, int]], everything: int) -> Table:
    """What could be deleted, and how much of the whole it is."""
    total = sum(size for _, _, size in found)
    table = Table(title=f"{total / 1e6:.1f} of {everything / 1e6:.1f} MB could be deleted", title_justify="left")
    for name in ("folder", "what it is", "MB"):
        table.add_column(name, justify="right" if name == "MB" else "left")
    for path, what, size in found:
        table.add_row(str(path), what, f"{size / 1e6:.1f}")
    return table


def shorten(override: str) -> str:
    """optimizer.learning_rate=0.00312345 -> learning_rate=0.00312."""
    name, _, value = override.partition("=")
    last = ".".join(name.split(".")[-2:]) if name.endswith("projector.width") else name.split(".")[-1]
    try:
        return f"{last}={float(value):.3g}"
    except ValueError:
        return f"{last}={value}"
