"""Ranks the trials of a study by one label-free criterion, or says why it can't."""

from __future__ import annotations

from typing import Any

from src import files
from src.record import Entry, StudyRecord
from src.trial import dimensions


def rank(study: StudyRecord, name: str) -> dict[str, Any]:
    """The pick of each method, runners-up in order, and what was dropped with its reason.

    Raises ValueError on an unknown criterion, trials it doesn't compare, or no trial left to pick from.
    """
    if name not in study.criteria:
        raise ValueError(f"criterion must be one of {', '.join(sorted(study.criteria))}, got {name!r}")
    criterion = study.criteria[name]
    dropped = [_dropped(entry, entry.reason) for entry in study.entries if entry.status != "complete"]
    healthy = _once([entry for entry in study.entries if entry.status == "complete"])
    for entry in healthy:
        if entry.criterion(name) is None:
            dropped.append(_dropped(entry, entry.evaluation.refusal(name)))
    ranked = [entry for entry in healthy if entry.criterion(name) is not None]
    if not ranked:
        reasons = "; ".join(sorted({f"{d['status']}: {d['reason']}" for d in dropped}))
        raise ValueError(f"study {study.name} has no trial to pick from ({reasons})")
    by_method: dict[str, list[Entry]] = {}
    for entry in ranked:
        by_method.setdefault(entry.trial.config["method"]["name"], []).append(entry)
    groups = list(by_method.values()) if "method" in criterion["within"] else [ranked]
    for group in groups:
        check_comparable(group, criterion, study.manifest.channels)
    sign = -1 if criterion["direction"] == "higher" else 1
    values = {entry.trial.key: entry.criterion(name) or 0.0 for entry in ranked}
    orders = [sorted(group, key=lambda e: (sign * values[e.trial.key], e.number)) for group in groups]
    return {
        "study": study.name,
        "criterion": criterion,
        "evaluation": study.protocol,
        "winners": [_line(order[0], name) for order in orders],
        "ranking": [_line(entry, name) for order in orders for entry in order],
        "dropped": dropped,
    }


def check_comparable(entries: list[Entry], criterion: dict[str, Any], channels: int) -> None:
    """Raise ValueError where the criterion compares only trials that share something these don't."""
    name, within = criterion["name"], criterion["within"]
    if "dimension" in within:
        sizes = {dimensions(entry.trial, channels)[criterion["space"]] for entry in entries}
        if len(sizes) > 1:
            raise ValueError(
                f"{name} is bounded by the number of features and can't rank trials of different "
                f"{criterion['space']} sizes {sorted(sizes)}: fix model.features and method.projector.dimension, "
                "or choose another criterion"
            )
    if "loss" in within and len({loss_definition(entry) for entry in entries}) > 1:
        swept = {override.partition("=")[0] for entry in entries for override in entry.overrides}
        differing = sorted(key for key in swept if key.startswith(("method.", "augmentation.", "batch_size")))
        raise ValueError(
            f"{name} compares only trials whose loss is defined alike (method, augmentation, batch size), and these "
            f"differ in {', '.join(differing) or 'their configuration'}: choose another criterion"
        )


def loss_definition(entry: Entry) -> str:
    """A fingerprint of everything that defines the pretext loss."""
    config = entry.trial.config
    return files.fingerprint({key: config[key] for key in ("method", "augmentation", "batch_size", "data")})


def _once(entries: list[Entry]) -> list[Entry]:
    """Each trial once, however often it was proposed."""
    return list({entry.trial.key: entry for entry in reversed(entries)}.values())[::-1]


def _dropped(entry: Entry, reason: str) -> dict[str, Any]:
    return {"number": entry.number, "trial": entry.trial.key, "status": entry.status, "reason": reason}


def _line(entry: Entry, name: str) -> dict[str, Any]:
    return {
        "number": entry.number,
        "trial": entry.trial.key,
        "method": entry.trial.config["method"]["name"],
        "step": entry.trial.snapshot_steps()[-1],
        "value": entry.criterion(name),
        "overrides": entry.overrides,
    }
