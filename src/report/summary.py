"""Every number of the report but those of the sealed test split, from a pool alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from src.report.importance import importance, varied
from src.report.loss_correlation import loss_trust, stated
from src.report.numbers import (
    Choosing,
    Compute,
    CriterionFacts,
    FinalPick,
    Importance,
    LossTrust,
    Point,
    PoolCounts,
    ReportNumbers,
    Seal,
    SpentPoint,
    StatedLoss,
    TrialRow,
)
from src.report.regret import correlations
from src.report.settings import Settings
from src.report.strategies import choosing
from src.selection.rule import Rule, measured, rule_of, within
from src.study.pool import LABELS, Floats, Pool, Snapshot, TrialResult, repetitions
from src.study.results import Confirmation, Selection

ALL_METHODS = "all methods"


def find(pool: Pool, chosen: Selection, confirmation: Confirmation | None, settings: Settings) -> ReportNumbers:
    """The report's numbers; without probe's scores, what can't be known is left out."""
    labelled = any(settings.quality in member.last.right for member in pool.finished)
    quality = settings.quality if labelled else None
    numbers = ReportNumbers(
        study=pool.name,
        data=pool.data,
        rule=chosen.rule,
        columns=list(chosen.columns),
        methods=pool.methods,
        quality=quality,
        picks=chosen.winners,
        picked=[winner.number for winner in chosen.winners],
        final=_final(chosen, confirmation),
        default=next((member.number for member in pool.members if member.configuration == pool.default), None),
        snapshots=chosen.snapshots,
        ranking=chosen.ranking,
        noise=chosen.noise,
        dropped=chosen.dropped,
        confirmation=confirmation,
        pool=_counts(pool),
        label_files=sorted({name for member in pool.members for name in member.budgets}),
        criteria=_glossary(pool),
        trials=[trial_row(member, settings.quality) for member in pool.members],
        compute=_compute(pool),
        varied=varied(pool.healthy),
        knobs=_knobs(pool, chosen, quality, settings.seed),
        test=[],
        seal=Seal(openings=0),
        val={},
        links={},
    )
    return _with_labels(numbers, pool, chosen, settings) if labelled else numbers


def _with_labels(numbers: ReportNumbers, pool: Pool, chosen: Selection, settings: Settings) -> ReportNumbers:
    """The numbers with what labels of val say: whether the loss could be trusted, and how each way of choosing did."""
    methods = [method for method in pool.methods if any(member.method == method for member in pool.healthy)]
    by_method = {method: _choosing(pool, [method], chosen, settings) for method in methods}
    if len(methods) > 1:
        by_method[ALL_METHODS] = _choosing(pool, pool.methods, chosen, settings)
    return replace(
        numbers,
        methods=methods,
        loss={method: _loss(pool, method, settings) for method in methods},
        choosing=by_method,
        budget=_budget_view(pool, rule_of(pool, chosen), settings.quality),
    )


def _choosing(pool: Pool, methods: list[str], chosen: Selection, settings: Settings) -> Choosing:
    members = [member for member in pool.healthy if member.method in methods]
    finished = [member for member in pool.finished if member.method in methods]
    collapsed = [member for member in finished if member.status == "collapsed"]
    return choosing(pool, members, collapsed, chosen, settings)


def _final(chosen: Selection, confirmation: Confirmation | None) -> list[FinalPick]:
    """For each winner the trial to take: what fresh seeds confirmed, where there is such a thing."""
    confirmed = [] if confirmation is None else confirmation.winners
    picks = []
    for winner in chosen.winners:
        own = [one for one in confirmed if len(chosen.winners) == 1 or one.method == winner.method]
        picks.append(FinalPick(own[0].number, confirmed=True) if own else FinalPick(winner.number, confirmed=False))
    return picks


def _counts(pool: Pool) -> PoolCounts:
    states = [member.status for member in pool.members]
    return PoolCounts(
        trials=len(states),
        complete=states.count("complete"),
        collapsed=states.count("collapsed"),
        diverged=states.count("diverged"),
        stopped=states.count("stopped"),
    )


def _glossary(pool: Pool) -> dict[str, CriterionFacts]:
    return {
        name: CriterionFacts(
            input=criterion.input,
            spaces=criterion.spaces,
            direction=criterion.direction,
            invariances=criterion.invariances,
            within=within(pool, criterion),
        )
        for name, criterion in pool.criteria.items()
    }


