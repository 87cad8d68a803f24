"""The search for a rule: the columns whose mean rank orders the tuning trials most as quality does."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np

from src.evidence.findings import RULE, FoundRule
from src.report.regret import correlations, rule_chooser
from src.report.resampling import ResampledPool, resampled_pool
from src.selection.rule import make_rule
from src.study.pool import Floats, Pool, TrialResult


def tuning_half(pool: Pool, members: list[TrialResult]) -> list[TrialResult]:
    """Every second random configuration: those first proposed with an odd number."""
    # Trial 0, the default configuration, stays with the even ones: no rule is tuned on it.
    return [member for member in members if _first_number(pool, member) % 2 == 1]


def judged_half(pool: Pool, members: list[TrialResult]) -> list[TrialResult]:
    """The default configuration and every other random one."""
    return [member for member in members if _first_number(pool, member) % 2 == 0]


def _first_number(pool: Pool, member: TrialResult) -> int:
    # Over all members: a configuration whose first trial collapsed stays in the half that it was proposed in.
    return min(other.number for other in pool.members if other.configuration == member.configuration)


def label_free_columns(pool: Pool) -> list[str]:
    """Columns with a better direction, the losses left out."""
    columns = []
    for criterion in pool.criteria.values():
        is_loss = "loss" in (criterion.within or [])
        if not criterion.combines and criterion.direction != "none" and not is_loss:
            columns += criterion.filled
    return columns


def with_rule(pool: Pool, columns: list[str]) -> Pool:
    """The pool with the consensus of these columns."""
    rule = replace(pool.criteria[RULE], columns=columns)
    return replace(pool, criteria=pool.criteria | {RULE: rule})


def search(pools: list[Pool], tuning: list[list[TrialResult]], *, quality: str, largest: int) -> list[FoundRule]:
    """Sets of at most ``largest`` columns by the Spearman correlation of their mean rank with quality, averaged over
    the ``tuning`` members of each of ``pools``, best first (smaller sets first in a tie). A column that some trial
    lacks is out."""
    samples = [resampled_pool(members, quality) for members in tuning]
    everywhere = [column for column in label_free_columns(pools[0]) if _has_all(samples, column)]
    sets = [list(chosen) for size in range(1, largest + 1) for chosen in combinations(range(len(everywhere)), size)]
    total = np.zeros(len(sets))
    for pool, sample in zip(pools, samples, strict=True):
        ranks = _ranks(pool, sample, everywhere)  # (configurations, columns)
        truth = sample.means(sample.right).mean(1)  # (configurations,)
        scores = np.stack([ranks[:, chosen].mean(1) for chosen in sets])
        rho = correlations(scores, np.broadcast_to(truth, scores.shape))[1]
        # A set whose columns don't vary in a pool has no correlation there: it orders nothing, which counts as 0.
        total += np.nan_to_num(rho) / len(samples)
    order = sorted(range(len(sets)), key=lambda i: (-total[i], len(sets[i]), i))
    return [FoundRule([everywhere[place] for place in sets[i]], float(total[i])) for i in order]


def _has_all(samples: list[ResampledPool], column: str) -> bool:
    """Whether every trial has a value of the column."""
    trials = [trial for sample in samples for trial in sample.trials]
    return all(trial.last.criteria.get(column) is not None for trial in trials)


def _ranks(pool: Pool, sample: ResampledPool, columns: list[str]) -> Floats:
    """(configurations, columns): average ranks of signed values, the best highest."""
    values = np.stack([scores_of(pool, sample, column) for column in columns], axis=1)
    better = (values[:, None, :] > values[None]).sum(1)
    equal = (values[:, None, :] == values[None]).sum(1)
    # SciPy's average ranks minus 0.5, the same order as consensus gives.
    return np.asarray(better + 0.5 * equal)


def scores_of(pool: Pool, sample: ResampledPool, rule: str) -> Floats:
    """(configurations,): scores by a rule or a column, higher is better, over all seeds as they are."""
    # The one draw in which every seed counts alike.
    as_it_is = sample.means(np.eye(len(sample.trials)))[None]
    return np.asarray(rule_chooser(sample, make_rule(pool, rule))(as_it_is)[0])
