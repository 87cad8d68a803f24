"""docs/evidence-1.md: what the pools say of criteria and rules, written from the findings alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from src.runtime.figure_style import BLUE, GRAY, GREEN, INK, ORANGE
from src.runtime.templates import environment
from src.study.pool import Pool
from src.study.tables import table_of


def render(path: Path, found: dict[str, Any], pools: list[Pool]) -> None:
    """Write the page, and its figures in a folder of its name."""
    from src.runtime import files

    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in {
        "regret.svg": regret_figure(found),
        "correlation.svg": correlation_figure(found),
        "labels.svg": labels_figure(found),
        "quality.svg": quality_figure(found, pools),
    }.items():
        figure.savefig(folder / name, facecolor="white", metadata={"Date": None})
    pages = environment(Path(__file__).parent, html=False)
    pages.filters["points"] = lambda value: "–" if value is None else f"{100 * value:z.1f}"
    pages.filters["ratio"] = lambda value: "–" if value is None else f"{value:z.2f}"
    pages.filters["signed"] = lambda value: "–" if value is None else f"{value:+z.2f}"
    pages.filters["range"] = lambda pair: "–" if pair is None else f"{pair[0]:.2f} … {pair[1]:.2f}"
    text = pages.get_template("page.md.j2").render(
        f=found,
        data=list(dict.fromkeys(pool["data"] for pool in found["pools"])),
        folder=folder.name,
        order=ordered(found),
        facts=_facts(pools),
        loss=loss_facts(found, pools),
        shared_knobs=[knob for knob in found["pools"][0]["knobs"] if all(knob in p["knobs"] for p in found["pools"])],
        budgets=budgets(found),
        by_rho=by_rho,
        noise=_noise(found),
    )
    files.write_atomically(path, text.encode())


def ordered(found: dict[str, Any]) -> list[str]:
    """Ways of choosing by their mean regret over random's, the smallest first."""
    means = found["means"]["all"]
    return sorted(
        (way for way in means if means[way]["over_random"] is not None), key=lambda w: means[w]["over_random"]
    )


def budgets(found: dict[str, Any]) -> list[str]:
    names = [way for way in found["means"]["all"] if way.startswith("labels: ")]
    return sorted(names, key=lambda name: (name.endswith("probe"), len(name), name))


def by_rho(pool: dict[str, Any]) -> list[tuple[str, float]]:
    """Label-free columns of a pool by Spearman's rho with quality."""
    rho = {way: row.get("rho") for way, row in pool["ways"].items() if way in pool["noise_floor"]}
    return sorted(((way, value) for way, value in rho.items() if value is not None), key=lambda pair: -pair[1])


def _noise(found: dict[str, Any]) -> list[tuple[str, float]]:
    """Columns by their seed noise, mean over pools."""
    floors: dict[str, list[float]] = {}
    for pool in found["pools"]:
        for name, floor in pool["noise_floor"].items():
            if floor is not None:
                floors.setdefault(name, []).append(floor)
    return sorted(((name, float(np.mean(values))) for name, values in floors.items()), key=lambda pair: pair[1])


def _facts(pools: list[Pool]) -> dict[str, Any]:
    members = [member for pool in pools for member in pool.members]
    return {
        "trials": len(members),
        "configurations": len({(pool.name, m.configuration) for pool in pools for m in pool.members}),
        "tflops": sum(m.last.flops for m in members if m.snapshots) / 1e12,
        "hours": sum(m.seconds or 0.0 for m in members) / 3600,
        "torch": sorted({str(m.numerics["torch"]) for m in members}),
    }


def loss_facts(found: dict[str, Any], pools: list[Pool]) -> dict[str, int]:
    """In how many trials, and in how many pools, the loss did what it is said to do."""
    trusts = [pool["loss"] for pool in found["pools"]]
    between = [trust["between_interval"] for trust in trusts]
    lowest = [
        min(known, key=lambda member: float(member.last.loss or 0.0))
        for pool in pools
        if (known := [member for member in pool.finished if member.last.loss is not None])
    ]
    return {
        "rising": sum(trust["rising_while_improving"] for trust in trusts),
        "trials": sum(trust["trials"] for trust in trusts),
        "between": sum(spread is not None and spread[0] > 0 for spread in between),
        "collapsed": sum(member.status == "collapsed" for member in lowest),
    }


def _label(pool: dict[str, Any]) -> str:
    return f"{pool['data']} {pool['method']}"


