"""Figures: of one trial, and of a study's report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

matplotlib.rcParams.update(
    {
        "svg.hashsalt": "stepwise",  # element ids are otherwise drawn afresh each time
        "svg.fonttype": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10,
        "axes.labelsize": 9,
        "font.size": 9,
        "legend.frameon": False,
    }
)
BLUE, ORANGE, GREEN, GRAY = "#2563a8", "#d9822b", "#2f8f5b", "#9aa5b1"
THOUSAND_IMAGES = "thousand images seen"


def save(figure: Figure, path: Path) -> None:
    """Write a figure; the same figure gives the same bytes."""
    figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else {"Software": None})


def trial_figure(
    history: list[dict[str, float]], criteria: list[str], spectrum: dict[int, list[float]], batch_size: int, title: str
) -> Figure:
    """Loss, criteria over training, each over its own range, and the spectrum of z."""
    figure = Figure(
        figsize=(11, 3.4)
    )  # a fixed layout: an automatic one draws twice, and this is drawn for every trial
    loss_axes, criteria_axes, spectrum_axes = figure.subplots(1, 3)
    figure.subplots_adjust(left=0.05, right=0.97, bottom=0.16, top=0.84, wspace=0.2)
    figure.suptitle(title)
    loss_axes.plot([row["images"] / 1000 for row in history], [row["loss"] for row in history], color=ORANGE)
    loss_axes.set(title="loss", xlabel=THOUSAND_IMAGES)
    for name in criteria:
        rows = [row for row in history if name in row]
        if rows:
            values = _over_range([row[name] for row in rows])
            criteria_axes.plot([row["images"] / 1000 for row in rows], values, label=name, lw=1)
    criteria_axes.set(title="criteria, each over its own range", xlabel=THOUSAND_IMAGES)
    if criteria_axes.lines:
        criteria_axes.legend(fontsize=6)
    heat_map(spectrum_axes, spectrum, batch_size)
    return figure


def heat_map(axes: Axes, spectrum: dict[int, list[float]], batch_size: int) -> None:
    """Eigenvalues of the covariance (rows, largest on top) over training (columns), log10."""
    if not spectrum:
        axes.set_axis_off()
        return
    steps = sorted(spectrum)
    values = np.array([spectrum[step] for step in steps]).T
    ceiling = max(float(values.max()), 1e-12)
    image = axes.imshow(
        np.log10(np.maximum(values, ceiling * 1e-5)),
        aspect="auto",
        cmap="viridis",
        interpolation="nearest",
        extent=(0, steps[-1] * batch_size / 1000, len(values), 0),
    )
    axes.set(title="spectrum of z, log10", xlabel=THOUSAND_IMAGES, ylabel="eigenvalue, by rank")
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.figure.colorbar(image, ax=axes)


def _over_range(values: list[float]) -> list[float]:
    low, high = min(values), max(values)
    return [(value - low) / (high - low) if high > low else 0.5 for value in values]


def criteria_figure(findings: dict[str, Any]) -> Figure:
    """Each criterion against accuracy on val, one small panel each; the pick, the default and their taus."""
    rows = [row for row in findings["criteria"] if "direction" in row and "regret" in row]
    trials = [trial for trial in findings["trials"] if trial["status"] == "complete"]
    columns = 3
    height = math.ceil(len(rows) / columns)
    figure = Figure(figsize=(10, 2.9 * height), layout="constrained")
    axes = figure.subplots(height, columns, sharey=True, squeeze=False)
    for place, row in zip(axes.flat, rows, strict=False):
        _against_accuracy(place, row, trials, findings)
    for place in axes.flat[len(rows) :]:
        place.set_axis_off()
    for line in axes:
        line[0].set_ylabel("kNN top-1 on val")
    return figure


def _against_accuracy(axes: Axes, row: dict[str, Any], trials: list[dict[str, Any]], findings: dict[str, Any]) -> None:
    shown = [trial for trial in trials if trial["criteria"].get(row["name"]) is not None]
    x = [trial["criteria"][row["name"]] for trial in shown]
    y = [trial["knn"] for trial in shown]
    colours = [ORANGE if trial["number"] == row["pick"] else BLUE if trial["number"] == 0 else GRAY for trial in shown]
    axes.axhline(findings["val"]["raw pixels"]["knn"], color=GRAY, lw=0.8, ls=":")
    axes.scatter(x, y, c=colours, s=[52 if colour != GRAY else 22 for colour in colours], zorder=3)
    if min(x) > 0 and max(x) / min(x) > 30:
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    arrow = "→ better" if row["direction"] == "higher" else "← better"
    axes.set_xlabel(f"{row['name']}  ({arrow})")
    tau = f"tau {row['tau']:+.2f}   " if "tau" in row else ""
    axes.set_title(f"{tau}pick {100 * row['regret']:.1f} points below the best", fontsize=9)


def loss_figure(findings: dict[str, Any]) -> Figure:
    """The final training loss against accuracy on val, coloured by the settings that define the loss."""
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    axes = figure.subplots()
    trials = [trial for trial in findings["trials"] if trial["criteria"].get("train_loss") is not None]
    axes.scatter([t["criteria"]["train_loss"] for t in trials], [t["knn"] for t in trials], color=ORANGE, s=30)
    for trial in trials:
        axes.annotate(str(trial["number"]), (trial["criteria"]["train_loss"], trial["knn"]), fontsize=7, alpha=0.7)
    groups = len({trial["loss_group"] for trial in trials})
    axes.set(xlabel="training loss at the end (← lower)", ylabel="kNN top-1 on val")
    axes.set_title(f"{len(trials)} trials, {groups} different definitions of the loss", fontsize=9)
    return figure


def curves_figure(histories: dict[str, list[dict[str, float]]], criterion: str, knn: dict[str, list[Any]]) -> Figure:
    """Loss, the chosen criterion and kNN accuracy over training, for a few named trials."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    loss_axes, criterion_axes, knn_axes = figure.subplots(1, 3)
    for colour, (name, rows) in zip((ORANGE, BLUE, GREEN, GRAY), histories.items(), strict=False):
        loss_axes.plot([r["images"] / 1000 for r in rows], [r["loss"] for r in rows], color=colour, label=name)
        measured = [row for row in rows if criterion in row]
        x = [row["images"] / 1000 for row in measured]
        criterion_axes.plot(x, [row[criterion] for row in measured], color=colour, marker="o", ms=3)
        points = knn[name]
        knn_axes.plot([p["images"] / 1000 for p in points], [p["knn"] for p in points], color=colour, marker="o", ms=3)
    for axes, title in ((loss_axes, "training loss"), (criterion_axes, criterion), (knn_axes, "kNN top-1 on val")):
        axes.set(title=title, xlabel=THOUSAND_IMAGES)
    loss_axes.legend(fontsize=7)
    return figure


