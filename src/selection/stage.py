"""What ``python -m src.selection`` does."""

from __future__ import annotations

from pathlib import Path

from src.runtime import files
from src.runtime.console import make_console
from src.runtime.records import check_replaceable
from src.selection.ranking import rank
from src.selection.rule import make_rule
from src.selection.settings import Settings
from src.study.pool import Pool
from src.study.results import RankedTrial, Selection, read_budgets
from src.study.stored import StoredStudy, next_command, unlabelled_pool
from src.study.table import read_pool
from src.study.tables import as_text, selection_tables
from src.tracking.mirror import StudyMirror


def run(settings: Settings) -> None:
    """Rank a study's trials by a rule and write runs/<study>/selection.json and selection.txt."""
    folder = settings.folders.of(settings.study)
    _check_outputs(folder)
    study = None if settings.table else StoredStudy(folder, settings.folders.trusted())
    pool = _pool(settings, study)
    rule = make_rule(pool, settings.rule)
    chosen = rank(pool, rule, snapshots=settings.snapshots, draws=settings.draws, seed=settings.seed)
    files.write_json(folder / "selection.json", chosen)

    console, tables = make_console(), selection_tables(chosen)
    console.print(*tables)
    files.write_atomically(folder / "selection.txt", as_text(tables).encode())
    if study is not None:
        StudyMirror(study).tag_picks(study.entries, "selected", chosen.picks(), chosen.rule)
    for winner in chosen.winners:
        console.print(_sentence(winner, chosen), highlight=False)
        if study is not None:
            weights = study.trial(winner.trial).snapshot_path(winner.step)
            console.print(f"its weights: {weights}", highlight=False)
    if len(chosen.winners) > 1:
        console.print(f"one winner for each method: {chosen.rule} doesn't compare methods")
    console.print(f"written: {folder / 'selection.json'}\nnext: {_next(settings, study)}", highlight=False)


def _next(settings: Settings, study: StoredStudy | None) -> str:
    if study is None:
        return f"python -m src.report study={settings.study} table={settings.table}"
    return next_command(study)


def _check_outputs(folder: Path) -> None:
    """Raise ValueError where this would write over something that it didn't write."""
    check_replaceable(folder / "selection.json", Selection, "selection")
    # A text file can't be held against a type: its first line tells whether this command wrote it.
    table = folder / "selection.txt"
    if table.exists() and ": ranking by " not in table.read_text(errors="replace").partition("\n")[0]:
        raise ValueError(f"{table} wasn't written by python -m src.selection: move it away")


def _pool(settings: Settings, study: StoredStudy | None) -> Pool:
    """The pool, without labels unless the rule asks for a budget of them."""
    if study is None:
        return read_pool(Path(str(settings.table)), settings.study, probes=False, budgets=settings.labelled)
    return unlabelled_pool(study, read_budgets(study.folder) if settings.labelled else {})


def _sentence(winner: RankedTrial, chosen: Selection) -> str:
    """What was picked, and how stable the rule's order is."""
    lines = [line for line in chosen.ranking if line.method == winner.method or len(chosen.winners) == 1]
    best = lines[0]
    tie = "" if winner == best else f", the cheapest of those tied with trial {best.number}"
    picked = f"picked: trial {winner.number} ({winner.trial}) at step {winner.step}, method {winner.method}{tie}"
    if winner.probability_best is None:
        return f"{picked}; {_why_unsure(chosen)}"
    noise = next(one for one in chosen.noise if one.method in ("", winner.method))
    drawn = "images and seeds" if noise.seeds else "images"
    share = f"first in {100 * winner.probability_best:.0f} % of draws of other {drawn}"
    alike = [str(line.number) for line in lines if not line.told_apart and not line.picked]
    rest = f"; can't be told apart from {', '.join(alike)}" if alike else ""
    return f"{picked}; {share} (how stable the rule's order is, not how accurate the trial){rest}"


def _why_unsure(chosen: Selection) -> str:
    if chosen.snapshots == "all":
        how = "noise is measured on last snapshots only (snapshots=last)"
    else:
        how = "that takes repeated trials (src.confirm) or, for criteria that need more images than features, "
        how += "twice as many evaluation.images as these"
    return f"how stable the rule's order is was not measured: {how}"