def _loss(pool: Pool, method: str, settings: Settings) -> StatedLoss:
    def trust(members: list[TrialResult]) -> LossTrust:
        own = [member for member in members if member.method == method]
        return loss_trust(own, settings.quality, resampled=settings.resamples, seed=settings.seed)

    collapsed = any(member.method == method and member.status == "collapsed" for member in pool.finished)
    return stated(method, trust(pool.healthy), with_collapsed=trust(pool.finished) if collapsed else None)


def _budget_view(pool: Pool, rule: Rule, quality: str) -> list[SpentPoint]:
    """Quality of the rule's pick, and of the best, among the first trials, against what they cost."""
    spent = 0.0
    points = []
    values: list[Floats] = []  # of each comparable trial so far, (columns,)
    qualities: list[float] = []
    for members in repetitions(pool.members).values():
        # The first seed alone: what confirm repeated was spent after the choice.
        member = members[0]
        if not member.snapshots:
            continue
        # Also of a trial that collapsed: what can't be picked was paid for all the same.
        spent += member.last.flops + member.evaluation_flops
        own = [measured(member, column, -1) for column in rule.columns]
        if member.status == "complete" and None not in own:
            values.append(np.array(own, dtype=float) * rule.signs)
            qualities.append(member.last.probes[quality]["top1"])
        if values:
            picked = int(rule.score(np.stack(values)).argmax())
            points.append(SpentPoint(spent / 1e12, pick=float(qualities[picked]), best=float(max(qualities))))
    return points


def _compute(pool: Pool) -> Compute:
    training = sum(member.last.flops for member in pool.members if member.snapshots)
    evaluation = sum(member.evaluation_flops for member in pool.members)
    return Compute(training_tflops=training / 1e12, evaluation_tflops=evaluation / 1e12)


def _knobs(pool: Pool, chosen: Selection, quality: str | None, seed: int) -> dict[str, Importance]:
    """Importances for quality, for the rule's columns and for every other criterion, and how far they agree."""
    members = pool.healthy
    targets: dict[str, Floats] = {}
    if quality is not None:
        targets["quality"] = np.array([member.last.probes[quality]["top1"] for member in members])
    first = [criterion.filled[0] for criterion in pool.criteria.values()]
    for column in dict.fromkeys([*chosen.columns, *first]):
        values = [measured(member, column, -1) for member in members]
        # A forest can't be fitted to a target with gaps.
        if None not in values:
            targets[column] = np.array(values, dtype=float)
    knobs = {}
    for name, target in targets.items():
        of_target = importance(members, target, seed=seed, pairs=name == "quality")
        if of_target is not None:
            knobs[name] = of_target
    by_quality = knobs.get("quality")
    if by_quality is None:
        return knobs
    return {name: replace(one, agreement=agreement(one, by_quality)) for name, one in knobs.items()}


def agreement(ours: Importance, theirs: Importance) -> float | None:
    """Rank correlation of two importances; None where a forest knows nothing."""
    if min(ours.r2, theirs.r2) <= 0:
        return None
    our, their = (np.array([list(one.knobs.values())]) for one in (ours, theirs))
    rho = correlations(our, their)[1][0]
    return None if np.isnan(rho) else float(rho)


def trial_row(member: TrialResult, quality: str) -> TrialRow:
    """A trial as the page's table and the figures take it."""
    last = member.last if member.snapshots else None
    skills = {LABELS + name: skill for name, skill in member.budgets.items()}
    return TrialRow(
        number=member.number,
        trial=member.trial,
        configuration=member.configuration,
        seed=member.seed,
        method=member.method,
        status=member.status,
        reason=member.reason,
        overrides=member.overrides,
        loss_group=member.loss_definition,
        tflops=last.flops / 1e12 if last else None,
        seconds=member.seconds,
        criteria=(last.criteria if last else {}) | skills,
        probes=last.probes if last else {},
        knobs=member.knobs,
        over_training=[_point(snapshot, quality) for snapshot in member.snapshots],
    )


def _point(snapshot: Snapshot, quality: str) -> Point:
    return Point(
        images=snapshot.images,
        loss=snapshot.loss,
        criteria=snapshot.criteria,
        quality=snapshot.probes.get(quality, {}).get("top1"),
    )
