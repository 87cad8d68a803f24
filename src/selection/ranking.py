"""Ranks the candidates of a pool by a rule, says how stable that order is, and settles ties by counted cost."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from src.runtime.records import Config
from src.selection.rule import Rule, check_comparable, measured, owner_of
from src.study.pool import LABELS, Floats, Pool, Snapshot, TrialResult, repetitions
from src.study.results import Dropped, NoiseFact, RankedTrial, Selection, Snapshots

# A candidate that beats the pick in a smaller share of draws can be told apart from it: one-sided, since only whether
# the candidate is worse is asked.
TOLD_APART = 0.05


class Candidate(NamedTuple):
    """A configuration at one point of its training, with all its seeds."""

    members: list[TrialResult]
    snapshot: int
    values: Floats  # (columns,), signed so that higher is better, mean over seeds

    @property
    def first(self) -> TrialResult:
        return self.members[0]

    @property
    def at(self) -> Snapshot:
        return self.first.snapshots[self.snapshot]

    @property
    def flops(self) -> float:
        return self.at.flops


def rank(pool: Pool, rule: Rule, *, snapshots: Snapshots, draws: int, seed: int) -> Selection:
    """The pick of each method (of all where the rule compares methods), the order, and what was dropped and why.

    Raises ValueError on trials that the rule doesn't compare, or where no trial is left to pick from.
    """
    candidates, dropped = _sort_out(pool, rule, snapshots)
    if not candidates:
        raise ValueError(f"study {pool.name} has no trial to pick from {_why_none(pool, dropped)}")
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        method = candidate.first.method if "method" in rule.within else ""
        groups.setdefault(method, []).append(candidate)
    facts, orders = [], []
    for method, group in groups.items():
        check_comparable([member for candidate in group for member in candidate.members], rule)
        noise = _noise(group, rule, snapshots)
        facts.append(NoiseFact(method, len(noise.halves), noise.by_column(rule)))
        orders.append(_order(group, rule, noise, draws=draws, seed=seed))
    return Selection(
        study=pool.name,
        identity=pool.identity,
        rule=rule.name,
        columns={column: _definition(pool, column) for column in rule.columns},
        # a list of columns has no criterion of its own: it is combined as consensus is
        combined_by=pool.criteria.get(rule.name, pool.criteria["consensus"]).score if rule.combine else None,
        evaluation=pool.protocol,
        snapshots=snapshots,
        draws=draws,
        seed=seed,
        noise=facts,
        winners=[next(line for line in order if line.picked) for order in orders],
        ranking=[line for order in orders for line in order],
        dropped=dropped,
    )


def _sort_out(pool: Pool, rule: Rule, snapshots: Snapshots) -> tuple[list[Candidate], list[Dropped]]:
    """What can be ranked, and what can't with the reason: a configuration that collapsed with one seed is out."""
    dropped = [_dropped(m, m.reason) for m in pool.members if m.status != "complete"]
    lost = {m.configuration: m for m in pool.members if m.status in ("collapsed", "diverged")}
    candidates: list[Candidate] = []
    for configuration, members in repetitions(pool.healthy).items():
        # Not ranked on its healthy seeds: their mean would leave out how it can fail.
        if configuration in lost:
            why = f"its configuration {lost[configuration].status} with seed {lost[configuration].seed}"
            dropped += [_dropped(m, why) for m in members]
            continue
        own = _candidates(members, rule, snapshots)
        candidates += own
        if not own:
            dropped += [_dropped(m, _first_refusal(m, rule)) for m in members]
    return candidates, dropped


def _first_refusal(member: TrialResult, rule: Rule) -> str:
    return next((member.refused[column] for column in rule.columns if column in member.refused), "no value")


def _why_none(pool: Pool, dropped: list[Dropped]) -> str:
    """The reasons, and what else could be chosen by."""
    reasons = "; ".join(sorted({f"{one.status}: {one.reason}" for one in dropped}))
    others = sorted(pool.healthy[0].last.criteria)[:3] if pool.healthy else []
    hint = f": rule={others[0]} has values, {', '.join(others[1:])} too" if others else ""
    return f"({reasons}){hint}"


def _candidates(members: list[TrialResult], rule: Rule, snapshots: Snapshots) -> list[Candidate]:
    """The points of a configuration's training at which every column has a value for every seed."""
    candidates = []
    count = min(len(member.snapshots) for member in members)
    for snapshot in range(count) if snapshots == "all" else [count - 1]:
        # Criteria mean nothing on a collapsed snapshot, also where the trial recovered later.
        if any(member.snapshots[snapshot].collapsed for member in members):
            continue
        # Every seed needs a value: means over different sets of seeds don't compare.
        values = [[measured(m, column, snapshot) for column in rule.columns] for m in members]
        if all(value is not None for row in values for value in row):
            candidates.append(Candidate(members, snapshot, np.array(values, dtype=float).mean(0) * rule.signs))
    return candidates


class Noise(NamedTuple):
    """What moves the values of a group of candidates."""

    halves: Floats  # (halves, candidates, columns): deviations on random halves of the images, the same for all
    seeds: Floats | None  # (columns,): standard deviation of one seed; None where no configuration was repeated

    @property
    def known(self) -> bool:
        return len(self.halves) > 0 or self.seeds is not None

    def by_column(self, rule: Rule) -> dict[str, float] | None:
        """Standard deviation of one seed; None where no configuration was repeated."""
        return None if self.seeds is None else dict(zip(rule.columns, self.seeds.tolist(), strict=True))


