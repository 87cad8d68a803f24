"""The report's figures, from its numbers alone."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from src.report.summary import ALL_METHODS
from src.runtime.figure_style import BLUE, GRAY, GREEN, ORANGE, THOUSAND_IMAGES

COLUMNS = 3
MAP = "viridis"


def regret_figure(choosing: dict[str, Any], rule: str) -> Figure:
    """Every way of choosing with its regret and the bootstrap's 95 % interval, the smallest on top."""
    rows = sorted((row for row in choosing["rows"] if "regret" in row), key=lambda row: -row["regret"])
    figure = Figure(figsize=(7.2, 0.6 + 0.21 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for y, row in enumerate(rows):
        low, high = row["regret_interval"]
        colour = ORANGE if row["name"] == rule else BLUE if row["name"] == "default configuration" else GRAY
        axes.plot([100 * low, 100 * high], [y, y], color=colour, lw=1.4)
        axes.plot(100 * row["regret"], y, "o", color=colour, ms=5)
    axes.axvline(0, color=GREEN, lw=0.8)
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize=7.5)
    axes.set_xlabel("regret, points (← better)")
    axes.set_ylim(-0.7, len(rows) - 0.3)
    return figure


def scatter_figure(metrics: dict[str, Any], method: str, names: list[str]) -> Figure:
    """Each column against quality on val, one small panel each; its pick and the default configuration."""
    rows = {row["name"]: row for row in metrics["choosing"][method]["rows"]}
    trials = [t for t in metrics["trials"] if t["status"] == "complete" and method in (t["method"], ALL_METHODS)]
    height = math.ceil(len(names) / COLUMNS)
    figure = Figure(figsize=(9.6, 2.7 * height), layout="constrained")
    places = figure.subplots(height, COLUMNS, sharey=True, squeeze=False)
    for axes, name in zip(places.flat, names, strict=False):
        _scatter(axes, rows[name], trials, metrics)
    for axes in places.flat[len(names) :]:
        axes.set_axis_off()
    for line in places:
        line[0].set_ylabel(f"{metrics['quality']} top-1 on val")
    return figure


def _scatter(axes: Axes, row: dict[str, Any], trials: list[dict[str, Any]], metrics: dict[str, Any]) -> None:
    shown = [t for t in trials if row["name"] in t["criteria"]]
    shown.sort(key=lambda t: _colour(t, [row["pick"]], metrics) != GRAY)  # the coloured ones on top
    x = [t["criteria"][row["name"]] for t in shown]
    y = [quality_of(t, metrics) for t in shown]
    colours = [_colour(t, [row["pick"]], metrics) for t in shown]
    if "raw pixels" in metrics["val"]:
        axes.axhline(metrics["val"]["raw pixels"][metrics["quality"]]["top1"], color=GRAY, lw=0.8, ls=":")
    axes.scatter(x, y, c=colours, s=[46 if colour != GRAY else 18 for colour in colours], zorder=3)
    if min(x) > 0 and max(x) / min(x) > 30:
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    direction = next(c["direction"] for n, c in metrics["criteria"].items() if row["name"] in (n, f"{n}_h", f"{n}_z"))
    axes.set_xlabel(f"{row['name']} ({'→' if direction == 'higher' else '←'} better)")
    tau = f"tau {row['tau']:+.2f}, " if row["tau"] is not None else ""
    axes.set_title(f"{tau}regret {100 * row['regret']:.1f} points", fontsize=9)


def quality_of(trial: dict[str, Any], metrics: dict[str, Any]) -> float:
    return float(trial["probes"][metrics["quality"]]["top1"])


def curves_figure(metrics: dict[str, Any], shown: dict[str, dict[str, Any]]) -> Figure:
    """Loss, the rule's first column and quality over training, for a few named trials."""
    column = metrics["columns"][0]
    figure = Figure(figsize=(9.6, 3.1), layout="constrained")
    kinds: list[tuple[str, Any]] = [
        ("training loss", lambda s: s["loss"]),
        (column, lambda s: s["criteria"].get(column)),
    ]
    if metrics["quality"]:
        kinds.append((f"{metrics['quality']} top-1 on val", lambda s: s["quality"]))
    everything = [s for trial in shown.values() for s in trial["over_training"]]
    known = [kind for kind in kinds if any(kind[1](s) is not None for s in everything)]  # a label budget's curve isn't
    kinds = known or kinds[:1]
    for axes, (title, value) in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        for colour, (name, trial) in zip((ORANGE, BLUE, GREEN, GRAY), shown.items(), strict=False):
            points = [(s["images"] / 1000, value(s)) for s in trial["over_training"] if value(s) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), color=colour, marker="o", ms=3, label=name)
        axes.set(title=title, xlabel=THOUSAND_IMAGES)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    figure.axes[min(1, len(kinds) - 1)].legend(fontsize=7)
    return figure


