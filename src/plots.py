"""Draws the report's figures from a study and its findings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from src.build import build
from src.data.pack import open_images
from src.figures import criteria_figure, curves_figure, loss_figure, save, spectrum_figure, views_figure
from src.mirror import joined_history
from src.record import Entry, StudyRecord
from src.rng import generator

SHEET_IMAGES, SHEET_VIEWS = 6, 9


def draw(folder: Path, study: StudyRecord, metrics: dict[str, Any], *, seed: int) -> dict[str, Path]:
    """Write every figure below ``folder`` and return name -> path."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = _shown(study, metrics)
    pick = next(iter(shown.values()))
    trials = {trial["trial"]: trial for trial in metrics["trials"]}
    histories = {name: joined_history(entry.trial.history(), entry.evaluation) for name, entry in shown.items()}
    knn = {name: trials[entry.trial.key]["over_training"] for name, entry in shown.items()}
    batch_sizes = {name: entry.trial.config["batch_size"] for name, entry in shown.items()}
    spectra = {name: entry.evaluation.spectrum("z") for name, entry in shown.items()}
    figures: dict[str, Figure] = {
        "criteria.svg": criteria_figure(metrics),
        "loss.svg": loss_figure(metrics),
        "curves.svg": curves_figure(histories, metrics["criterion"], knn),
        "spectrum.png": spectrum_figure(spectra, batch_sizes),
        "views.png": _sheet(study, pick, seed),
    }
    for name, figure in figures.items():
        save(figure, folder / name)
    return {name.partition(".")[0]: folder / name for name in figures}


def _shown(study: StudyRecord, metrics: dict[str, Any]) -> dict[str, Entry]:
    """The pick, the default configuration, the trial of lowest loss and the best on val, each trial once."""
    by_number = {entry.number: entry for entry in study.entries}
    healthy = [trial for trial in metrics["trials"] if trial["status"] == "complete"]
    lowest = min(healthy, key=lambda t: t["criteria"]["train_loss"])["number"]
    best = max(healthy, key=lambda t: t["knn"])["number"]
    names: dict[int, list[str]] = {}
    for number, name in (
        (metrics["picked"][0], "pick"),
        (0, "default"),
        (lowest, "lowest loss"),
        (best, "best on val"),
    ):
        names.setdefault(number, []).append(name)
    return {
        f"{number}: {', '.join(name)}": by_number[number] for number, name in names.items() if by_number[number].trained
    }


def _sheet(study: StudyRecord, entry: Entry, seed: int) -> Figure:
    packed = open_images(study.manifest, "pretrain")
    spread = np.linspace(0, len(packed) - 1, SHEET_IMAGES).astype(int)  # copies of one source lie side by side
    images = torch.from_numpy(packed[spread])
    recipe = build(entry.trial.config["augmentation"])
    views = recipe(images, generator(seed, "sheet"), views=SHEET_VIEWS).unflatten(0, (SHEET_VIEWS, -1)).transpose(0, 1)
    return views_figure(images.float().div(255).numpy(), views.numpy())
