"""Figures of one trial, and what all figures share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#0a0b0c"  # of lines and words; the page replaces it by its own colour
matplotlib.rcParams.update(
    {
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
        "axes.facecolor": "none",
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
    """Write a figure, an SVG without a ground of its own; the same figure gives the same bytes."""
    if path.suffix == ".svg":
        figure.savefig(path, facecolor="none", metadata={"Date": None})
    else:
        figure.savefig(path, dpi=110, facecolor="white", metadata={"Software": None})


def trial_figure(
    history: list[dict[str, float]], criteria: list[str], spectrum: dict[int, list[float]], batch_size: int, title: str
) -> Figure:
    """Loss, criteria over training, each over its own range, and the spectrum of z."""
    # a fixed layout: an automatic one draws twice, and this is drawn for every trial
    figure = Figure(figsize=(12, 3.8))
    loss_axes, criteria_axes, spectrum_axes = figure.subplots(1, 3)
    figure.subplots_adjust(left=0.04, right=0.98, bottom=0.15, top=0.85, wspace=0.42)
    figure.suptitle(title)
    known = [row for row in history if "loss" in row]
    loss_axes.plot([row["images"] / 1000 for row in known], [row["loss"] for row in known], color=ORANGE)
    loss_axes.set(title="loss", xlabel=THOUSAND_IMAGES)
    _criteria_map(criteria_axes, history, criteria)
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


def _criteria_map(axes: Axes, history: list[dict[str, float]], criteria: list[str]) -> None:
    """Every criterion (rows) at every snapshot (columns), dark low and bright high over its own range."""
    measured = [row for row in history if any(name in row for name in criteria)]
    names = [name for name in criteria if measured and all(name in row for row in measured)]
    if not names:
        axes.set_axis_off()
        return
    axes.imshow([_over_range([row[name] for row in measured]) for name in names], aspect="auto", cmap="viridis")
    axes.set_yticks(range(len(names)), names, fontsize=5.5)
    axes.set_xticks(range(len(measured)), [f"{row['images'] / 1000:.0f}" for row in measured])
    axes.set(title="criteria, each over its own range", xlabel=THOUSAND_IMAGES)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)


def _over_range(values: list[float]) -> list[float]:
    low, high = min(values), max(values)
    return [(value - low) / (high - low) if high > low else 0.5 for value in values]


def spectrum_figure(spectra: dict[str, dict[int, list[float]]], batch_sizes: dict[str, int]) -> Figure:
    """The spectrum of z over training for a few named trials."""
    figure = Figure(figsize=(4.6 * len(spectra), 3.6), layout="constrained")
    for axes, (name, spectrum) in zip(figure.subplots(1, len(spectra), squeeze=False)[0], spectra.items(), strict=True):
        heat_map(axes, spectrum, batch_sizes[name])
        axes.set_title(f"{name}: spectrum of z, log10")
    return figure


def views_figure(images: np.ndarray, blocks: Mapping[str, np.ndarray]) -> Figure:
    """Images (n, c, h, w) in the first column, titled blocks of views (n, v, c, h, w) beside them; all in [0, 1]."""
    columns = [
        ("image", images),
        *((title, views[:, v]) for title, views in blocks.items() for v in range(views.shape[1])),
    ]
    starts = {title: next(j for j, (other, _) in enumerate(columns) if other == title) for title in ("image", *blocks)}
    figure = Figure(figsize=(0.8 * len(columns) + 0.2, 0.8 * len(images) + 0.4), layout="constrained")
    axes = figure.subplots(len(images), len(columns), squeeze=False)
    for j, (title, pictures) in enumerate(columns):
        for i, picture in enumerate(pictures):
            axes[i, j].imshow(np.clip(picture.transpose(1, 2, 0), 0, 1), cmap="gray", vmin=0, vmax=1)
            axes[i, j].set(xticks=[], yticks=[])
            axes[i, j].spines[:].set_visible(j == 0)
        if starts[title] == j:
            axes[0, j].set_title(title, fontsize=8, loc="left")
    return figure
