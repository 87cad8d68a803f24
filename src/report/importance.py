"""Which knobs matter: a forest from configurations to a measured value, judged on those it wasn't fitted to."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import GroupKFold

from src.report.numbers import Importance
from src.study.pool import Floats, TrialResult

FOLDS, TREES, SHUFFLES = 5, 50, 20
FEWEST = 10  # configurations: two in each fold
STRONGEST = 3  # pairs
LOGARITHMIC = 30  # a knob whose largest value is so many times its smallest is taken on a log scale


def varied(members: list[TrialResult]) -> list[str]:
    """The knobs that differ between the members, in the order of the configuration."""
    names = dict.fromkeys(name for member in members for name in member.knobs)
    # As text, since a knob can be a list, which a set can't hold.
    return [name for name in names if len({str(member.knobs.get(name)) for member in members}) > 1]


def encoded(members: list[TrialResult], names: list[str]) -> Floats:
    """(members, knobs): numbers, logarithms where a knob spans decades, codes for words."""
    columns = []
    for name in names:
        values = [member.knobs.get(name) for member in members]
        if all(isinstance(value, int | float) for value in values):
            column = np.array(values, dtype=float)
            if column.min() > 0 and column.max() / column.min() > LOGARITHMIC:
                column = np.log10(column)
        else:
            # In alphabetical order, which a forest doesn't mind: it can split off any code.
            column = np.unique([str(value) for value in values], return_inverse=True)[1].astype(float)
        columns.append(column)
    return np.stack(columns, axis=1)


def importance(members: list[TrialResult], target: Floats, *, seed: int, pairs: bool) -> Importance | None:
    """How much of a target's variance each knob explains on held-out configurations.

    A random forest on four fifths of the members; on the last fifth, the rise of the squared error over the target's
    variance when a knob is shuffled. ``r2`` is the forest's own on held-out members: at or below 0 it knows nothing,
    and neither do its importances. ``pairs``: what shuffling two knobs together costs beyond the sum of each. None
    below FEWEST configurations or where nothing varies. Source: Breiman, Random Forests, 2001, section 10.
    """
    names = varied(members)
    own = [member.configuration for member in members]  # its seeds are held out together
    if len(set(own)) < FEWEST or not names or np.ptp(target) == 0:
        return None
    couples = list(combinations(range(len(names)), 2)) if pairs else []
    groups: list[tuple[int, ...]] = [*((i,) for i in range(len(names))), *couples]
    rises, residual = _rises(encoded(members, names), target, own, groups, seed)
    rises /= target.var()
    mean = rises.mean(0)
    excess = {
        f"{names[i]} x {names[j]}": float(together - mean[i] - mean[j])
        for (i, j), together in zip(couples, mean[len(names) :], strict=True)
    }
    # By size: a pair can also bring less than the sum of its knobs.
    strongest = sorted(excess.items(), key=lambda item: -abs(item[1]))[:STRONGEST]
    return Importance(
        r2=float(1 - (residual**2).mean() / target.var()),
        knobs={name: float(mean[i]) for i, name in enumerate(names)},
        error={name: float(rises[:, i].std(ddof=1) / np.sqrt(FOLDS)) for i, name in enumerate(names)},
        agreement=None,
        pairs=dict(strongest) if pairs else None,
    )


def _rises(
    x: Floats, target: Floats, own: list[str], groups: list[tuple[int, ...]], seed: int
) -> tuple[Floats, Floats]:
    """(folds, groups): the rise of the squared error when a group of columns is shuffled; (members,): residuals."""
    # Not scikit-learn's permutation_importance: it shuffles one column at a time, and only among the held-out members.
    # One generator for all folds: kept reports depend on the order of draws.
    rng = np.random.default_rng(seed)
    rises, residual = np.zeros((FOLDS, len(groups))), np.zeros(len(target))
    folds = GroupKFold(FOLDS, shuffle=True, random_state=seed)
    for fold, (fitted, held) in enumerate(folds.split(x, groups=own)):
        forest = RandomForestRegressor(TREES, random_state=seed, min_samples_leaf=2).fit(x[fitted], target[fitted])
        residual[held] = target[held] - forest.predict(x[held])
        shuffled = np.tile(x[held], (len(groups), SHUFFLES, 1, 1))
        for g, group in enumerate(groups):
            for s in range(SHUFFLES):
                # From the fitted members: permuting two or three held-out ones would often change nothing.
                shuffled[g, s][:, group] = x[fitted][rng.integers(len(fitted), size=len(held))][:, group]
        predicted = forest.predict(shuffled.reshape(-1, x.shape[1])).reshape(len(groups), SHUFFLES, len(held))
        rises[fold] = ((target[held] - predicted) ** 2).mean((1, 2)) - (residual[held] ** 2).mean()
    return rises, residual
