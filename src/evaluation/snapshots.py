"""Criteria of a trial's snapshots, measured on one fixed unlabelled subset and kept apart from the trial's record."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from src.criteria.collapse import collapsed
from src.data.pack import Manifest, open_images
from src.evaluation.embeddings import Embeddings, embed, held_out_losses
from src.runtime import files, records
from src.runtime.build import build
from src.runtime.rng import generator
from src.trial.identity import Trial, part_name
from src.trial.loop import Normalise

if TYPE_CHECKING:
    from src.methods.method import Method

IMPORTED = "imported"  # the method of encoders that were trained elsewhere
HELD_OUT = "probe"  # its images, never its labels: the nearest unlabelled images that training hasn't seen
MEASURED_ANEW = "delete it, and the study's python -m src.train measures it anew"
DIGITS = 9  # significant digits kept of a value


def columns(criterion: dict[str, Any]) -> list[str]:
    """The columns that a criterion of conf/criterion/ fills: one per space, rankme_z and rankme_h."""
    name = criterion["name"]
    return [f"{name}_{space}" for space in criterion["spaces"]] or [name]


def score(criterion: Callable[..., Any], tensor: Tensor) -> dict[str, Any]:
    """A built criterion's value on the tensor it asks for, with the facts it states beside it."""
    result: Any = criterion(tensor)
    if not isinstance(result, tuple):
        return {"value": _rounded(result)}
    facts = {name: fact for name, fact in result._asdict().items() if name != "value"}  # type: ignore[attr-defined]
    return {"value": _rounded(result[0]), "facts": facts}


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def spectrum(eigenvalues: Tensor) -> list[float]:
    """Eigenvalues of the centred covariance as they are kept, largest first."""
    return [float(f"{value:.6g}") for value in eigenvalues]


