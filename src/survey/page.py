"""docs/methods.md: how each method learns, written from the kept table alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from src.runtime import files
from src.runtime.figure_style import BLUE, GRAY, GREEN, ORANGE
from src.runtime.stats import Estimate, accuracy
from src.runtime.templates import environment
from src.study.pool import Pool, TrialResult
from src.study.table import read_about, read_pool
from src.study.tables import table_of

PROBES = ("linear", "knn")
UNTRAINED, SUPERVISED = "untrained", "supervised"


def render(page: Path, table: Path, columns: list[str]) -> dict[str, Any]:
    """Write the page and its figure, and give back what they say."""
    about = read_about(table)
    pools = [read_pool(table, name, probes=True, budgets=False) for name in about["pools"]]
    found = {
        data: _rows([pool for pool in pools if pool.data == data], about["facts"]["epochs"], columns)
        for data in dict.fromkeys(pool.data for pool in pools)
    }
    folder = page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    accuracy_figure(found).savefig(folder / "accuracy.svg", facecolor="white", metadata={"Date": None})
    pages = environment(Path(__file__).parent, html=False)
    pages.filters["points"] = lambda e: f"{100 * e['value']:.1f} ± {100 * e['error']:.1f}"
    pages.filters["gain"] = lambda e: f"{100 * e['value']:+.1f} ± {100 * e['error']:.1f}"
    text = pages.get_template("page.md.j2").render(
        found=found,
        folder=folder.name,
        columns=columns,
        facts=_facts(pools),
        learned={name: _beaten_on(found, name) for name in _methods(found)},
    )
    files.write_atomically(page, text.encode())
    return found


def _rows(pools: list[Pool], epochs: dict[str, Any], columns: list[str]) -> list[dict[str, Any]]:
    """One row for each method on one data set, the best by the linear probe first."""
    untrained = {pool.members[0].knobs["model.name"]: pool for pool in pools if pool.methods == [UNTRAINED]}
    rows = []
    for pool in pools:
        trained = [member for member in pool.finished if member.snapshots]
        first = pool.members[0]
        floor = untrained[first.knobs["model.name"]]
        row: dict[str, Any] = {
            "name": pool.name.split("-", 2)[2],
            "method": first.method,
            "model": first.knobs["model.name"],
            "learning_rate": first.knobs["optimizer.learning_rate"],
            "seeds": sorted(member.seed for member in trained),
            "statuses": [member.status for member in pool.members],
            "losses": [_mean([member.snapshots[i].loss for member in trained]) for i in range(len(first.snapshots))],
            "criteria": {name: _mean([member.value(name) for member in trained]) for name in columns},
            **epochs[pool.name],
        }
        for probe in PROBES:
            right = {member.seed: member.last.right[probe] for member in trained}
            blank = {member.seed: member.last.right[probe] for member in floor.members}
            row[probe] = _estimate(list(right.values()))._asdict()
            row[f"{probe}_by_seed"] = [float(of.mean()) for of in right.values()]
            row[f"{probe}_gain"] = _estimate([right[seed] - blank[seed] for seed in right])._asdict()
        row["beats"] = [p for p in PROBES if row[f"{p}_gain"]["value"] > 2 * row[f"{p}_gain"]["error"] > 0]
        rows.append(row)
    return sorted(rows, key=lambda row: -row["linear"]["value"])


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _estimate(by_seed: list[Any]) -> Estimate:
    """The mean over seeds and source images; its standard error has a part from each."""
    images = accuracy(np.mean(by_seed, axis=0))
    means = [float(of.mean()) for of in by_seed]
    seeds = float(np.std(means, ddof=1) / np.sqrt(len(means))) if len(means) > 1 else 0.0
    return Estimate(images.value, float(np.hypot(images.error, seeds)))


def _methods(found: dict[str, Any]) -> list[str]:
    first = next(iter(found.values()))
    return sorted(row["name"] for row in first if row["method"] not in (UNTRAINED, SUPERVISED))


def _beaten_on(found: dict[str, Any], name: str) -> list[str]:
    """The data sets on which a method is better than its untrained encoder."""
    return [data for data, rows in found.items() if next(row for row in rows if row["name"] == name)["beats"]]


def _facts(pools: list[Pool]) -> dict[str, Any]:
    members: list[TrialResult] = [member for pool in pools for member in pool.members]
    return {
        "trials": len(members),
        "seeds": sorted({member.seed for member in members}),
        "images": sorted({member.last.images for member in members}),
        "torch": sorted({str(member.numerics["torch"]) for member in members}),
        "sources": {pool.data: len(pool.members[0].last.right[PROBES[0]]) for pool in pools},
    }


def accuracy_figure(found: dict[str, Any]) -> Figure:
    """Linear top-1 of every seed and their mean, a panel for each data set."""
    figure = Figure(figsize=(8.6, 4.6), layout="constrained")
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for axes, (data, rows) in zip(panels, found.items(), strict=True):
        for place, row in enumerate(reversed(rows)):
            colour = {UNTRAINED: GRAY, SUPERVISED: GREEN}.get(row["method"], BLUE if row["beats"] else ORANGE)
            axes.plot(row["linear_by_seed"], [place] * len(row["seeds"]), "|", color=colour, ms=8)
            axes.plot(row["linear"]["value"], place, "o", color=colour, ms=5)
        axes.set_yticks(range(len(rows)), [row["name"] for row in reversed(rows)], fontsize=8)
        axes.set(title=data, xlabel="linear top-1 on val", xlim=(0, 1))
        axes.grid(axis="x", lw=0.3)
    return figure


def survey_table(found: dict[str, Any]) -> Table:
    """Every method on every data set."""
    table = table_of("every method", "data", "method", "encoder", ">linear", ">kNN", "better than untrained by")
    for data, rows in found.items():
        for row in rows:
            scores = (f"{100 * row[p]['value']:.1f} ± {100 * row[p]['error']:.1f}" for p in PROBES)
            table.add_row(data, row["name"], row["model"], *scores, ", ".join(row["beats"]))
    return table
