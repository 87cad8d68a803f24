"""Draws the report's figures: all that its numbers allow, and two more where the store is at hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from src.augmentation.views import Augmentation
from src.data.pack import open_images
from src.report.figures import (
    budget_figure,
    curves_figure,
    heights_of,
    importance_figure,
    parallel_figure,
    parting_figure,
    regret_figure,
    scatter_figure,
    slices_figure,
)
from src.report.numbers import Choosing, ReportNumbers, TrialRow, Way
from src.runtime.build import build
from src.runtime.figure_style import save, spectrum_figure, views_figure
from src.runtime.rng import generator
from src.study.pool import LABELS
from src.study.stored import StoredStudy
from src.trial.identity import Trial

SHEET_IMAGES, SHEET_VIEWS = 6, 9
MAIN_PANELS = 6  # scatter plots shown at once; the others unfold
KNOWN = ("lidar_z", "rankme_z", "train_loss")  # what a reader would have chosen by


def draw(folder: Path, numbers: ReportNumbers, study: StoredStudy | None, *, seed: int) -> dict[str, Path]:
    """Write every figure into ``folder``, a new one, and return name -> path."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = _of_numbers(numbers)
    if study is not None:
        figures |= _of_store(study, numbers, seed)
    for name, figure in figures.items():
        save(figure, folder / name)
    return {name.partition(".")[0]: folder / name for name in figures}


def _of_numbers(numbers: ReportNumbers) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    shown = shown_trials(numbers)
    if shown:
        figures["curves.svg"] = curves_figure(numbers.columns[0], numbers.quality, shown)
    if numbers.quality is not None:
        for method, choosing in (numbers.choosing or {}).items():
            figures |= _of_choosing(numbers, numbers.quality, method, choosing)
        figures["parting.svg"] = parting_figure(numbers.trials)
        figures["budget.svg"] = budget_figure(numbers.budget or [], numbers.rule, numbers.quality)
    if numbers.knobs:
        figures["importance.svg"] = importance_figure(numbers.knobs)
    if numbers.varied and heights_of(numbers):
        figures["slices.svg"] = slices_figure(numbers, numbers.varied)
        figures["parallel.svg"] = parallel_figure(numbers, numbers.varied)
    return figures


def _of_choosing(numbers: ReportNumbers, quality: str, method: str, choosing: Choosing) -> dict[str, Figure]:
    figures = {f"regret_{method}.svg": regret_figure(choosing, numbers.rule)}
    shown = panels(choosing.rows, numbers.columns)
    for part, ways in (("criteria", shown[:MAIN_PANELS]), ("more", shown[MAIN_PANELS:])):
        if ways:
            figures[f"{part}_{method}.svg"] = scatter_figure(numbers, quality, method, ways)
    return figures


def panels(rows: Sequence[Way], columns: Sequence[str]) -> list[Way]:
    """The measured columns: the rule's own, then the field's usual ones, then those that order the trials best."""
    taus = {}
    for way in rows:
        measured = way.is_column and not way.name.startswith(LABELS)
        if measured and way.judged is not None and way.judged.tau is not None:
            taus[way.name] = way.judged.tau
    first = [column for column in dict.fromkeys([*columns, *KNOWN]) if column in taus]
    rest = sorted((name for name in taus if name not in first), key=lambda name: -taus[name])
    ways = {way.name: way for way in rows}
    return [ways[name] for name in [*first, *rest]]


def shown_trials(numbers: ReportNumbers) -> dict[str, TrialRow]:
    """The pick, the default configuration, the trial of lowest loss and the best on val, each once."""
    healthy = {trial.number: trial for trial in numbers.trials if trial.status == "complete"}
    wanted: list[tuple[int | None, str]] = [(number, "pick") for number in numbers.picked[:1]]
    wanted.append((numbers.default, "default"))
    losses = {n: trial.criteria["train_loss"] for n, trial in healthy.items() if "train_loss" in trial.criteria}
    if losses:
        wanted.append((min(losses, key=lambda number: losses[number]), "lowest loss"))
    quality = numbers.quality
    if quality is not None:
        wanted.append((max(healthy, key=lambda number: healthy[number].top1(quality)), "best on val"))
    roles: dict[int, list[str]] = {}
    for number, role in wanted:
        if number is not None and number in healthy:
            roles.setdefault(number, []).append(role)
    return {f"{number}: {', '.join(own)}": healthy[number] for number, own in roles.items()}


def _of_store(study: StoredStudy, numbers: ReportNumbers, seed: int) -> dict[str, Figure]:
    entries = {entry.trial.key: entry for entry in study.entries}
    shown = {name: entries[row.trial] for name, row in shown_trials(numbers).items() if row.trial in entries}
    if not shown:
        return {}
    spectra = {name: entry.measurements.spectrum("z") for name, entry in shown.items()}
    batch_sizes = {name: entry.trial.config.batch_size for name, entry in shown.items()}
    pick = next(iter(shown.values()))
    return {
        "spectrum.png": spectrum_figure(spectra, batch_sizes),
        "views.png": _sheet(study, pick.trial, seed),
    }


def _sheet(study: StoredStudy, trial: Trial, seed: int) -> Figure:
    packed = open_images(study.manifest, "pretrain")
    # Evenly over the split, since copies of one source image lie side by side.
    spread = np.linspace(0, len(packed) - 1, SHEET_IMAGES).astype(int)
    images = torch.from_numpy(packed[spread])
    recipe: Augmentation = build("augmentation", trial.config.augmentation)
    views = recipe(images, generator(seed, "sheet"), views=SHEET_VIEWS).unflatten(0, (SHEET_VIEWS, -1)).transpose(0, 1)
    return views_figure(images.float().div(255).numpy(), {"views": views.numpy()})
