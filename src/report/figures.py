"""The report's figures, from its numbers alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pydantic import JsonValue

from src.report.numbers import Choosing, Importance, Point, ReportNumbers, SpentPoint, TrialRow, Way
from src.report.summary import ALL_METHODS
from src.runtime.figure_style import BLUE, GRAY, GREEN, ORANGE, THOUSAND_IMAGES
from src.study.pool import Floats

T = TypeVar("T")

COLUMNS = 3
MAP = "viridis"
DECADES = 30  # values that span more than this factor are shown on a log scale
DARK = 0.55  # a shade from which on text on it is light

Curve = Callable[[Point], float | None]


def regret_figure(choosing: Choosing, rule: str) -> Figure:
    """Every way of choosing with its regret and the bootstrap's 95 % interval, the smallest on top."""
    judged = [(way.name, way.judged) for way in choosing.rows if way.judged is not None]
    judged.sort(key=lambda row: -row[1].regret)
    colours = {rule: ORANGE, "default configuration": BLUE}
    figure = Figure(figsize=(7.2, 0.6 + 0.21 * len(judged)), layout="constrained")
    axes = figure.subplots()
    for y, (name, verdict) in enumerate(judged):
        colour = colours.get(name, GRAY)
        if verdict.regret_interval is not None:
            axes.plot([100 * bound for bound in verdict.regret_interval], [y, y], color=colour, lw=1.4)
        axes.plot(100 * verdict.regret, y, "o", color=colour, ms=5)
    axes.axvline(0, color=GREEN, lw=0.8)
    axes.set_yticks(range(len(judged)), [name for name, _ in judged], fontsize=7.5)
    axes.set_xlabel("regret, points (← better)")
    axes.set_ylim(-0.7, len(judged) - 0.3)
    return figure


def scatter_figure(numbers: ReportNumbers, quality: str, method: str, ways: Sequence[Way]) -> Figure:
    """Each column against quality on val, one small panel each; its pick and the default configuration."""
    healthy = [trial for trial in numbers.trials if trial.status == "complete"]
    trials = [trial for trial in healthy if method in (trial.method, ALL_METHODS)]

    def panel(axes: Axes, way: Way) -> None:
        _scatter(axes, way, [trial for trial in trials if way.name in trial.criteria], numbers, quality)

    return _small_panels(ways, panel, height=2.7, label=f"{quality} top-1 on val")


def _small_panels(shown: Sequence[T], panel: Callable[[Axes, T], None], *, height: float, label: str) -> Figure:
    """Panels side by side that share their vertical axis."""
    lines = math.ceil(len(shown) / COLUMNS)
    figure = Figure(figsize=(9.6, height * lines), layout="constrained")
    places = figure.subplots(lines, COLUMNS, sharey=True, squeeze=False)
    for axes, one in zip(places.flat, shown, strict=False):
        panel(axes, one)
    for axes in places.flat[len(shown) :]:
        axes.set_axis_off()
    for line in places:
        line[0].set_ylabel(label)
    return figure


def _scatter(axes: Axes, way: Way, trials: list[TrialRow], numbers: ReportNumbers, quality: str) -> None:
    """One column over quality; trials that have it."""
    picked = [] if way.judged is None or way.judged.pick is None else [way.judged.pick]
    shown = sorted(trials, key=lambda trial: _colour(trial, picked, numbers) != GRAY)  # the coloured ones on top
    x = [trial.criteria[way.name] for trial in shown]
    y = [trial.top1(quality) for trial in shown]
    colours = [_colour(trial, picked, numbers) for trial in shown]
    if "raw pixels" in numbers.val:
        axes.axhline(numbers.val["raw pixels"][quality]["top1"], color=GRAY, lw=0.8, ls=":")
    axes.scatter(x, y, c=colours, s=[46 if colour != GRAY else 18 for colour in colours], zorder=3)
    if _spans_decades(x):
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel(f"{way.name} ({'→' if _higher_is_better(way.name, numbers) else '←'} better)")
    if way.judged is not None:
        tau = "" if way.judged.tau is None else f"tau {way.judged.tau:+.2f}, "
        axes.set_title(f"{tau}regret {100 * way.judged.regret:.1f} points", fontsize=9)


def _higher_is_better(column: str, numbers: ReportNumbers) -> bool:
    owners = (facts for name, facts in numbers.criteria.items() if column in (name, f"{name}_h", f"{name}_z"))
    return next(owners).direction == "higher"


