"""The sealed test split: scored for the final picks and the default configuration only, every opening in a ledger."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from src import files
from src.features import Split, encode, score, trial_features
from src.record import StudyRecord
from src.stats import accuracy, by_group
from src.trial import Trial, build_method


def open_seal(ledger: Path, study: StudyRecord, chosen: dict[str, Any], probes: dict[str, Any]) -> dict[str, Any]:
    """The test scores of a selection: read back where the ledger has them, else measured and added to it.

    Raises ValueError where the ledger can't be read.
    """
    key = files.fingerprint({"selection": chosen, "probe": probes, "test": study.manifest.splits["test"]["checksum"]})
    entries = _read(ledger)
    for entry in entries:
        if entry["key"] == key:
            return {"openings": len(entries), "read_back": True, "scores": entry["scores"]}
    scores = _measure(study, chosen, probes)
    _append(
        ledger, {"key": key, "study": study.name, "picks": [w["trial"] for w in chosen["winners"]], "scores": scores}
    )
    return {"openings": len(entries) + 1, "read_back": False, "scores": scores}


def _read(ledger: Path) -> list[dict[str, Any]]:
    if not ledger.exists():
        return []
    try:
        return [json.loads(line) for line in ledger.read_text().splitlines()]
    except ValueError as error:
        raise ValueError(f"{ledger} is not a ledger of test openings ({error}): restore it from a backup") from None


def _append(ledger: Path, entry: dict[str, Any]) -> None:
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with ledger.open("a") as file:
        file.write(json.dumps(entry, sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _measure(study: StudyRecord, chosen: dict[str, Any], probes: dict[str, Any]) -> list[dict[str, Any]]:
    fitted, sealed = Split(study.manifest, "probe"), Split(study.manifest, "test")
    default = study.entries[0]
    untrained = build_method(default.trial.config, study.manifest.channels).eval().encoder

    def last(trial: Trial) -> dict[str, Any]:
        features = trial_features(trial, trial.snapshot_steps()[-1], [fitted, sealed])
        return score(probes, fitted, sealed, features["probe"], features["test"])

    measured: dict[str, dict[str, Any]] = {}
    trials = {entry.trial.key: entry.trial for entry in study.entries}
    for winner in chosen["winners"]:
        measured[f"pick: trial {winner['number']}"] = last(trials[winner["trial"]])
    if default.trained:
        measured["default configuration"] = last(default.trial)
    measured["raw pixels"] = score(probes, fitted, sealed, fitted.pixels(), sealed.pixels())
    measured["untrained encoder"] = score(probes, fitted, sealed, encode(untrained, fitted), encode(untrained, sealed))

    group = sealed.groups.numpy()
    per_source = {
        name: {probe: by_group(np.array([c == "1" for c in result[probe]["right"]]), group) for probe in probes}
        for name, result in measured.items()
    }
    first = next(iter(per_source))
    return [
        {
            "name": name,
            **{probe: accuracy(values)._asdict() for probe, values in by_probe.items()},
            "pick_minus_this": {
                probe: accuracy(per_source[first][probe] - values)._asdict() for probe, values in by_probe.items()
            },
        }
        for name, by_probe in per_source.items()
    ]