class Evaluation:
    """The measured criteria of one trial under one protocol: a file beside the record, one entry per column.

    Adding a criterion measures the missing entries from the kept snapshots and retrains nothing.
    """

    def __init__(self, trial: Trial, manifest: Manifest, protocol: dict[str, Any], criteria: list[dict[str, Any]]):
        self.trial, self.manifest, self.protocol = trial, manifest, protocol
        measured = [criterion for criterion in criteria if criterion["input"] != "columns"]
        self.keys = {column: _key(column, criterion) for criterion in measured for column in columns(criterion)}
        self.criteria = {column: criterion for criterion in measured for column in columns(criterion)}
        self.path: Path = trial.folder / "criteria" / f"{files.fingerprint(protocol)}.json"
        self.values: dict[str, dict[str, Any]] = {}
        if self.path.exists():
            self.values = dict(records.read(self.path, records.CriteriaFile, MEASURED_ANEW)["values"])
        where = {name: protocol[name] for name in ("images", "seed")}
        self.watched_path: Path = trial.folder / "criteria" / f"spectrum-{files.fingerprint(where)}.json"

    def measure(self, step: int, loss: float | None) -> None:
        """Measure what is missing of one snapshot and write it."""
        have = self.values.setdefault(str(step), {})
        missing = {column: criterion for column, criterion in self.criteria.items() if self.keys[column] not in have}
        if not missing:
            return
        method = self.trial.method(step, self.manifest.shape)
        refusals = {column: self._invalid(column, criterion) for column, criterion in missing.items()}
        turned = any(c["input"] == "rotations" and not refusals[column] for column, c in missing.items())
        spaces = embed(method, self._subset, self.trial, self.manifest, self.protocol, turned=turned)
        halves = self._halves(spaces, last=step == self.trial.steps)
        for column, criterion in missing.items():
            if refusals[column]:
                entry: dict[str, Any] = {"refused": refusals[column]}
            elif criterion["input"] == "losses":
                entry = score(self._built[column], torch.tensor([loss]))
            elif criterion["input"] == "heldout_losses":
                losses = held_out_losses(method, self._held_out, self.trial, self.manifest, self.protocol)
                entry = score(self._built[column], losses)
            else:
                space = column.rpartition("_")[2]
                entry = _entry(self._built[column], criterion["input"], spaces[space], [half[space] for half in halves])
            finite = all(math.isfinite(entry.get(kind, 0.0)) for kind in ("value", "own"))
            have[self.keys[column]] = entry if finite else {"refused": f"{column} is not finite on this snapshot"}
        z = spaces["z"]
        gated = z.images
        if self._without_projector:  # a rectifier's features share a large mean, which is no collapse
            gated = gated - gated.mean(0)
        have["collapse"] = collapsed(gated, z.eigenvalues, **self.protocol["collapse"])
        have["spectrum"] = _spectra(spaces)
        files.write_json(self.path, {"protocol": self.protocol, "values": self.values})

    def watch(self, step: int, method: Method) -> None:
        """Keep the spectrum of a method in training, between snapshots: learning's steps are narrower than those."""
        watched = self._watched()
        if str(step) in watched:
            return
        method.eval()
        normalise = Normalise(self.manifest.mean, self.manifest.std, "cpu")
        with torch.no_grad():
            device = next(method.parameters()).device
            x = normalise(self._subset.float().div_(255)).to(device).contiguous(memory_format=torch.channels_last)
            h = method.encoder(x)
            spaces = {"h": h.cpu(), "z": method.projector(h).cpu()}
        method.train()
        watched[str(step)] = _spectra({space: Embeddings(e, e, e, None, len(e)) for space, e in spaces.items()})
        files.write_json(self.watched_path, watched)

    def _watched(self) -> dict[str, Any]:
        if not self.watched_path.exists():
            return {}
        return dict(records.read(self.watched_path, records.SpectraFile, MEASURED_ANEW))

    def spectrum(self, space: str) -> dict[int, list[float]]:
        """step -> eigenvalues of the centred covariance, largest first."""
        kept = self._watched() | {step: have["spectrum"] for step, have in self.values.items() if "spectrum" in have}
        ordered = sorted(kept.items(), key=lambda item: int(item[0]))
        return {int(step): have[space] for step, have in ordered if space in have}

    @cached_property
    def _built(self) -> dict[str, Any]:
        return {column: build("criterion", criterion["score"]) for column, criterion in self.criteria.items()}

    @cached_property
    def _subset(self) -> Tensor:
        return _drawn(self.manifest, "pretrain", self.protocol)

    @cached_property
    def _held_out(self) -> Tensor:
        return _drawn(self.manifest, HELD_OUT, self.protocol)

    def _halves(self, spaces: dict[str, Embeddings], *, last: bool) -> list[dict[str, Embeddings]]:
        """The embeddings of random halves of the images, the same halves for every trial; of the last snapshot only."""
        n = len(spaces["h"].images)
        halves = []
        for number in range(self.protocol["halves"] if last else 0):
            index = torch.randperm(n, generator=generator(self.protocol["seed"], "half", number))[: n // 2]
            halves.append({space: e.half(index.sort().values) for space, e in spaces.items()})
        return halves

    @property
    def _without_projector(self) -> bool:
        return self.trial.config["method"].get("projector") is None

    def _invalid(self, column: str, criterion: dict[str, Any]) -> str:
        """Why a criterion means nothing for this trial or this data; empty where it does."""
        name = part_name(self.trial.config, "method")
        if name == IMPORTED and criterion["input"] in ("losses", "heldout_losses"):
            return f"{column}: the loss of an adopted encoder is unknown"
        if "classes" in self.trial.config["data"] and criterion["input"] == "heldout_losses":
            return f"{column}: {name} has no loss without labels"
        if column.endswith("_z") and self._without_projector:
            return f"{column}: {name} has no projector, so that there is no z"
        if criterion["input"] != "rotations":
            return ""
        if name == "rotation":
            return f"{criterion['name']} means nothing where training predicts rotations: it is the pretext itself"
        augmentation = self.trial.config["augmentation"]
        turning = augmentation["rotate"]["radians"] * augmentation["rotate"]["probability"]
        if (turning + augmentation["flip"]["vertical"]) * augmentation["strength"] > 0:
            fixed = "augmentation.rotate.radians=0 and augmentation.flip.vertical=0"
            return f"{criterion['name']} means nothing where training turns its views: set {fixed}"
        if not self.manifest.oriented:
            return f"{criterion['name']} needs images with a way up: set data.oriented=true and prepare them again"
        return ""

    def column(self, name: str, kind: str = "value") -> dict[int, Any]:
        """step -> value of a column, where it was measured and not refused."""
        key = self.keys[name]
        return {
            int(step): have[key][kind]
            for step, have in sorted(self.values.items(), key=lambda item: int(item[0]))
            if kind in have.get(key, {})
        }

    def collapse(self, step: int) -> dict[str, Any]:
        """The collapse gate's verdict on a snapshot; empty where it wasn't measured."""
        return dict(self.values.get(str(step), {}).get("collapse", {}))

    def last_collapse(self) -> dict[str, Any]:
        """The verdict on the last measured snapshot; empty where there is none."""
        return self._last().get("collapse", {})

    def refusal(self, name: str) -> str:
        """Why a column has no value on the last measured snapshot."""
        reason = self._last().get(self.keys[name], {}).get("refused")
        return str(reason or f"{name} was not measured: run python -m src.train again")

    def _last(self) -> dict[str, Any]:
        measured = [step for step, have in self.values.items() if "collapse" in have]
        return self.values[max(measured, key=int)] if measured else {}


def _key(column: str, criterion: dict[str, Any]) -> str:
    """What an entry is kept under: whatever decides its value."""
    decides = {name: criterion[name] for name in ("score", "input", "version")}
    return f"{column}-{files.fingerprint(decides)[:8]}"


def _entry(criterion: Callable[..., Any], name: str, e: Embeddings, halves: Iterable[Embeddings]) -> dict[str, Any]:
    """The value on what ``name`` names; under the trial's own recipe too for views; and of each half of the images."""
    try:
        entry = score(criterion, getattr(e, name))
        if name == "views":
            entry["own"] = score(criterion, e.own)["value"]
    except ValueError as refusal:
        return {"refused": str(refusal)}
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        return {"refused": f"numerically singular: {error}"}
    try:
        values = [score(criterion, getattr(half, name))["value"] for half in halves]
    except (ValueError, torch.linalg.LinAlgError):  # type: ignore[attr-defined]
        values = []  # too few images in a half
    if values and all(math.isfinite(value) for value in values):
        entry["halves"] = values
    return entry


def _spectra(spaces: dict[str, Embeddings]) -> dict[str, list[float]]:
    return {space: spectrum(e.eigenvalues) for space, e in spaces.items() if e.eigenvalues.isfinite().all()}


def _drawn(manifest: Manifest, split: str, protocol: dict[str, Any]) -> Tensor:
    """The images of a split that are measured, in their order."""
    images = open_images(manifest, split)
    order = torch.randperm(len(images), generator=generator(protocol["seed"], "evaluation subset"))
    return torch.from_numpy(images[order[: protocol["images"]].sort().values.numpy()])
