"""What ``python -m src.report`` does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from src.report.labelled import judged_pool, repeated, scores
from src.report.numbers import ReportNumbers, Seal, as_kept
from src.report.page import render
from src.report.plots import draw
from src.report.sealed_test import open_seal
from src.report.settings import Settings
from src.report.summary import find
from src.report.tables import choosing_csv, report_tables, trials_csv
from src.runtime import app, files, owned, records
from src.runtime.console import make_console
from src.runtime.device import set_up
from src.runtime.owned import Target
from src.study.pool import Pool
from src.study.results import Confirmation, Selection, read_confirmation, read_selection
from src.study.stored import StoredStudy, check_current
from src.study.table import read_pool
from src.tracking.mirror import StudyMirror


def run(settings: Settings) -> None:
    """Join what the stages before wrote, open the seal for the pick, write report/ and mirror it."""
    folder = Path(settings.folders.report)
    if settings.show:
        _show(folder)
        return
    if settings.study is None:
        raise app.study_needed(settings.folders.runs, settings.table)
    target = owned.Target(folder.parent, (folder.name,), "report", "choose folders.report=<another folder>")
    # Before any work, so that a folder with files of your own is refused at once.
    owned.check(target)
    set_up("cpu", settings.threads)
    own = settings.folders.of(settings.study)
    study = StoredStudy(own, settings.folders.trusted()) if settings.table is None else None
    chosen = read_selection(own)
    confirmation = read_confirmation(own, chosen)
    pool = _pool(settings.study, settings.table, study)
    check_current(chosen, pool)
    numbers = find(pool, chosen, confirmation, settings)
    if study is not None:
        numbers = _with_record(numbers, study, chosen, confirmation, settings)
    _write(target, numbers, study, settings.seed)
    if study is not None:
        StudyMirror(study).attach(folder)
    _show(folder)


def _pool(name: str, table: str | None, study: StoredStudy | None) -> Pool:
    """The study with all that was measured with labels, or that of a kept table."""
    if table is not None:
        return read_pool(Path(table), name, probes=True, budgets=True)
    assert study is not None
    return judged_pool(study)


def _with_record(
    numbers: ReportNumbers,
    study: StoredStudy,
    chosen: Selection,
    confirmation: Confirmation | None,
    settings: Settings,
) -> ReportNumbers:
    """The numbers with what a kept table doesn't have: baselines, links to MLflow, and the test split, unsealed."""
    again = repeated(study)
    links: dict[str, str] = {}
    for one in [study] if again is None else [study, again]:
        links |= StudyMirror(one).links(settings.mlflow_ui)
    numbers = replace(numbers, links=links)
    probed = scores(study)
    if probed is None:
        return numbers
    # Before the test split is opened, which can't be taken back.
    if settings.quality not in probed.probe:
        raise ValueError(
            f"quality must be one of the probes in {study.folder / 'probe.json'}, {', '.join(probed.probe)}, "
            f"got {settings.quality!r}: choose another, or run python -m src.probe study={study.name} with it"
        )
    opened = open_seal(study.folder.parent / "seal.jsonl", study, chosen, confirmation, probed.probe)
    baselines = {}
    for name, scored in probed.baselines.items():
        baselines[name] = {probe: score.numbers for probe, score in scored.items()}
    return replace(numbers, test=opened.scores, seal=Seal(opened.openings), val=baselines)


def _write(target: Target, numbers: ReportNumbers, study: StoredStudy | None, seed: int) -> None:
    """Replace the folder of the last report as a whole."""
    with owned.replacing(target) as building:
        new = building / target.parts[0]
        figures = draw(new / "figures", numbers, study, seed=seed)
        files.write_json(new / "metrics.json", as_kept(numbers))
        files.write_atomically(new / "trials.csv", trials_csv(numbers))
        files.write_atomically(new / "choosing.csv", choosing_csv(numbers))
        files.write_atomically(new / "index.html", render(numbers, figures).encode())


def _show(folder: Path) -> None:
    """Print what the last report says. Raises ValueError where there is none, or an earlier version wrote it."""
    path = folder / "metrics.json"
    if not path.exists():
        raise ValueError(f"{path} is missing: run python -m src.report study=... first")
    numbers = records.read(path, ReportNumbers, "run python -m src.report study=... again")
    console = make_console()
    console.print(*report_tables(numbers))
    for loss in (numbers.loss or {}).values():
        console.print(loss.sentence, highlight=False)
    console.print(f"report: {folder / 'index.html'}\nMLflow: make ui", highlight=False)
