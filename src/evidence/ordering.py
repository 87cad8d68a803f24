"""In which order the page and its figures show what was found; names decide between equals."""

from __future__ import annotations

import numpy as np

from src.evidence.findings import LABELS, Findings, PoolVerdict

Named = list[tuple[str, float]]  # name, value


def ways_in_order(findings: Findings) -> list[str]:
    """Ways of choosing by their mean regret over random's, the smallest first."""
    return _names({way: mean.over_random for way, mean in findings.means["all"].items()}, sign=1)


def ways_by_rho(findings: Findings) -> list[str]:
    """Ways of choosing by their mean rank correlation with quality, the highest first."""
    return _names({way: mean.rho for way, mean in findings.means["all"].items()}, sign=-1)


def label_budgets(findings: Findings) -> list[str]:
    """Label budgets, the smallest first and all labels last."""
    names = [way for way in findings.means["all"] if way.startswith(LABELS)]
    # By length before name: as text, 10 would come before 5.
    return sorted(names, key=lambda name: (name.endswith("probe"), len(name), name))


def columns_by_rho(pool: PoolVerdict) -> Named:
    """The columns of a pool by Spearman's rho with quality, the highest first."""
    judged = {column: pool.judged(column) for column in pool.noise_floor}
    return _sorted({column: None if way is None else way.rho for column, way in judged.items()}, sign=-1)


def columns_by_noise(findings: Findings) -> Named:
    """Columns by their seed noise, mean over the pools where it is known, the smallest first."""
    floors: dict[str, list[float]] = {}
    for pool in findings.pools:
        for column, floor in pool.noise_floor.items():
            if floor is not None:
                floors.setdefault(column, []).append(floor)
    return _sorted({column: float(np.mean(values)) for column, values in floors.items()}, sign=1)


def shared_knobs(findings: Findings) -> list[str]:
    """The knobs that every pool varies."""
    first, *others = (pool.knobs.keys() for pool in findings.pools)
    return sorted(set(first).intersection(*others))


def _names(values: dict[str, float | None], *, sign: int) -> list[str]:
    return [name for name, _ in _sorted(values, sign=sign)]


def _sorted(values: dict[str, float | None], *, sign: int) -> Named:
    known = [(name, value) for name, value in values.items() if value is not None]
    # By name among equals: the order of keys in the file mustn't decide.
    return sorted(known, key=lambda pair: (sign * pair[1], pair[0]))
