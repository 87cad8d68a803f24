"""The figures of the page, drawn from the findings and, for every configuration's quality, from the pools."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from src.evidence.findings import RIVALS, RULE, Findings, PoolVerdict
from src.evidence.ordering import label_budgets, ways_by_rho, ways_in_order
from src.runtime.figure_style import BLUE, GRAY, GREEN, INK, ORANGE
from src.study.pool import Floats, Pool, TrialResult


def regret_figure(findings: Findings) -> Figure:
    """Mean regret over random's of every way of choosing, and each pool as a small dot."""
    order = ways_in_order(findings)[::-1]
    figure = Figure(figsize=(7.6, 0.9 + 0.21 * len(order)), layout="constrained")
    axes = figure.subplots()
    for y, way in enumerate(order):
        judged = [pool.judged(way) for pool in findings.pools]
        known = [pool.over_random for pool in judged if pool is not None and pool.over_random is not None]
        axes.plot(known, [y] * len(known), "|", color=_colour(way), ms=6, alpha=0.7)
        axes.plot(np.mean(known), y, "o", color=_colour(way), ms=6)
    axes.axvline(findings.goals.over_random.goal, color=GREEN, lw=0.9)
    axes.axvline(1, color=INK, lw=0.6, ls=":")
    axes.set_yticks(range(len(order)), order, fontsize=7.5)
    axes.set_xlabel("regret / random choice's (← better); dot: mean over pools, ticks: pools, green: the goal")
    axes.set_ylim(-0.7, len(order) - 0.3)
    return figure


def _colour(way: str) -> str:
    if way == RULE:
        return ORANGE
    return BLUE if way in RIVALS else GRAY


def correlation_figure(findings: Findings) -> Figure:
    """Spearman's rho with quality, columns of criteria by pools."""
    names, pools = ways_by_rho(findings), findings.pools
    rho = np.array([[_rho(pool, name) for pool in pools] for name in names])
    figure = Figure(figsize=(3.2 + 0.72 * len(pools), 1.3 + 0.24 * len(names)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(rho, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(rho):
        if not np.isnan(value):
            colour = "#fdfdfd" if abs(value) > 0.65 else "#0d0d0d"
            axes.text(j, i, f"{value:+.2f}", ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(len(pools)), [f"{pool.data}\n{pool.method}" for pool in pools], fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="Spearman's rho with quality")
    return figure


def _rho(pool: PoolVerdict, way: str) -> float:
    judged = pool.judged(way)
    return np.nan if judged is None or judged.rho is None else judged.rho


def labels_figure(findings: Findings) -> Figure:
    """Regret over random's as labels are added, one line a pool."""
    names = label_budgets(findings)
    ways = [RULE, *names]
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for pool in findings.pools:
        axes.plot(range(len(ways)), _over_random(pool, ways), color=GRAY, lw=1, marker="o", ms=3)
    means = [findings.means["all"][way].over_random for way in ways]
    axes.plot(range(len(ways)), _drawable(means), color=ORANGE, lw=2.2, marker="o")
    axes.axhline(findings.goals.over_random.goal, color=GREEN, lw=0.9)
    axes.set_xticks(range(len(ways)), ["no label", *(name.removeprefix("labels: ") for name in names)])
    axes.set_ylabel("regret / random choice's")
    return figure


def _over_random(pool: PoolVerdict, ways: list[str]) -> Floats:
    judged = [pool.judged(way) for way in ways]
    return _drawable([None if way is None else way.over_random for way in judged])


def _drawable(values: list[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values])


def quality_figure(findings: Findings, pools: list[Pool]) -> Figure:
    """Quality of every configuration of every pool, the default configuration in blue."""
    quality = findings.plan.quality
    figure = Figure(figsize=(7.6, 3.4), layout="constrained")
    axes = figure.subplots()
    for place, pool in enumerate(pools):
        probed = [member for member in pool.finished if quality in member.last.probes]
        for member in probed:
            colour = _state(member, pool.default)
            width = 1 if colour == GRAY else 2
            axes.plot(place, member.last.probes[quality]["top1"], "_", color=colour, ms=11, mew=width)
    axes.set_xticks(range(len(pools)), [f"{pool.data}\n{pool.methods[0]}" for pool in pools], fontsize=7)
    axes.set_ylabel(f"{quality} top-1 on val")
    return figure


def _state(member: TrialResult, default: str | None) -> str:
    if member.configuration == default:
        return BLUE
    return GREEN if member.status == "collapsed" else GRAY
