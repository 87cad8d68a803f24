"""compare: where two trials differ, in their configurations, in what was measured and over training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from src.report.settings import ReportFolders
from src.runtime import app
from src.runtime.records import closed
from src.runtime.settings import Name, Natural, Place, Quality

if TYPE_CHECKING:
    from src.study.pool import Pool, TrialResult


def _pair(values: list[int]) -> list[int]:
    if len(values) != 2:
        raise ValueError("must be the numbers of two trials, [0,7]")
    return values


@closed
@dataclass(frozen=True)
class Settings:
    """What conf/compare.yaml states."""

    study: Name
    trials: Annotated[list[Natural], AfterValidator(_pair)]  # their numbers
    column: str | None  # whose curve is drawn; None: the first that was measured
    quality: Quality
    table: Place | None  # a kept trial table; None: the study's own folder
    folders: ReportFolders


def compare(settings: Settings) -> None:
    """Print the differences of two trials and write their curves to report/compare-<a>-<b>.svg."""
    from functools import partial

    from src.report.figures import curves_figure
    from src.report.summary import trial_row
    from src.runtime import check, owned
    from src.runtime.console import make_console
    from src.runtime.figure_style import save
    from src.study.tables import comparison_tables

    pool = _pool(settings)
    pair = [_member(pool, number) for number in settings.trials]
    known = _measured_columns(pool)
    column = settings.column or _first_column(pair)
    check.choice("column", column, known)
    console = make_console()
    console.print(*comparison_tables(*pair))
    rows = [trial_row(member, settings.quality) for member in pair]
    # A quality curve of one trial alone would compare nothing.
    labelled = all(settings.quality in row.probes for row in rows)
    shown = {f"trial {row.number}": row for row in rows}
    figure = curves_figure(column or "", settings.quality if labelled else None, shown)
    name = f"compare-{'-'.join(str(number) for number in settings.trials)}.svg"
    path = owned.add(Path(settings.folders.report), name, "compare", partial(save, figure))
    console.print(f"written: {path}", highlight=False)


def _first_column(pair: list[TrialResult]) -> str:
    """Raises ValueError where neither trial has a snapshot, as where both diverged."""
    for member in pair:
        for snapshot in member.snapshots:
            for column in snapshot.criteria:
                return column
    raise ValueError("neither of the two trials was measured: name trials that were trained to their end")


def _measured_columns(pool: Pool) -> list[str]:
    """Every column that some snapshot of some trial has."""
    columns: set[str] = set()
    for member in pool.members:
        for snapshot in member.snapshots:
            columns.update(snapshot.criteria)
    return sorted(columns)


def _pool(settings: Settings) -> Pool:
    from src.report.labelled import judged_pool
    from src.study.stored import StoredStudy, unlabelled_pool
    from src.study.table import read_pool

    if settings.table is not None:
        return read_pool(Path(settings.table), settings.study, probes=True, budgets=True)
    study = StoredStudy(settings.folders.of(settings.study), settings.folders.trusted())
    # Trials can be compared before src.probe has run, by what is measured without labels.
    probed = (study.folder / "probe.json").exists()
    return judged_pool(study) if probed else unlabelled_pool(study, {})


def _member(pool: Pool, number: int) -> TrialResult:
    member = next((member for member in pool.members if member.number == number), None)
    if member is None:
        numbers = [member.number for member in pool.members]
        raise ValueError(f"trials must be numbers of study {pool.name}, {min(numbers)} to {max(numbers)}, got {number}")
    return member


if __name__ == "__main__":
    app.run(compare, "compare", Settings)
