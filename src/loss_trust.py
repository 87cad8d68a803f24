"""Could the loss be trusted in this study? Its rank correlation with quality, within runs and between them."""

from __future__ import annotations

from typing import Any

import numpy as np

from src.judgement import correlations, means_of
from src.pool import Floats, Member
from src.stats import interval

FOLLOWS = 0.5  # a rank correlation from which on a loss is said to follow quality


def loss_trust(members: list[Member], quality: str, *, resampled: int, seed: int) -> dict[str, Any]:
    """Spearman's rho of the falling loss with quality: +1 where the loss could be trusted, -1 where it misleads.

    Within runs: over the snapshots of each trial, averaged over trials. Between runs: over the trials' last snapshots.
    Intervals from resampled trials. None where there are too few to say.
    """
    runs = [m for m in members if all(s.loss is not None and quality in s.probes for s in m.snapshots) and m.snapshots]
    within = np.array([_within(member, quality) for member in runs], dtype=float)
    loss = np.array([-float(member.last.loss or 0.0) for member in runs])
    truth = np.array([member.last.probes[quality]["top1"] for member in runs])
    draws = np.random.default_rng(seed).integers(max(len(runs), 1), size=(resampled, len(runs)))
    known = within[~np.isnan(within)]
    between = _rho(loss[None], truth[None])[0] if len(runs) > 2 else np.nan
    rising = [m for m in runs if _within(m, quality) < 0 and m.last.probes[quality]["top1"] > _first(m, quality)]
    return {
        "within": float(known.mean()) if len(known) else None,
        "within_interval": interval(means_of(within[draws], 1)) if len(known) else None,
        "between": None if np.isnan(between) else float(between),
        "between_interval": interval(_rho(loss[draws], truth[draws])) if len(runs) > 2 else None,
        "trials": len(runs),
        "rising_while_improving": len(rising),
    }


def _first(member: Member, quality: str) -> float:
    return member.snapshots[0].probes[quality]["top1"]


def _rho(x: Floats, y: Floats) -> Floats:
    return correlations(x, y)[1]


def _within(member: Member, quality: str) -> float:
    loss = np.array([[-float(s.loss or 0.0) for s in member.snapshots]])
    truth = np.array([[s.probes[quality]["top1"] for s in member.snapshots]])
    return float(_rho(loss, truth)[0])


def sentence(method: str, trust: dict[str, Any]) -> str:
    """Whether this study's loss could be trusted, in one plain sentence."""
    within, between = trust["within"], trust["between"]
    if within is None or between is None:
        return f"{method}: too few trials or snapshots to say whether the loss could be trusted."
    inside = _verdict(within, trust["within_interval"])
    across = _verdict(between, trust["between_interval"])
    return (
        f"{method}: within a run a falling loss {inside} quality (rho {within:+.2f}); "
        f"between runs a lower loss {across} it (rho {between:+.2f})."
    )


def _verdict(rho: float, spread: tuple[float, float] | None) -> str:
    if spread is None or spread[0] < 0 < spread[1]:
        return "says nothing certain about"
    if rho >= FOLLOWS:
        return "follows"
    return "follows only loosely" if rho > 0 else "misleads about"
