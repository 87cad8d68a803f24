"""Joins selection and probe: what every criterion's pick cost, and what the final pick is worth."""

from __future__ import annotations

from typing import Any

import numpy as np

from src.ranking import check_comparable, loss_definition
from src.record import Entry, StudyRecord
from src.stats import Floats, accuracy, by_group, cross_fitted_regret, kendall

QUALITY = "knn"  # the probe that regret and correlation are stated in


class Pool:
    """The healthy trials of a study with their accuracy on each source image of val."""

    def __init__(self, study: StudyRecord, probed: dict[str, Any], group: np.ndarray) -> None:
        healthy = {entry.trial.key: entry for entry in study.entries if entry.status == "complete"}
        self.entries = [entry for entry in study.entries if healthy.get(entry.trial.key) is entry]
        self.scores = [last_snapshot(probed["trials"][entry.trial.key]) for entry in self.entries]
        right = np.array([[digit == "1" for digit in score[QUALITY]["right"]] for score in self.scores])
        self.per_source: Floats = by_group(right, group)

    def index(self, trial: str) -> int:
        return next(i for i, entry in enumerate(self.entries) if entry.trial.key == trial)


def last_snapshot(snapshots: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = snapshots[max(snapshots, key=int)]
    return found


def find(
    study: StudyRecord, probed: dict[str, Any], chosen: dict[str, Any], group: np.ndarray, settings: dict[str, Any]
) -> dict[str, Any]:
    """Every number of the report but those of the sealed test split."""
    pool = Pool(study, probed, group)
    knn_means = pool.per_source.mean(1)
    regrets = cross_fitted_regret(
        pool.per_source, np.arange(len(pool.entries)), halvings=settings["halvings"], seed=settings["seed"]
    )
    random_regret = float(regrets.mean())
    rows = [_criterion_row(study, pool, name, regrets, random_regret, settings) for name in study.criteria]
    default = study.entries[0]
    rows.append(_row("random choice", None, float(knn_means.mean()), random_regret, random_regret))
    if default.status == "complete":
        index = pool.index(default.trial.key)
        rows.append(
            _row("default configuration", default.number, float(knn_means[index]), regrets[index], random_regret)
        )
    return {
        "study": study.name,
        "criterion": chosen["criterion"]["name"],
        "method": sorted({entry.trial.config["method"]["name"] for entry in study.entries}),
        "quality": f"{QUALITY} top-1",
        "pool": {
            "trials": len(study.entries),
            "healthy": len(pool.entries),
            "best": float(knn_means.max()),
            "worst": float(knn_means.min()),
            "mean": float(knn_means.mean()),
            "random_regret": random_regret,
            "val_sources": int(pool.per_source.shape[1]),
            "standard_error": accuracy(pool.per_source[int(knn_means.argmax())]).error,
        },
        "val": {
            name: {probe: scores[probe]["top1"] for probe in probed["probe"]}
            for name, scores in probed["baselines"].items()
        },
        "picks": chosen["winners"],
        "criteria": rows,
        "trials": [_trial_row(study, entry, probed) for entry in study.entries],
        "dropped": chosen["dropped"],
    }


def _row(name: str, pick: int | None, value: float, regret: float, random_regret: float, **more: Any) -> dict[str, Any]:
    ratio = float(regret) / random_regret if random_regret > 0 else None
    return {"name": name, "pick": pick, "knn": value, "regret": float(regret), "over_random": ratio, **more}


def _criterion_row(
    study: StudyRecord, pool: Pool, name: str, regrets: Floats, random_regret: float, settings: dict[str, Any]
) -> dict[str, Any]:
    criterion = study.criteria[name]
    values = [entry.criterion(name) for entry in pool.entries]
    known = [i for i, value in enumerate(values) if value is not None]
    if not known:
        return {"name": name, "direction": criterion["direction"], "note": pool.entries[0].evaluation.refusal(name)}
    sign = 1 if criterion["direction"] == "higher" else -1
    signed = np.array([sign * values[i] for i in known])  # type: ignore[operator]
    pick = known[int(signed.argmax())]
    tau, low, high = kendall(signed, pool.per_source[known], resamples=settings["resamples"], seed=settings["seed"])
    correlation = {} if np.isnan(tau) else {"tau": tau, "tau_low": low, "tau_high": high}
    return _row(
        name,
        pool.entries[pick].number,
        float(pool.per_source[pick].mean()),
        regrets[pick],
        random_regret,
        direction=criterion["direction"],
        space=criterion["space"],
        **correlation,
        note=_caution(study, [pool.entries[i] for i in known], criterion),
    )


def _caution(study: StudyRecord, entries: list[Entry], criterion: dict[str, Any]) -> str:
    """Why selection would refuse this criterion here; empty where it wouldn't."""
    try:
        check_comparable(entries, criterion, study.manifest.channels)
    except ValueError as refused:
        return f"selection refuses it here: {str(refused).partition(':')[0]}"
    return ""


def _trial_row(study: StudyRecord, entry: Entry, probed: dict[str, Any]) -> dict[str, Any]:
    snapshots = probed["trials"][entry.trial.key]
    scores = last_snapshot(snapshots) if snapshots else {}
    record = entry.trial.record()
    return {
        "number": entry.number,
        "trial": entry.trial.key,
        "status": entry.status,
        "reason": entry.reason,
        "overrides": entry.overrides,
        "loss_group": loss_definition(entry),
        "tflops": record["flops"] / 1e12 if record else None,
        **{f"{probe}": score["top1"] for probe, score in scores.items()},
        "criteria": {name: entry.criterion(name) for name in study.criteria} if entry.trained else {},
        "best_step": max(snapshots, key=lambda step: snapshots[step][QUALITY]["top1"]) if snapshots else None,
        "over_training": [
            {"images": int(step) * entry.trial.config["batch_size"], "knn": score[QUALITY]["top1"]}
            for step, score in sorted(snapshots.items(), key=lambda item: int(item[0]))
        ],
    }
