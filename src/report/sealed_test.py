"""The sealed test split: scored for the final picks and the default configuration only, every opening in a ledger."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from src.evaluation.embeddings import encode
from src.probe.features import Split, score, trial_features
from src.runtime import files
from src.runtime.records import SealEntry, read_line
from src.runtime.stats import accuracy, by_group
from src.study.stored import StoredStudy
from src.trial.identity import Trial, build_method, read_trial


def open_seal(
    ledger: Path,
    study: StoredStudy,
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
    with files.locked(ledger.with_suffix(".lock")):
        entries = _read(ledger)
        for entry in entries:
            if entry["key"] == key:
                return {"openings": len(entries), "read_back": True, "scores": entry["scores"]}
        scores = _measure(study, picks, probes)
        _append(ledger, {"key": key, "study": study.name, "picks": picks, "scores": scores})
    return {"openings": len(entries) + 1, "read_back": False, "scores": scores}


def _picks(chosen: dict[str, Any], confirmation: dict[str, Any] | None) -> list[dict[str, Any]]:
    """What is scored: each pick, and the mean of a confirmed one's fresh trials, since its first was selected."""
    picks = [_pick("pick", winner, [winner["trial"]]) for winner in chosen["winners"]]
    for winner in confirmation["winners"] if confirmation else []:
        fresh = [trial["trial"] for trial in winner["fresh"] if trial["status"] == "complete"]
        picks.append(_pick("confirmed", winner, fresh))
    return picks


def _pick(kind: str, winner: dict[str, Any], trials: list[str]) -> dict[str, Any]:
    name = f"{kind}: trial {winner['number']} at step {winner['step']}"
    return {"name": name if kind == "pick" else f"{name}, {len(trials)} fresh", "kind": kind, "trials": trials} | {
        key: winner[key] for key in ("number", "method", "step")
    }


def _read(ledger: Path) -> list[dict[str, Any]]:
    if not ledger.exists():
        return []
    text = ledger.read_text()
    whole = text[: text.rfind("\n") + 1]  # a line that a crash cut off is no opening: its scores were shown to nobody
    if whole != text:
        files.write_atomically(ledger, whole.encode())
    cure = "restore the ledger of test openings from a backup"
    lines = enumerate(whole.encode().splitlines(), 1)
    return [dict(read_line(line, SealEntry, f"{ledger}, line {number}", cure)) for number, line in lines]


def _append(ledger: Path, entry: dict[str, Any]) -> None:
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with ledger.open("a") as file:
        file.write(json.dumps(entry, sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _measure(study: StoredStudy, picks: list[dict[str, Any]], probes: dict[str, Any]) -> list[dict[str, Any]]:
    fitted, sealed = Split(study.manifest, "probe"), Split(study.manifest, "test")
    group = sealed.groups.numpy()
    first = study.entries[0].trial.config
    untrained: Any = build_method(first, study.manifest.shape).eval().encoder

    def per_source(bank: Any, queries: Any) -> dict[str, Any]:
        found = score(probes, fitted.labelled(bank), sealed.labelled(queries), last=True)
        return {name: by_group(np.array([c == "1" for c in result["right"]]), group) for name, result in found.items()}

    def trained(trial: Trial, step: int) -> dict[str, Any]:
        features = trial_features(trial, step, [fitted, sealed])
        return per_source(features["probe"], features["test"])

    store = Path(study.folders["store"])
    rows: list[dict[str, Any]] = []
    for pick in picks:
        each = [trained(read_trial(store / trial), pick["step"]) for trial in pick["trials"]]
        rows.append(pick | {"scores": {probe: np.mean([found[probe] for found in each], axis=0) for probe in probes}})
    default = next((entry.trial for entry in study.entries if entry.trial.key == study.default and entry.trained), None)
    by_default = None
    if default is not None:
        by_default = trained(default, default.snapshot_steps()[-1])
        rows.append({"name": "default configuration", "kind": "reference", "scores": by_default})
    rows.append({"name": "raw pixels", "kind": "reference", "scores": per_source(fitted.pixels(), sealed.pixels())})
    blank = [encode(untrained, split.images, study.manifest) for split in (fitted, sealed)]
    rows.append({"name": "untrained encoder", "kind": "reference", "scores": per_source(*blank)})
    return [_stated(row, by_default) for row in rows]


def _stated(row: dict[str, Any], by_default: dict[str, Any] | None) -> dict[str, Any]:
    """A row with means and standard errors, and its paired difference to the default configuration."""
    return row | {
        "scores": {probe: accuracy(values)._asdict() for probe, values in row["scores"].items()},
        "minus_default": None
        if by_default is None
        else {probe: accuracy(values - by_default[probe])._asdict() for probe, values in row["scores"].items()},
    }