def _spans_decades(values: Sequence[float] | Floats) -> bool:
    return min(values) > 0 and max(values) / min(values) > DECADES


def curves_figure(column: str, quality: str | None, shown: Mapping[str, TrialRow]) -> Figure:
    """Loss, a column and quality over training, for a few named trials."""
    curves: dict[str, Curve] = {
        "training loss": lambda point: point.loss,
        column: lambda point: point.criteria.get(column),
    }
    if quality is not None:
        curves[f"{quality} top-1 on val"] = lambda point: point.quality
    points = [point for trial in shown.values() for point in trial.over_training]
    known = [title for title, value in curves.items() if any(value(point) is not None for point in points)]
    # A rule by a label budget alone has no curve: it is measured at the end.
    titles = known or ["training loss"]
    figure = Figure(figsize=(9.6, 3.1), layout="constrained")
    for axes, title in zip(figure.subplots(1, len(titles), squeeze=False)[0], titles, strict=True):
        for colour, (name, trial) in zip((ORANGE, BLUE, GREEN, GRAY), shown.items(), strict=False):
            _curve(axes, name, trial, curves[title], colour)
        axes.set(title=title, xlabel=THOUSAND_IMAGES)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    figure.axes[min(1, len(titles) - 1)].legend(fontsize=7)
    return figure


def _curve(axes: Axes, name: str, trial: TrialRow, value: Curve, colour: str) -> None:
    known = [(point.images / 1000, value(point)) for point in trial.over_training if value(point) is not None]
    if known:
        x, y = zip(*known, strict=True)
        axes.plot(x, y, color=colour, marker="o", ms=3, label=name)


def parting_figure(trials: list[TrialRow]) -> Figure:
    """Change of the loss against change of quality between snapshots: right of 0 the loss rose."""
    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    axes = figure.subplots()
    wrong = total = 0
    steps = itertools.chain.from_iterable(itertools.pairwise(trial.over_training) for trial in trials)
    for before, after in steps:
        if before.loss is None or after.loss is None or before.quality is None or after.quality is None:
            continue
        rise = (after.loss - before.loss) / max(abs(before.loss), 1e-12)
        gain = after.quality - before.quality
        misled = rise * gain > 0
        wrong, total = wrong + misled, total + 1
        axes.plot(100 * rise, 100 * gain, "o", ms=3, color=ORANGE if misled else GRAY)
    axes.axhline(0, color=GRAY, lw=0.8)
    axes.axvline(0, color=GRAY, lw=0.8)
    axes.set(xlabel="change of the loss, % (← falls)", ylabel="change of quality, points")
    axes.set_title(f"{wrong} of {total} steps between snapshots: both rise or both fall", fontsize=9)
    return figure