def parting_figure(metrics: dict[str, Any]) -> Figure:
    """Change of the loss against change of quality between snapshots: right of 0 the loss rose."""
    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    axes = figure.subplots()
    wrong = total = 0
    for trial in metrics["trials"]:
        points = trial["over_training"]
        for before, after in itertools.pairwise(points):
            if None in (before["loss"], after["loss"], before["quality"], after["quality"]):
                continue
            rise = (after["loss"] - before["loss"]) / max(abs(before["loss"]), 1e-12)
            gain = after["quality"] - before["quality"]
            misled = rise * gain > 0
            wrong, total = wrong + misled, total + 1
            axes.plot(100 * rise, 100 * gain, "o", ms=3, color=ORANGE if misled else GRAY)
    axes.axhline(0, color=GRAY, lw=0.8)
    axes.axvline(0, color=GRAY, lw=0.8)
    axes.set(xlabel="change of the loss, % (← falls)", ylabel="change of quality, points")
    axes.set_title(f"{wrong} of {total} steps between snapshots: both rise or both fall", fontsize=9)
    return figure


def importance_figure(knobs: dict[str, Any]) -> Figure:
    """Importance of each knob (columns) for each measured value (rows), each row over its own largest."""
    targets, names = list(knobs), list(next(iter(knobs.values()))["knobs"])
    values = np.array([[max(knobs[target]["knobs"][name], 0.0) for name in names] for target in targets])
    figure = Figure(figsize=(3.6 + 0.75 * len(names), 1.2 + 0.26 * len(targets)), layout="constrained")
    axes = figure.subplots()
    known = np.array([[knobs[target]["r2"] > 0] for target in targets])
    shade = np.where(known, values / np.maximum(values.max(1, keepdims=True), 1e-9), 0.0)
    axes.imshow(shade, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, target in enumerate(targets):
        for j, name in enumerate(names):
            colour = "#fdfdfd" if shade[i, j] > 0.55 else "#0d0d0d"
            text = f"{knobs[target]['knobs'][name]:.2f}" if known[i] else "–"
            axes.text(j, i, text, ha="center", va="center", fontsize=7.5, color=colour)
    axes.set_xticks(range(len(names)), names, fontsize=7.5, rotation=20, ha="right")
    axes.set_yticks(range(len(targets)), [_head(target, knobs[target]) for target in targets], fontsize=7.5)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def _head(target: str, found: dict[str, Any]) -> str:
    agrees = found["agreement"]
    shown = "" if agrees is None or target == "quality" else f", agrees {agrees:+.2f}"
    return f"{target} (R² {found['r2']:+.2f}{shown})"


def slices_figure(metrics: dict[str, Any], names: list[str]) -> Figure:
    """Quality, or the rule's score where nothing is labelled, over each knob."""
    trials = [t for t in metrics["trials"] if t["status"] == "complete" and _height(t, metrics) is not None]
    height = math.ceil(len(names) / COLUMNS)
    figure = Figure(figsize=(9.6, 2.4 * height), layout="constrained")
    places = figure.subplots(height, COLUMNS, sharey=True, squeeze=False)
    for axes, name in zip(places.flat, names, strict=False):
        x = [t["knobs"].get(name) for t in trials]
        numeric = all(isinstance(value, int | float) for value in x)
        x = x if numeric else [str(value) for value in x]
        colours = [_colour(t, metrics["picked"], metrics) for t in trials]
        axes.scatter(x, [_height(t, metrics) for t in trials], c=colours, s=20)
        if numeric and min(x) > 0 and max(x) / min(x) > 30:
            axes.set_xscale("log")
        axes.set_xlabel(name)
    for axes in places.flat[len(names) :]:
        axes.set_axis_off()
    for line in places:
        line[0].set_ylabel(_height_name(metrics))
    return figure


def parallel_figure(metrics: dict[str, Any], names: list[str]) -> Figure:
    """One line a trial across its knobs, coloured by quality."""
    trials = [t for t in metrics["trials"] if t["status"] == "complete" and _height(t, metrics) is not None]
    columns = []
    for name in names:
        values: list[Any] = [t["knobs"].get(name) for t in trials]
        if not all(isinstance(value, int | float) for value in values):
            values = np.unique([str(value) for value in values], return_inverse=True)[1].tolist()
        column = np.array(values, dtype=float)
        if column.min() > 0 and column.max() / column.min() > 30:
            column = np.log10(column)
        columns.append((column - column.min()) / max(np.ptp(column), 1e-12))
    heights = np.array([_height(t, metrics) for t in trials], dtype=float)
    columns.append((heights - heights.min()) / max(np.ptp(heights), 1e-12))
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    axes = figure.subplots()
    lines = np.stack(columns, axis=1)
    order = np.argsort(heights)
    bundle = LineCollection(
        [np.column_stack([range(len(columns)), lines[i]]) for i in order], array=heights[order], cmap=MAP, lw=1.3
    )
    axes.add_collection(bundle)
    axes.set(xlim=(-0.1, len(columns) - 0.9), ylim=(-0.04, 1.04), yticks=[0, 1], yticklabels=["low", "high"])
    axes.set_xticks(range(len(columns)), [*(n.replace(".", ".\n") for n in names), _height_name(metrics)], fontsize=7)
    for place in range(len(columns)):
        axes.axvline(place, color=GRAY, lw=0.6)
    axes.spines[:].set_visible(False)
    figure.colorbar(bundle, ax=axes, label=_height_name(metrics))
    return figure


def budget_figure(metrics: dict[str, Any]) -> Figure:
    """Quality of the rule's pick among the trials so far, and of the best, against compute spent."""
    figure = Figure(figsize=(5.4, 3.4), layout="constrained")
    axes = figure.subplots()
    x = [point["tflops"] for point in metrics["budget"]]
    axes.step(x, [p["best"] for p in metrics["budget"]], where="post", color=GRAY, label="best so far, by its labels")
    axes.step(x, [p["pick"] for p in metrics["budget"]], where="post", color=ORANGE, label=f"pick of {metrics['rule']}")
    axes.set(xlabel="TFLOP spent, evaluation included", ylabel=f"{metrics['quality']} top-1 on val")
    axes.legend(fontsize=7)
    return figure


def _colour(trial: dict[str, Any], picked: list[int | None], metrics: dict[str, Any]) -> str:
    if trial["number"] in picked:
        return ORANGE
    return BLUE if trial["number"] == metrics["default"] else GRAY


def drawable(metrics: dict[str, Any]) -> bool:
    """Whether there are trials to draw over their knobs."""
    return any(t["status"] == "complete" and _height(t, metrics) is not None for t in metrics["trials"])


def _height(trial: dict[str, Any], metrics: dict[str, Any]) -> float | None:
    """Quality, or the rule's score where nothing is labelled; higher is better."""
    if metrics["quality"]:
        return quality_of(trial, metrics) if metrics["quality"] in trial["probes"] else None
    scores = [line["score"] for line in metrics["ranking"] if line["number"] == trial["number"]]
    return max(scores, default=None)


def _height_name(metrics: dict[str, Any]) -> str:
    return f"{metrics['quality']} top-1" if metrics["quality"] else f"score by {metrics['rule']}"
