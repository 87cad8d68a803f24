"""compare: where two trials differ, in their configurations, in what was measured and over training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from src.runtime import app

if TYPE_CHECKING:
    from src.study.pool import Pool, TrialResult


def compare(config: DictConfig) -> None:
    """Print the differences of two trials and write their curves to report/compare-<a>-<b>.svg."""
    from functools import partial

    from src.report.figures import curves_figure
    from src.report.summary import trial_row
    from src.runtime import check, owned
    from src.runtime.console import make_console
    from src.runtime.figure_style import save
    from src.study.tables import comparison_tables

    settings: Any = OmegaConf.to_container(config, resolve=True)
    pool = _pool(settings)
    pair = [_member(pool, number) for number in settings["trials"]]
    known = sorted({column for member in pool.members for snapshot in member.snapshots for column in snapshot.criteria})
    column = settings["column"] or next((c for c in pair[0].last.criteria if c in known), None)
    check.choice("column", column, known)
    console = make_console()
    console.print(*comparison_tables(*pair))
    rows = [trial_row(member, settings["quality"]) for member in pair]
    labelled = all(settings["quality"] in row["probes"] for row in rows)
    metrics = {"columns": [column], "quality": settings["quality"] if labelled else None}
    figure = curves_figure(metrics, {f"trial {row['number']}": row for row in rows})
    name = f"compare-{'-'.join(str(number) for number in settings['trials'])}.svg"
    path = owned.add(Path(settings["folders"]["report"]), name, "compare", partial(save, figure))
    console.print(f"written: {path}", highlight=False)


def _pool(settings: dict[str, Any]) -> Pool:
    from src.report.labelled import judged_pool
    from src.study.stored import StoredStudy, unlabelled_pool
    from src.study.table import read_pool

    if settings["table"]:
        return read_pool(Path(settings["table"]), settings["study"], probes=True, budgets=True)
    study = StoredStudy(Path(settings["folders"]["runs"]) / settings["study"], settings["folders"].values())
    probed = (study.folder / "probe.json").exists()
    return judged_pool(study) if probed else unlabelled_pool(study, {})


def _member(pool: Pool, number: Any) -> TrialResult:
    found = next((member for member in pool.members if member.number == number), None)
    if found is None:
        numbers = [member.number for member in pool.members]
        raise ValueError(f"trials must be numbers of study {pool.name}, {min(numbers)} to {max(numbers)}, got {number}")
    return found


if __name__ == "__main__":
    app.run(compare, "compare")