def importance_figure(knobs: Mapping[str, Importance]) -> Figure:
    """Importance of each knob (columns) for each measured value (rows), each row over its own largest."""
    names = list(next(iter(knobs.values())).knobs)
    # Below 0 a shuffle lowered the error by chance: no importance.
    values = np.array([[max(importance.knobs[name], 0.0) for name in names] for importance in knobs.values()])
    learned = np.array([[importance.r2 > 0] for importance in knobs.values()])
    shade = np.where(learned, values / np.maximum(values.max(1, keepdims=True), 1e-9), 0.0)
    figure = Figure(figsize=(3.6 + 0.75 * len(names), 1.2 + 0.26 * len(knobs)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shade, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, importance in enumerate(knobs.values()):
        for j, name in enumerate(names):
            colour = "#fdfdfd" if shade[i, j] > DARK else "#0d0d0d"
            text = f"{importance.knobs[name]:.2f}" if importance.r2 > 0 else "–"
            axes.text(j, i, text, ha="center", va="center", fontsize=7.5, color=colour)
    axes.set_xticks(range(len(names)), names, fontsize=7.5, rotation=20, ha="right")
    axes.set_yticks(range(len(knobs)), [_head(*item) for item in knobs.items()], fontsize=7.5)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def _head(target: str, importance: Importance) -> str:
    # Quality agrees with itself.
    compared = importance.agreement is not None and target != "quality"
    agrees = f", agrees {importance.agreement:+.2f}" if compared else ""
    return f"{target} (R² {importance.r2:+.2f}{agrees})"


def slices_figure(numbers: ReportNumbers, names: Sequence[str]) -> Figure:
    """Quality, or the rule's score where nothing is labelled, over each knob."""
    heights = heights_of(numbers)
    trials = [trial for trial in numbers.trials if trial.number in heights]
    colours = [_colour(trial, numbers.picked, numbers) for trial in trials]

    def panel(axes: Axes, name: str) -> None:
        values = [trial.knobs.get(name) for trial in trials]
        x = _as_numbers(values)
        axes.scatter(
            [str(value) for value in values] if x is None else x,
            [heights[trial.number] for trial in trials],
            c=colours,
            s=20,
        )
        if x is not None and _spans_decades(x):
            axes.set_xscale("log")
        axes.set_xlabel(name)

    return _small_panels(names, panel, height=2.4, label=_height_name(numbers))


def _as_numbers(values: list[JsonValue]) -> list[float] | None:
    """A knob's values where all are numbers."""
    known = [value for value in values if isinstance(value, int | float)]
    return known if len(known) == len(values) else None


def parallel_figure(numbers: ReportNumbers, names: Sequence[str]) -> Figure:
    """One line a trial across its knobs, coloured by quality."""
    by_trial = heights_of(numbers)
    trials = [trial for trial in numbers.trials if trial.number in by_trial]
    heights = np.array([by_trial[trial.number] for trial in trials])
    columns = [_unit(_placed([trial.knobs.get(name) for trial in trials])) for name in names]
    lines = np.stack([*columns, _unit(heights)], axis=1)  # (trials, axes)
    count = len(names) + 1
    # The best are drawn last, on top of the others.
    order = np.argsort(heights)
    paths = [np.column_stack([range(count), lines[i]]) for i in order]
    bundle = LineCollection(paths, array=heights[order], cmap=MAP, lw=1.3)
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.add_collection(bundle)
    axes.set(xlim=(-0.1, count - 0.9), ylim=(-0.04, 1.04), yticks=[0, 1], yticklabels=["low", "high"])
    axes.set_xticks(range(count), [*(name.replace(".", ".\n") for name in names), _height_name(numbers)], fontsize=7)
    for place in range(count):
        axes.axvline(place, color=GRAY, lw=0.6)
    axes.spines[:].set_visible(False)
    figure.colorbar(bundle, ax=axes, label=_height_name(numbers))
    return figure


def _placed(values: list[JsonValue]) -> Floats:
    """A knob's values along an axis: numbers, their logarithms where they span decades, codes for words."""
    known = _as_numbers(values)
    if known is None:
        known = np.unique([str(value) for value in values], return_inverse=True)[1].tolist()
    column = np.array(known, dtype=float)
    return np.log10(column) if _spans_decades(column) else column


def _unit(column: Floats) -> Floats:
    """From 0 to 1."""
    return np.asarray((column - column.min()) / max(np.ptp(column), 1e-12))


def budget_figure(budget: list[SpentPoint], rule: str, quality: str) -> Figure:
    """Quality of the rule's pick among the trials so far, and of the best, against what they cost."""
    figure = Figure(figsize=(5.4, 3.4), layout="constrained")
    axes = figure.subplots()
    x = [point.tflops for point in budget]
    axes.step(x, [point.best for point in budget], where="post", color=GRAY, label="best so far, by its labels")
    axes.step(x, [point.pick for point in budget], where="post", color=ORANGE, label=f"pick of {rule}")
    axes.set(xlabel="TFLOP spent, evaluation included", ylabel=f"{quality} top-1 on val")
    axes.legend(fontsize=7)
    return figure


def _colour(trial: TrialRow, picked: Sequence[int], numbers: ReportNumbers) -> str:
    if trial.number in picked:
        return ORANGE
    return BLUE if trial.number == numbers.default else GRAY


def heights_of(numbers: ReportNumbers) -> dict[int, float]:
    """Healthy trial -> quality, or the rule's score where nothing is labelled, for those that have it."""
    healthy = [trial for trial in numbers.trials if trial.status == "complete"]
    quality = numbers.quality
    if quality is not None:
        return {trial.number: trial.top1(quality) for trial in healthy if quality in trial.probes}
    heights: dict[int, float] = {}
    for line in numbers.ranking:
        heights[line.number] = max(line.score, heights.get(line.number, line.score))
    return {trial.number: heights[trial.number] for trial in healthy if trial.number in heights}


def _height_name(numbers: ReportNumbers) -> str:
    return f"score by {numbers.rule}" if numbers.quality is None else f"{numbers.quality} top-1"
