"""Draws the report's figures: all that its numbers allow, and two more where the store is at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from src.data.pack import open_images
from src.report.figures import (
    budget_figure,
    curves_figure,
    drawable,
    importance_figure,
    parallel_figure,
    parting_figure,
    quality_of,
    regret_figure,
    scatter_figure,
    slices_figure,
)
from src.runtime.build import build
from src.runtime.figure_style import save, spectrum_figure, views_figure
from src.runtime.rng import generator
from src.study.pool import LABELS
from src.study.stored import StoredStudy
from src.trial.identity import Trial

SHEET_IMAGES, SHEET_VIEWS = 6, 9
MAIN_PANELS = 6  # scatter plots shown at once; the others unfold
KNOWN = ("lidar_z", "rankme_z", "train_loss")  # what a reader would have chosen by


def draw(folder: Path, metrics: dict[str, Any], study: StoredStudy | None, *, seed: int) -> dict[str, Path]:
    """Write every figure into ``folder``, a new one, and return name -> path."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = _of_numbers(metrics)
    if study is not None:
        figures |= _of_store(study, metrics, seed)
    for name, figure in figures.items():
        save(figure, folder / name)
    return {name.partition(".")[0]: folder / name for name in figures}


def _of_numbers(metrics: dict[str, Any]) -> dict[str, Figure]:
    shown = shown_trials(metrics)
    figures: dict[str, Figure] = {"curves.svg": curves_figure(metrics, shown)} if shown else {}
    if metrics["quality"]:
        for method, choosing in metrics["choosing"].items():
            names = panels(choosing["rows"], metrics["columns"])
            figures[f"regret_{method}.svg"] = regret_figure(choosing, metrics["rule"])
            for part, shown_names in (("criteria", names[:MAIN_PANELS]), ("more", names[MAIN_PANELS:])):
                if shown_names:
                    figures[f"{part}_{method}.svg"] = scatter_figure(metrics, method, shown_names)
        figures |= {"parting.svg": parting_figure(metrics), "budget.svg": budget_figure(metrics)}
    if metrics["knobs"]:
        figures["importance.svg"] = importance_figure(metrics["knobs"])
    if metrics["varied"] and drawable(metrics):
        figures["slices.svg"] = slices_figure(metrics, metrics["varied"])
        figures["parallel.svg"] = parallel_figure(metrics, metrics["varied"])
    return figures


def panels(rows: list[dict[str, Any]], columns: list[str]) -> list[str]:
    """The measured columns: the rule's own, then the field's usual ones, then those that order the trials best."""
    measured = {row["name"]: row for row in rows if row.get("tau") is not None and "noise_floor" in row}
    measured = {name: row for name, row in measured.items() if not name.startswith(LABELS)}
    first = [column for column in dict.fromkeys([*columns, *KNOWN]) if column in measured]
    rest = sorted((name for name in measured if name not in first), key=lambda name: -measured[name]["tau"])
    return first + rest


def shown_trials(metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The pick, the default configuration, the trial of lowest loss and the best on val, each once."""
    healthy = {t["number"]: t for t in metrics["trials"] if t["status"] == "complete"}
    wanted = [(number, "pick") for number in metrics["picked"][:1]] + [(metrics["default"], "default")]
    with_loss = [t for t in healthy.values() if "train_loss" in t["criteria"]]
    if with_loss:
        wanted.append((min(with_loss, key=lambda t: t["criteria"]["train_loss"])["number"], "lowest loss"))
    if metrics["quality"]:
        wanted.append((max(healthy.values(), key=lambda t: quality_of(t, metrics))["number"], "best on val"))
    names: dict[int, list[str]] = {}
    for number, name in wanted:
        if number in healthy:
            names.setdefault(number, []).append(name)
    return {f"{number}: {', '.join(name)}": healthy[number] for number, name in names.items()}


def _of_store(study: StoredStudy, metrics: dict[str, Any], seed: int) -> dict[str, Figure]:
    trials = {entry.trial.key: entry for entry in study.entries}
    shown = {name: trials[t["trial"]] for name, t in shown_trials(metrics).items() if t["trial"] in trials}
    if not shown:
        return {}
    spectra = {name: entry.evaluation.spectrum("z") for name, entry in shown.items()}
    batch_sizes = {name: entry.trial.config["batch_size"] for name, entry in shown.items()}
    pick = next(iter(shown.values()))
    return {
        "spectrum.png": spectrum_figure(spectra, batch_sizes),
        "views.png": _sheet(study, pick.trial, seed),
    }


def _sheet(study: StoredStudy, trial: Trial, seed: int) -> Figure:
    packed = open_images(study.manifest, "pretrain")
    spread = np.linspace(0, len(packed) - 1, SHEET_IMAGES).astype(int)  # copies of one source lie side by side
    images = torch.from_numpy(packed[spread])
    recipe = build("augmentation", trial.config["augmentation"])
    views = recipe(images, generator(seed, "sheet"), views=SHEET_VIEWS).unflatten(0, (SHEET_VIEWS, -1)).transpose(0, 1)
    return views_figure(images.float().div(255).numpy(), {"views": views.numpy()})
