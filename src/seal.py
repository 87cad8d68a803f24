"""The sealed test split: scored for the final picks and the default configuration only, every opening in a ledger."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from src import files
from src.embedding import encode
from src.evaluation import IMPORTED
from src.features import Split, score, trial_features
from src.record import StudyRecord
from src.stats import accuracy, by_group
from src.trial import Trial, build_method, read_trial


def open_seal(
    ledger: Path,
    study: StudyRecord,
    chosen: dict[str, Any],
    confirmation: dict[str, Any] | None,
    probes: dict[str, Any],
) -> dict[str, Any]:
    """The test scores of a selection: read back where the ledger has them, else measured and added to it.

    Raises ValueError where the ledger can't be read.
    """
    probes = {name: probe for name, probe in probes.items() if probe["snapshots"] == "all"}
    picks = _picks(chosen, confirmation)
    test = study.manifest.splits["test"]["checksum"]
    key = files.fingerprint({"selection": chosen, "picks": picks, "probe": probes, "test": test})
    entries = _read(ledger)
    for entry in entries:
        if entry["key"] == key:
            return {"openings": len(entries), "read_back": True, "scores": entry["scores"]}
    scores = _measure(study, picks, probes)
    _append(ledger, {"key": key, "study": study.name, "picks": picks, "scores": scores})
    return {"openings": len(entries) + 1, "read_back": False, "scores": scores}


def _picks(chosen: dict[str, Any], confirmation: dict[str, Any] | None) -> dict[str, list[str]]:
    """Name -> trials whose mean is scored; a confirmed configuration's fresh ones, since its first was selected."""
    picks = {f"pick: trial {winner['number']}": [winner["trial"]] for winner in chosen["winners"]}
    for winner in confirmation["winners"] if confirmation else []:
        fresh = [trial["trial"] for trial in winner["fresh"] if trial["status"] == "complete"]
        picks[f"confirmed: trial {winner['number']}, {len(fresh)} fresh"] = fresh
    return picks


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


def _measure(study: StudyRecord, picks: dict[str, list[str]], probes: dict[str, Any]) -> list[dict[str, Any]]:
    fitted, sealed = Split(study.manifest, "probe"), Split(study.manifest, "test")
    group = sealed.groups.numpy()
    default = study.entries[0]
    untrained: Any = build_method(default.trial.config, study.manifest.channels).eval().encoder

    def per_source(bank: Any, queries: Any) -> dict[str, Any]:
        found = score(probes, fitted.labelled(bank), sealed.labelled(queries), last=True)
        return {name: by_group(np.array([c == "1" for c in result["right"]]), group) for name, result in found.items()}

    def trained(trial: Trial) -> dict[str, Any]:
        features = trial_features(trial, trial.snapshot_steps()[-1], [fitted, sealed])
        return per_source(features["probe"], features["test"])

    measured: dict[str, dict[str, Any]] = {}
    for name, trials in picks.items():
        each = [trained(read_trial(Path(study.folders["store"]) / trial)) for trial in trials]
        measured[name] = {probe: np.mean([found[probe] for found in each], axis=0) for probe in probes}
    if default.trained and default.trial.config["method"]["name"] != IMPORTED:
        measured["default configuration"] = trained(default.trial)
    measured["raw pixels"] = per_source(fitted.pixels(), sealed.pixels())
    measured["untrained encoder"] = per_source(
        *(encode(untrained, split.images, study.manifest) for split in (fitted, sealed))
    )
    first = next(iter(measured.values()))
    return [
        {
            "name": name,
            "scores": {probe: accuracy(values)._asdict() for probe, values in by_probe.items()},
            "pick_minus_this": {probe: accuracy(first[probe] - values)._asdict() for probe, values in by_probe.items()},
        }
        for name, by_probe in measured.items()
    ]