def spectrum_figure(spectra: dict[str, dict[int, list[float]]], batch_sizes: dict[str, int]) -> Figure:
    """The spectrum of z over training for a few named trials."""
    figure = Figure(figsize=(4.6 * len(spectra), 3.6), layout="constrained")
    for axes, (name, spectrum) in zip(figure.subplots(1, len(spectra), squeeze=False)[0], spectra.items(), strict=True):
        heat_map(axes, spectrum, batch_sizes[name])
        axes.set_title(f"{name}: spectrum of z, log10")
    return figure


def views_figure(images: np.ndarray, views: np.ndarray) -> Figure:
    """Images (n, c, h, w) in the first column, their views (n, v, c, h, w) beside them; values in [0, 1]."""
    n, v = views.shape[:2]
    figure = Figure(figsize=(0.8 * (v + 1) + 0.2, 0.8 * n + 0.4), layout="constrained")
    axes = figure.subplots(n, v + 1, squeeze=False)
    for i in range(n):
        for j, picture in enumerate([images[i], *views[i]]):
            axes[i, j].imshow(np.clip(picture.transpose(1, 2, 0), 0, 1), cmap="gray", vmin=0, vmax=1)
            axes[i, j].set(xticks=[], yticks=[])
            axes[i, j].spines[:].set_visible(j == 0)
    axes[0, 0].set_title("image", fontsize=8)
    axes[0, 1].set_title("views", fontsize=8)
    return figure