def regret_figure(found: dict[str, Any]) -> Figure:
    """Mean regret over random's of every way of choosing, and each pool as a small dot."""
    order = ordered(found)[::-1]
    figure = Figure(figsize=(7.6, 0.9 + 0.21 * len(order)), layout="constrained")
    axes = figure.subplots()
    for y, way in enumerate(order):
        values = [p["ways"].get(way, {}).get("over_random") for p in found["pools"]]
        known = [value for value in values if value is not None]
        colour = ORANGE if way == "consensus" else BLUE if way in ("lidar_z", "rankme_z") else GRAY
        axes.plot(known, [y] * len(known), "|", color=colour, ms=6, alpha=0.7)
        axes.plot(np.mean(known), y, "o", color=colour, ms=6)
    axes.axvline(found["goals"]["over_random"]["goal"], color=GREEN, lw=0.9)
    axes.axvline(1, color=INK, lw=0.6, ls=":")
    axes.set_yticks(range(len(order)), order, fontsize=7.5)
    axes.set_xlabel("regret / random choice's (← better); dot: mean over pools, ticks: pools, green: the goal")
    axes.set_ylim(-0.7, len(order) - 0.3)
    return figure


def correlation_figure(found: dict[str, Any]) -> Figure:
    """Spearman's rho with quality, columns of criteria by pools."""
    means = found["means"]["all"]
    names = sorted((w for w in means if means[w]["rho"] is not None), key=lambda w: -means[w]["rho"])
    pools = found["pools"]
    values = np.array([[np.nan if (v := p["ways"].get(n, {}).get("rho")) is None else v for p in pools] for n in names])
    figure = Figure(figsize=(3.2 + 0.72 * len(pools), 1.3 + 0.24 * len(names)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    for i in range(len(names)):
        for j in range(len(pools)):
            if not np.isnan(values[i, j]):
                colour = "#fdfdfd" if abs(values[i, j]) > 0.65 else "#0d0d0d"
                axes.text(j, i, f"{values[i, j]:+.2f}", ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(len(pools)), [_label(p).replace(" ", "\n") for p in pools], fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="Spearman's rho with quality")
    return figure


def labels_figure(found: dict[str, Any]) -> Figure:
    """Regret over random's as labels are added, one line a pool."""
    names = budgets(found)
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    x = range(len(names) + 1)
    for pool in found["pools"]:
        row = [pool["ways"].get(name, {}).get("over_random") for name in ["consensus", *names]]
        axes.plot(x, [np.nan if v is None else v for v in row], color=GRAY, lw=1, marker="o", ms=3)
    means = found["means"]["all"]
    mean = [means[name]["over_random"] for name in ["consensus", *names]]
    axes.plot(x, [np.nan if v is None else v for v in mean], color=ORANGE, lw=2.2, marker="o")
    axes.axhline(found["goals"]["over_random"]["goal"], color=GREEN, lw=0.9)
    axes.set_xticks(x, ["no label", *(name.removeprefix("labels: ") for name in names)])
    axes.set_ylabel("regret / random choice's")
    return figure


def quality_figure(found: dict[str, Any], pools: list[Pool]) -> Figure:
    """Quality of every configuration of every pool, the default configuration in blue."""
    quality = found["plan"]["quality"]
    figure = Figure(figsize=(7.6, 3.4), layout="constrained")
    axes = figure.subplots()
    for place, pool in enumerate(pools):
        for member in pool.finished:
            if quality in member.last.probes:
                value = member.last.probes[quality]["top1"]
                colour = (
                    BLUE if member.configuration == pool.default else GREEN if member.status == "collapsed" else GRAY
                )
                axes.plot(place, value, "_", color=colour, ms=11, mew=2 if colour != GRAY else 1)
    axes.set_xticks(range(len(pools)), [f"{p.data}\n{p.methods[0]}" for p in pools], fontsize=7)
    axes.set_ylabel(f"{quality} top-1 on val")
    return figure


def study_tables(found: dict[str, Any]) -> list[Table]:
    """The ways of choosing, mean over pools."""
    table = table_of(
        "mean over pools", "chosen by", ">regret, points", ">/ range", ">/ random's", ">rho", ">P(top 10 %)"
    )
    means = found["means"]["all"]
    for way in ordered(found):
        row = means[way]
        table.add_row(
            way,
            f"{100 * row['regret']:.1f}",
            *("" if row[name] is None else f"{row[name]:.2f}" for name in ("over_range", "over_random", "rho", "top")),
            style="bold" if way == "consensus" else None,
        )
    return [table]
