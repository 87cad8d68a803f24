"""Could the loss be trusted in this study? Its rank correlation with quality, within runs and between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from src.report.numbers import LossTrust, StatedLoss
from src.report.regret import correlations, means_of
from src.runtime.stats import Interval, interval
from src.study.pool import Floats, Snapshot, TrialResult, repetitions

FOLLOWS = 0.5  # a rank correlation from which on a loss is said to follow quality


def loss_trust(members: list[TrialResult], quality: str, *, resampled: int, seed: int) -> LossTrust:
    """How far the falling loss goes with quality, within runs and between them.

    Intervals from resampled configurations and their seeds. None where there are too few to say.
    """
    runs = [member for member in members if member.snapshots and _has_both(member, quality)]
    within = np.array([_within(member, quality) for member in runs], dtype=float)
    # Minus the loss, so that like every criterion higher is better.
    loss = np.array([-_loss(member.last) for member in runs])
    truth = np.array([member.last.probes[quality]["top1"] for member in runs])
    draws = _resampled(runs, resampled, seed)
    known = within[~np.isnan(within)]
    # A rank correlation of fewer than three trials says nothing.
    between = _rho(loss[None], truth[None])[0] if len(runs) > 2 else np.nan
    return LossTrust(
        within=float(known.mean()) if len(known) else None,
        within_interval=interval(means_of(within[draws], 1)) if len(known) else None,
        between=None if np.isnan(between) else float(between),
        between_interval=interval(_rho(loss[draws], truth[draws])) if len(runs) > 2 else None,
        trials=len(runs),
        rising_while_improving=sum(_rose_while_improving(member, quality) for member in runs),
    )


def stated(method: str, trust: LossTrust, with_collapsed: LossTrust | None = None) -> StatedLoss:
    """The same with its sentence, as files keep it."""
    return StatedLoss(**vars(trust), sentence=sentence(method, trust), with_collapsed=with_collapsed)


def _has_both(member: TrialResult, quality: str) -> bool:
    return all(snapshot.loss is not None and quality in snapshot.probes for snapshot in member.snapshots)


def _loss(snapshot: Snapshot) -> float:
    # None doesn't get here: _has_both has left such trials out.
    return float(snapshot.loss or 0.0)


def _resampled(runs: list[TrialResult], count: int, seed: int) -> NDArray[np.int64]:
    """(count, configurations) places in ``runs``: configurations drawn with replacement, and one seed of each."""
    rng = np.random.default_rng(seed)
    # By identity: a trial holds dictionaries and can't be hashed.
    places = {id(member): place for place, member in enumerate(runs)}
    own = [[places[id(member)] for member in same] for same in repetitions(runs).values()]
    drawn = np.zeros((count, len(own)), dtype=np.int64)
    if not own:
        return drawn
    for draw in drawn:
        draw[:] = [rng.choice(own[c]) for c in rng.integers(len(own), size=len(own))]
    return drawn


def _rose_while_improving(member: TrialResult, quality: str) -> bool:
    first, last = member.snapshots[0], member.last
    return _loss(last) > _loss(first) and last.probes[quality]["top1"] > first.probes[quality]["top1"]


def _rho(x: Floats, y: Floats) -> Floats:
    return correlations(x, y)[1]


def _within(member: TrialResult, quality: str) -> float:
    loss = np.array([[-_loss(snapshot) for snapshot in member.snapshots]])
    truth = np.array([[snapshot.probes[quality]["top1"] for snapshot in member.snapshots]])
    return float(_rho(loss, truth)[0])


def sentence(method: str, trust: LossTrust) -> str:
    """Whether this study's loss could be trusted, in one plain sentence."""
    within, between = trust.within, trust.between
    if within is None or between is None:
        return f"{method}: too few trials or snapshots to say whether the loss could be trusted."
    inside = _verdict(within, trust.within_interval)
    across = _verdict(between, trust.between_interval)
    return (
        f"{method}: within a run a falling loss {inside} quality (rho {within:+.2f}); "
        f"between runs a lower loss {across} it (rho {between:+.2f})."
    )


def _verdict(rho: float, spread: Interval | None) -> str:
    if spread is None or spread.low < 0 < spread.high:
        return "says nothing certain about"
    if rho >= FOLLOWS:
        return "follows"
    return "loosely follows" if rho > 0 else "misleads about"
