"""Which criteria can be trusted, for which method: rules found on one half of some pools, judged on all the rest."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from src.evaluation.snapshots import columns as columns_of
from src.report.importance import encoded, varied
from src.report.loss_correlation import loss_trust, sentence
from src.report.regret import (
    Verdicts,
    budget_choosers,
    correlations,
    judge,
    mean_of,
    means_of,
    noise_floor,
    one_chooser,
    random_chooser,
    rule_chooser,
    verdicts,
)
from src.report.resampling import Draws, ResampledPool, halvings, resampled_pool, resamples
from src.runtime.stats import interval
from src.selection.rule import Rule, make_rule
from src.study.pool import Floats, Pool, TrialResult, repetitions

RIVALS = ("lidar_z", "rankme_z")
PLANNED = ("title", "pools", "seen", "seeds", "quality", "rule", "goal", "committed", "remark")


def tuning_half(pool: Pool, members: list[TrialResult]) -> list[TrialResult]:
    """Every second random configuration: those first proposed with an odd number."""
    return [member for member in members if _first_number(pool, member) % 2 == 1]


def judged_half(pool: Pool, members: list[TrialResult]) -> list[TrialResult]:
    """The default configuration and every other random one."""
    return [member for member in members if _first_number(pool, member) % 2 == 0]


def _first_number(pool: Pool, member: TrialResult) -> int:
    return min(other.number for other in pool.members if other.configuration == member.configuration)


def label_free_columns(pool: Pool) -> list[str]:
    """Columns with a better direction, the losses left out."""
    return [
        column
        for criterion in pool.criteria.values()
        if criterion["input"] != "columns" and criterion["direction"] != "none" and "loss" not in criterion["within"]
        for column in columns_of(criterion)
    ]


def search(pools: list[Pool], tuning: list[list[TrialResult]], *, quality: str, largest: int) -> list[dict[str, Any]]:
    """Sets of at most ``largest`` columns by the Spearman correlation of their mean rank with quality, averaged over
    the ``tuning`` members of each of ``pools``, best first (smaller sets first in a tie). A column that some trial
    lacks is out."""
    samples = [resampled_pool(members, quality) for members in tuning]
    known = [
        c
        for c in label_free_columns(pools[0])
        if all(m.last.criteria.get(c) is not None for a in samples for m in a.trials)
    ]
    ranks = [_ranks(pool, sample, known) for pool, sample in zip(pools, samples, strict=True)]
    truth = [sample.means(sample.right).mean(1) for sample in samples]
    sets = [list(chosen) for size in range(1, largest + 1) for chosen in combinations(range(len(known)), size)]
    total = np.zeros(len(sets))
    for rank, quality_of in zip(ranks, truth, strict=True):
        scores = np.stack([rank[:, chosen].mean(1) for chosen in sets])
        rho = correlations(scores, np.broadcast_to(quality_of, scores.shape))[1]
        total += np.nan_to_num(rho) / len(samples)  # columns that don't vary order nothing
    order = sorted(range(len(sets)), key=lambda i: (-total[i], len(sets[i]), i))
    return [{"columns": [known[c] for c in sets[i]], "rho": float(total[i])} for i in order]


def _ranks(pool: Pool, sample: ResampledPool, columns: list[str]) -> Floats:
    """(configurations, columns): average ranks of signed values, the best highest."""
    values = np.stack([rule_chooser(sample, make_rule(pool, c))(_whole(sample))[0] for c in columns], axis=1)
    return np.asarray((values[:, None, :] > values[None]).sum(1) + 0.5 * (values[:, None, :] == values[None]).sum(1))


def _whole(sample: ResampledPool) -> Floats:
    return sample.means(np.eye(len(sample.trials)))[None]


def judge_pool(
    pool: Pool, members: list[TrialResult], *, quality: str, rule: str, halved: int, resampled: int, seed: int
) -> dict[str, Any]:
    """Every way of choosing on some members of a pool, with its paired differences to the rivals."""
    sample = resampled_pool(members, quality)
    whole = halvings(sample, count=halved, seed=seed)
    drawn = resamples(sample, count=resampled, seed=seed)
    ways = {"random choice": (random_chooser, ""), "default configuration": (one_chooser(sample, pool.default), "")}
    for name in [rule, *_judged_columns(pool)]:
        found = make_rule(pool, name)
        ways[name] = (rule_chooser(sample, found), _space(found))
    result = {name: judge([chooser], whole, drawn) | {"space": space} for name, (chooser, space) in ways.items()}
    for name, choosers in budget_choosers(pool, sample).items():
        result[name] = judge(choosers, whole, drawn) | {"space": "h"}
    ours, minus = verdicts(ways[rule][0](drawn.mix), drawn.on_a, drawn.on_b), {}
    for rival in RIVALS:
        if result[rival].get("regret") is not None:
            theirs = verdicts(ways[rival][0](drawn.mix), drawn.on_a, drawn.on_b)
            minus[rival] = _difference(result[rule], result[rival], ours, theirs)
    means = sample.means(sample.right).mean(1)
    collapsed = [member for member in pool.members if member.status == "collapsed"]
    return {
        "study": pool.name,
        "data": pool.data,
        "method": pool.methods[0],
        "configurations": sample.configurations,
        "trials": len(sample.trials),
        "random": len(repetitions(pool.members)) - (pool.default is not None),
        "collapsed": len(collapsed),
        "best_collapsed": max((float(member.last.right[quality].mean()) for member in collapsed), default=None),
        "diverged": sum(member.status == "diverged" for member in pool.members),
        "best": float(means.max()),
        "worst": float(means.min()),
        "mean": float(means.mean()),
        "ways": result,
        "minus": minus,
        "knobs": _knobs(sample, ways[rule][0](_whole(sample))[0], means),
        "noise_floor": {name: noise_floor(pool.healthy, name) for name in _judged_columns(pool)},
        "spread": {
            name: _spread(ways[name][0], drawn) for name in (rule, *RIVALS, "default configuration") if result[name]
        },
    }


def _knobs(sample: ResampledPool, score: Floats, quality: Floats) -> dict[str, dict[str, float | None]]:
    """Spearman's rho of each varied knob with the rule's score and with quality, over configurations."""
    of = sample.configuration.tolist()
    first = [sample.trials[of.index(configuration)] for configuration in range(sample.configurations)]
    names = varied(first)
    found: dict[str, dict[str, float | None]] = {}
    for name, knob in zip(names, encoded(first, names).T if names else [], strict=True):
        rhos = correlations(np.stack([score, quality]), np.broadcast_to(knob, (2, len(knob))))[1]
        found[name] = {what: mean_of(rho[None]) for what, rho in zip(("rule", "quality"), rhos, strict=True)}
    return found


def _judged_columns(pool: Pool) -> list[str]:
    losses = [c["name"] for c in pool.criteria.values() if "loss" in c.get("within", ())]
    return [*label_free_columns(pool), *losses]


def _space(rule: Rule) -> str:
    return rule.columns[0].rpartition("_")[2] if len(rule.columns) == 1 else "several"


def _difference(ours: dict[str, Any], theirs: dict[str, Any], our: Verdicts, their: Verdicts) -> dict[str, Any]:
    """Ours minus theirs, negative where ours is better, with the interval of the paired draws."""
    found = {}
    for name in ("regret", "over_range"):
        found[name] = None if ours.get(name) is None or theirs.get(name) is None else ours[name] - theirs[name]
        found[f"{name}_interval"] = interval(getattr(our, name) - getattr(their, name))
    return found


def _spread(chooser: Any, drawn: Draws) -> dict[str, list[float]]:
    """The draws themselves, for means over pools."""
    found = verdicts(chooser(drawn.mix), drawn.on_a, drawn.on_b)
    return {name: getattr(found, name).tolist() for name in ("regret", "over_range", "over_random")}


def mean_over_pools(judged: list[dict[str, Any]], way: str) -> dict[str, Any]:
    """The mean of a way's figures over pools, with the interval of the means of their draws."""
    found: dict[str, Any] = {}
    for name in ("regret", "over_range", "over_random", "tau", "rho", "top"):
        values = [pool["ways"].get(way, {}).get(name) for pool in judged]
        known = [value for value in values if value is not None]
        found[name] = float(np.mean(known)) if known else None
        draws = [pool["spread"][way][name] for pool in judged if way in pool["spread"] and name in pool["spread"][way]]
        if draws and len(draws) == len(known):
            found[f"{name}_interval"] = interval(means_of(np.array(draws), 0))
    return found


