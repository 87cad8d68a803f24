"""The sealed test split: scored for the final picks and the default configuration only, every opening in a ledger."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from src.evaluation.embeddings import encode
from src.probe.features import Split, score, trial_features
from src.report.numbers import Pick, PickScores, ReferenceScores, SealEntry
from src.runtime import files, records
from src.runtime.stats import Estimate, Floats, accuracy, by_group
from src.study.results import Confirmation, ConfirmedWinner, ProbeDefinition, RankedTrial, Selection
from src.study.stored import StoredStudy
from src.trial.identity import Trial, read_trial
from src.trial.method import build_method

Right = dict[str, Floats]  # probe -> share right of each source image of test


class Opened(NamedTuple):
    """What the ledger says about a selection."""

    openings: int  # of the test split, in all
    scores: list[PickScores | ReferenceScores]


def open_seal(
    ledger: Path,
    study: StoredStudy,
    chosen: Selection,
    confirmation: Confirmation | None,
    probes: Mapping[str, ProbeDefinition],
) -> Opened:
    """The test scores of a selection: read back where the ledger has them, else measured and added to it.

    Raises ValueError where the ledger can't be read.
    """
    of_images = {name: probe for name, probe in probes.items() if probe.snapshots == "all"}
    picks = _picks(chosen, confirmation)
    test = study.manifest.splits.test.checksum
    key = files.fingerprint({"selection": chosen, "picks": picks, "probe": of_images, "test": test})
    # Two reports at once would open the seal twice: the second waits and reads the first one's line.
    with files.locked(ledger.with_suffix(".lock")):
        entries = read_ledger(ledger)
        for entry in entries:
            if entry.key == key:
                return Opened(len(entries), entry.scores)
        scores = Sealed(study, of_images).scores(picks)
        _append(ledger, SealEntry(key, study.name, picks, scores))
    return Opened(len(entries) + 1, scores)


def _picks(chosen: Selection, confirmation: Confirmation | None) -> list[Pick]:
    """What is scored: each pick, and the mean of a confirmed one's fresh trials, since its first was selected."""
    confirmed = [] if confirmation is None else confirmation.winners
    return [*map(_picked, chosen.winners), *map(_confirmed, confirmed)]


def _picked(winner: RankedTrial) -> Pick:
    return Pick(
        name=f"pick: trial {winner.number} at step {winner.step}",
        kind="pick",
        trials=[winner.trial],
        number=winner.number,
        method=winner.method,
        step=winner.step,
    )


def _confirmed(winner: ConfirmedWinner) -> Pick:
    fresh = [trial.trial for trial in winner.fresh if trial.status == "complete"]
    return Pick(
        name=f"confirmed: trial {winner.number} at step {winner.step}, {len(fresh)} fresh",
        kind="confirmed",
        trials=fresh,
        number=winner.number,
        method=winner.method,
        step=winner.step,
    )


def read_ledger(ledger: Path) -> list[SealEntry]:
    """Every opening, a line that a crash cut off removed. Raises ValueError where another can't be read."""
    if not ledger.exists():
        return []
    content = ledger.read_bytes()
    # A line that a crash cut off is no opening: nobody saw its scores.
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        files.write_atomically(ledger, whole)
    cure = "restore the ledger of test openings from a backup"
    lines = enumerate(whole.splitlines(), 1)
    return [records.parsed(line, SealEntry, f"{ledger}, line {number}", cure) for number, line in lines]


def _append(ledger: Path, entry: SealEntry) -> None:
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with ledger.open("a") as file:
        file.write(json.dumps(files.plain(entry), sort_keys=True) + "\n")
        file.flush()
        # On disk before anybody sees a score: an opening can't be lost.
        os.fsync(file.fileno())


class Sealed:
    """The test split of a study, and the split that probes are fitted on."""

    def __init__(self, study: StoredStudy, probes: Mapping[str, ProbeDefinition]) -> None:
        self.study, self.probes = study, dict(probes)
        self.fitted, self.test = Split(study.manifest, "probe"), Split(study.manifest, "test")

    def scores(self, picks: list[Pick]) -> list[PickScores | ReferenceScores]:
        """Of the picks, of the default configuration where the study has one, and of two encoders without training."""
        of_picks = [(pick, self._of_pick(pick)) for pick in picks]
        references: dict[str, Right] = {}
        default = self._default()
        if default is not None:
            references["default configuration"] = self._of_trial(default, default.snapshot_steps()[-1])
        by_default = references.get("default configuration")
        references["raw pixels"] = self._right(self.fitted.pixels(), self.test.pixels())
        references["untrained encoder"] = self._of_untrained()
        rows: list[PickScores | ReferenceScores] = []
        for pick, right in of_picks:
            rows.append(PickScores(**vars(pick), scores=_means(right), minus_default=_gains(right, by_default)))
        for name, right in references.items():
            rows.append(ReferenceScores(name, "reference", _means(right), _gains(right, by_default)))
        return rows

    def _default(self) -> Trial | None:
        entries = (entry for entry in self.study.entries if entry.trained)
        return next((entry.trial for entry in entries if entry.trial.key == self.study.default), None)

    def _of_pick(self, pick: Pick) -> Right:
        """The mean over a pick's trials."""
        store = Path(self.study.folders.store)
        each = [self._of_trial(read_trial(store / trial), pick.step) for trial in pick.trials]
        return {probe: np.mean([right[probe] for right in each], axis=0) for probe in each[0]}

    def _of_trial(self, trial: Trial, step: int) -> Right:
        features = trial_features(trial, step, [self.fitted, self.test])
        return self._right(features["probe"], features["test"])

    def _of_untrained(self) -> Right:
        method = build_method(self.study.entries[0].trial.config, self.study.manifest.shape)
        encoder = method.eval().encoder
        return self._right(*(encode(encoder, split.images, self.study.manifest) for split in (self.fitted, self.test)))

    def _right(self, bank: Tensor, queries: Tensor) -> Right:
        """What probes fitted on the first features, of the probe split, make of the second, of test.

        Of those that say which images they got right: a cross-validated skill has no test images.
        """
        results = score(self.probes, self.fitted.labelled(bank), self.test.labelled(queries), last=True)
        group = self.test.groups.numpy()
        flags = {name: _as_flags(result.right) for name, result in results.items() if result.right is not None}
        return {name: by_group(right, group) for name, right in flags.items()}


def _as_flags(right: str) -> np.ndarray:
    return np.array([digit == "1" for digit in right])


def _means(right: Right) -> dict[str, Estimate]:
    return {probe: accuracy(values) for probe, values in right.items()}


def _gains(right: Right, by_default: Right | None) -> dict[str, Estimate] | None:
    """Paired differences to the default configuration."""
    if by_default is None:
        return None
    return {probe: accuracy(values - by_default[probe]) for probe, values in right.items()}