def _noise(group: list[Candidate], rule: Rule, snapshots: Snapshots) -> Noise:
    """Unknown where a candidate or a column lacks it, and for all snapshots: only the last ones' was measured."""
    if snapshots == "all":
        return Noise(np.zeros((0, len(group), len(rule.columns))), None)
    kept = [[_halves(candidate, column) for column in rule.columns] for candidate in group]
    # A draw moves all candidates and columns together, so all need the same halves.
    count = min(len(values) for row in kept for values in row)
    halves = np.array([[values[:count] for values in row] for row in kept]).transpose(2, 0, 1) * rule.signs
    return Noise(halves - halves.mean(0) if count > 1 else halves[:0], seed_noise(group, rule))


def _halves(candidate: Candidate, column: str) -> Floats:
    """(halves,), mean over seeds."""
    kept = [member.halves.get(column, []) for member in candidate.members]
    count = min(len(values) for values in kept)
    return np.array([values[:count] for values in kept], dtype=float).mean(0)


def seed_noise(group: list[Candidate], rule: Rule) -> Floats | None:
    """Each column's standard deviation over seeds, pooled over the configurations that have several; None without."""
    # Pooled, since the two or three seeds of one configuration say little of its own variance.
    variances = []
    for candidate in group:
        if len(candidate.members) > 1:
            values = [[measured(m, column, candidate.snapshot) for column in rule.columns] for m in candidate.members]
            variances.append(np.array(values, dtype=float).var(0, ddof=1))
    return np.sqrt(np.mean(variances, axis=0)) if variances else None


def drawn_scores(group: list[Candidate], rule: Rule, noise: Noise, *, draws: int, seed: int) -> Floats:
    """Scores (draws, candidates) as they might have come out with other images and other seeds.

    Images: normal deviations with the covariance, over candidates and columns, of those on random halves of the
    images: a half's deviation from the mean of the halves has the spread of the full sample's error. Where seeds were
    repeated, each candidate gets the noise of its mean over seeds on top.
    """
    # One generator, images before seeds: a repeated selection gives the same bytes.
    rng = np.random.default_rng(seed)
    values = np.stack([candidate.values for candidate in group])
    drawn = np.broadcast_to(values, (draws, *values.shape)).copy()
    if count := len(noise.halves):
        # Sums of the deviations with normal weights have exactly their sample covariance, also where it is singular
        # because there are fewer halves than values.
        weights = rng.normal(size=(draws, count)) / np.sqrt(count - 1)
        drawn += np.einsum("bk,kcj->bcj", weights, noise.halves)
    if noise.seeds is not None:
        repeated = np.array([[len(candidate.members)] for candidate in group])
        drawn += rng.normal(size=drawn.shape) * noise.seeds / np.sqrt(repeated)
    return np.stack([rule.score(one) for one in drawn])


def _order(group: list[Candidate], rule: Rule, noise: Noise, *, draws: int, seed: int) -> list[RankedTrial]:
    """Candidates best first; picked is the cheapest of those within one standard error of the best."""
    scores = rule.score(np.stack([candidate.values for candidate in group]))
    drawn = drawn_scores(group, rule, noise, draws=draws, seed=seed)
    # Equal scores: the cheaper first, then the earlier proposed, so that the order is always the same.
    order = sorted(range(len(group)), key=lambda i: (-scores[i], group[i].flops, group[i].first.number))
    best = order[0]
    # Of the difference to the best: noise that all candidates share doesn't blur their order.
    error = (drawn - drawn[:, [best]]).std(0)
    tied = [i for i in order if scores[best] - scores[i] <= error[i]]
    pick = min(tied, key=lambda i: (group[i].flops, order.index(i)))
    best_of = drawn == drawn.max(1, keepdims=True)
    # Equals share a draw: mean ranks tie often.
    wins = (best_of / best_of.sum(1, keepdims=True)).mean(0)
    # A draw with equal scores counts for the candidate: what always ties with the pick isn't told apart from it.
    beats_pick = (drawn >= drawn[:, [pick]]).mean(0)
    return [
        RankedTrial(
            number=group[i].first.number,
            trial=group[i].first.trial,
            seeds=[member.seed for member in group[i].members],
            method=group[i].first.method,
            step=group[i].at.step,
            images=group[i].at.images,
            flops=group[i].flops,
            score=float(scores[i]),
            values={c: float(s * v) for c, s, v in zip(rule.columns, rule.signs, group[i].values, strict=True)},
            overrides=group[i].first.overrides,
            probability_best=float(wins[i]) if noise.known else None,
            tied_with_best=i in tied,
            told_apart=bool(noise.known and i != pick and beats_pick[i] < TOLD_APART),
            picked=i == pick,
        )
        for i in order
    ]


def _definition(pool: Pool, column: str) -> Config | None:
    """What a column was measured by."""
    if column.startswith(LABELS):
        return pool.label_files.get(column.removeprefix(LABELS))
    owner = owner_of(pool, column)
    if owner is None:
        return None
    return {"score": owner.score, "input": owner.input, "direction": owner.direction, "version": owner.version}


def _dropped(member: TrialResult, reason: str) -> Dropped:
    return Dropped(member.number, member.trial, member.status, reason)