def with_rule(pool: Pool, columns: list[str]) -> Pool:
    """The pool with the consensus of these columns."""
    consensus = pool.criteria["consensus"] | {"columns": columns}
    return replace(pool, criteria=pool.criteria | {"consensus": consensus})


def findings(pools: list[Pool], table: list[Pool], settings: dict[str, Any]) -> dict[str, Any]:
    """The rule that a search gives, and how it and every other way of choosing did where nothing was tuned.

    Searched are the tuning halves of the pools on ``rule.tuned_on``, or the whole of another round's ``table``.
    """
    quality, wanted, seed = settings["quality"], settings["rule"], settings["seed"]
    tuned = table or [pool for pool in pools if pool.data == wanted["tuned_on"]]
    if not tuned:
        known = ", ".join(sorted({pool.data for pool in pools}))
        raise ValueError(f"rule.tuned_on must be one of {known}, got {wanted['tuned_on']!r}")
    tuning = [pool.healthy if table else tuning_half(pool, pool.healthy) for pool in tuned]
    found = search(tuned, tuning, quality=quality, largest=wanted["largest"])
    judged = []
    for place, pool in enumerate(pools):  # a seed for each: their draws of configurations are independent
        held_out = not table and pool.data == wanted["tuned_on"]
        ruled = with_rule(pool, found[0]["columns"])
        keys = {"halved": settings["halvings"], "resampled": settings["resamples"], "seed": seed + place}
        parts = [judged_half(pool, m) if held_out else m for m in (pool.healthy, pool.finished)]
        verdict = judge_pool(ruled, parts[0], quality=quality, rule="consensus", **keys)
        verdict["half"] = "held-out half" if held_out else "all"
        verdict["with_collapsed"] = judge_pool(ruled, parts[1], quality=quality, rule="consensus", **keys)["ways"]
        verdict["loss"] = loss_trust(pool.healthy, quality, resampled=settings["resamples"], seed=seed)
        verdict["loss"]["sentence"] = sentence(pool.methods[0], verdict["loss"])
        judged.append(verdict)
    ways = list(dict.fromkeys(way for pool in judged for way in pool["ways"]))
    groups = {"all": judged} | {
        data: [p for p in judged if p["data"] == data] for data in dict.fromkeys(p["data"] for p in judged)
    }
    groups["unseen"] = [pool for pool in judged if pool["study"] not in settings["seen"]]
    means = {name: {way: mean_over_pools(group, way) for way in ways} for name, group in groups.items()}
    ours = means["all"]["consensus"]
    for verdict in judged:
        del verdict["spread"]
    return {
        "plan": {key: settings[key] for key in PLANNED},
        "rule": found[0]["columns"],
        "search": found[:10],
        "alone": [one for one in found if len(one["columns"]) == 1],
        "pools": judged,
        "means": means,
        "goals": {
            name: {"goal": goal, "reached": ours[name], "met": ours[name] is not None and ours[name] <= goal}
            for name, goal in settings["goal"].items()
        },
    }
