"""docs/methods.md: how each method learns, written from the kept table alone."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from rich.table import Table

from src.runtime import files, records
from src.runtime.figure_style import BLUE, GRAY, GREEN, ORANGE
from src.runtime.stats import Estimate
from src.runtime.templates import environment
from src.study.pool import Pool
from src.study.table import read_about, read_pool
from src.study.tables import table_of
from src.survey.rows import PROBES, SUPERVISED, UNTRAINED, MethodRow, Survey, SurveyFacts, beaten_on, survey_rows


class PageFacts(NamedTuple):
    """What the page says about all trials together."""

    trials: int
    seeds: list[int]
    images: list[int]  # seen in training
    torch: list[str]
    sources: dict[str, int]  # source images of val, by data set


def render(page: Path, table: Path, columns: list[str]) -> Survey:
    """Write the page and its figure, and give back what they say."""
    about = read_about(table)
    facts = records.checked(about.facts, SurveyFacts, f"what {table} says about itself", "make survey writes one")
    pools = [read_pool(table, name, probes=True, budgets=False) for name in about.pools]
    survey = survey_rows(pools, facts.epochs, columns)
    folder = page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    # No date, so that drawing it again gives the same bytes.
    accuracy_figure(survey).savefig(folder / "accuracy.svg", facecolor="white", metadata={"Date": None})
    pages = environment(Path(__file__).parent, html=False)
    pages.filters["points"] = _points
    pages.filters["gain"] = lambda gain: f"{100 * gain.value:+.1f} ± {100 * gain.error:.1f}"
    text = pages.get_template("page.md.j2").render(
        survey=survey,
        folder=folder.name,
        columns=columns,
        facts=_facts(pools),
        learned=beaten_on(survey),
    )
    files.write_atomically(page, text.encode())
    return survey


def _points(share: Estimate) -> str:
    return f"{100 * share.value:.1f} ± {100 * share.error:.1f}"


def _facts(pools: list[Pool]) -> PageFacts:
    members = [member for pool in pools for member in pool.members]
    return PageFacts(
        trials=len(members),
        seeds=sorted({member.seed for member in members}),
        images=sorted({member.last.images for member in members}),
        torch=sorted({str(member.numerics["torch"]) for member in members}),
        sources={pool.data: len(pool.members[0].last.right[PROBES[0]]) for pool in pools},
    )


def accuracy_figure(survey: Survey) -> Figure:
    """Linear top-1 of every seed and their mean, a panel for each data set."""
    figure = Figure(figsize=(8.6, 4.6), layout="constrained")
    panels = figure.subplots(1, len(survey), squeeze=False)[0]
    for axes, (data, rows) in zip(panels, survey.items(), strict=True):
        for place, row in enumerate(reversed(rows)):
            score, colour = row.scores["linear"], _colour(row)
            axes.plot(score.by_seed, [place] * len(row.seeds), "|", color=colour, ms=8)
            axes.plot(score.mean.value, place, "o", color=colour, ms=5)
        axes.set_yticks(range(len(rows)), [row.name for row in reversed(rows)], fontsize=8)
        axes.set(title=data, xlabel="linear top-1 on val", xlim=(0, 1))
        axes.grid(axis="x", lw=0.3)
    return figure


def _colour(row: MethodRow) -> str:
    if row.method in (UNTRAINED, SUPERVISED):
        return GRAY if row.method == UNTRAINED else GREEN
    return BLUE if row.beats else ORANGE


def survey_table(survey: Survey) -> Table:
    """Every method on every data set."""
    table = table_of("every method", "data", "method", "encoder", ">linear", ">kNN", "better than untrained by")
    for data, rows in survey.items():
        for row in rows:
            scores = [_points(row.scores[probe].mean) for probe in PROBES]
            table.add_row(data, row.name, row.model, *scores, ", ".join(row.beats))
    return table
