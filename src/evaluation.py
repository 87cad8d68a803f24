"""Criteria of a trial's snapshots, measured on one fixed unlabelled subset and kept apart from the trial's record."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import yaml
from jaxtyping import Float, UInt8
from torch import Tensor

from src import check, files
from src.augmentation.views import Augmentation
from src.build import build
from src.criteria.collapse import collapsed
from src.data.pack import Manifest, open_images
from src.loop import Normalise
from src.rng import generator
from src.trial import Trial

if TYPE_CHECKING:
    from src.methods.method import Method

CHUNK = 256
SPACES = ("h", "z")


class Embeddings(NamedTuple):
    """One space of one snapshot."""

    images: Float[Tensor, "n d"]  # the images as they are
    reference: Float[Tensor, "n v d"]  # their views under the study's reference recipe
    own: Float[Tensor, "n v d"]  # their views under the trial's own augmentation


def check_protocol(protocol: dict[str, Any], manifest: Manifest) -> None:
    """Raise ValueError unless the evaluation's settings fit the data."""
    count = manifest.splits["pretrain"]["count"]
    check.number("evaluation.images", protocol["images"], at_least=2, at_most=count, whole=True)
    check.number("evaluation.views", protocol["views"], at_least=2, whole=True)
    check.number("evaluation.seed", protocol["seed"], at_least=0, whole=True)
    check.number("evaluation.collapse.spread", protocol["collapse"]["spread"], at_least=0, below=1)
    check.number("evaluation.collapse.rank", protocol["collapse"]["rank"], at_least=1)
    build(protocol["reference"])


def check_criterion(criterion: dict[str, Any], protocol: dict[str, Any], dimensions: dict[str, int]) -> None:
    """Raise ValueError where a criterion refuses the number of images, views or features it would get."""
    if criterion["space"] not in SPACES:
        return
    n, d = protocol["images"], dimensions[criterion["space"]]
    shape = (n, protocol["views"], d) if criterion["input"] == "views" else (n, d)
    score(criterion, torch.randn(shape, generator=generator(0, "check")))


def score(criterion: dict[str, Any], tensor: Tensor) -> float:
    """A criterion's value on the tensor it asks for."""
    value: float = build(criterion["score"])(tensor)
    return value


@torch.no_grad()
def embed(
    method: Method, images: UInt8[Tensor, "n c h w"], trial: Trial, manifest: Manifest, protocol: dict[str, Any]
) -> dict[str, Embeddings]:
    """Representations h and projections z of the images and their views; the method must be in eval mode."""
    if method.training:
        raise RuntimeError("embeddings are taken in eval mode")
    normalise = Normalise(manifest.mean, manifest.std, str(images.device))
    recipes: dict[str, Augmentation] = {
        "reference": build(protocol["reference"]),
        "own": build(trial.config["augmentation"]),
    }
    parts: dict[str, dict[str, list[Tensor]]] = {space: {} for space in SPACES}

    def keep(name: str, x: Tensor, views: int) -> None:
        h = method.encoder(normalise(x).contiguous(memory_format=torch.channels_last))
        for space, e in (("h", h), ("z", method.projector(h))):
            parts[space].setdefault(name, []).append(e.cpu().unflatten(0, (views, -1)).transpose(0, 1))

    for chunk, batch in enumerate(images.split(CHUNK)):
        keep("images", batch.float().div_(255), 1)
        for name, recipe in recipes.items():
            draw = generator(protocol["seed"], f"evaluate {name}", chunk)
            keep(name, recipe(batch, draw, views=protocol["views"]), protocol["views"])
    joined = {space: {name: torch.cat(chunks) for name, chunks in kept.items()} for space, kept in parts.items()}
    return {space: Embeddings(e["images"][:, 0], e["reference"], e["own"]) for space, e in joined.items()}


def spectrum(e: Float[Tensor, "n d"]) -> list[float]:
    """Eigenvalues of the centred covariance, largest first."""
    centred = e.double() - e.double().mean(0)
    eigenvalues = torch.linalg.svdvals(centred).square() / (len(e) - 1)
    return [float(f"{value:.6g}") for value in eigenvalues]


class Evaluation:
    """The measured criteria of one trial under one protocol: a file beside the record, one entry per criterion.

    Adding a criterion measures the missing entries from the kept snapshots and retrains nothing.
    """

    def __init__(self, trial: Trial, manifest: Manifest, protocol: dict[str, Any], criteria: list[dict[str, Any]]):
        self.trial, self.manifest, self.protocol = trial, manifest, protocol
        self.criteria = {f"{c['name']}-{files.fingerprint(c)[:8]}": c for c in criteria}
        self.path: Path = trial.folder / "criteria" / f"{files.fingerprint(protocol)}.json"
        self.values: dict[str, dict[str, Any]] = files.read_json(self.path)["values"] if self.path.exists() else {}

    def measure(self, step: int, loss: float) -> None:
        """Measure what is missing of one snapshot and write it."""
        have = self.values.setdefault(str(step), {})
        missing = {key: criterion for key, criterion in self.criteria.items() if key not in have}
        if not missing:
            return
        method = self.trial.method(step, self.manifest.channels)
        spaces = embed(method, self._subset, self.trial, self.manifest, self.protocol)
        for key, criterion in missing.items():
            have[key] = self._entry(criterion, spaces, loss)
        have["collapse"] = collapsed(spaces["z"].images, **self.protocol["collapse"])
        have["spectrum"] = {space: spectrum(e.images) for space, e in spaces.items()}
        self._save()

    def watch(self, step: int, method: Method) -> None:
        """Keep the spectrum of a method in training, between snapshots: learning's steps are narrower than those."""
        if str(step) in self.values:
            return
        method.eval()
        normalise = Normalise(self.manifest.mean, self.manifest.std, "cpu")
        with torch.no_grad():
            device = next(method.parameters()).device
            x = normalise(self._subset.float().div_(255)).to(device).contiguous(memory_format=torch.channels_last)
            h = method.encoder(x)
            spaces = {"h": h, "z": method.projector(h)}
        method.train()
        self.values[str(step)] = {"spectrum": {space: spectrum(e.cpu()) for space, e in spaces.items()}}
        self._save()

    def spectrum(self, space: str) -> dict[int, list[float]]:
        """step -> eigenvalues of the centred covariance, largest first."""
        return {int(step): have["spectrum"][space] for step, have in self.values.items() if "spectrum" in have}

    def _save(self) -> None:
        files.write_json(self.path, {"protocol": self.protocol, "values": self.values})

    @cached_property
    def _subset(self) -> Tensor:
        images = open_images(self.manifest, "pretrain")
        chosen = torch.randperm(len(images), generator=generator(self.protocol["seed"], "evaluation subset"))
        return torch.from_numpy(images[chosen[: self.protocol["images"]].sort().values.numpy()])

    def _entry(self, criterion: dict[str, Any], spaces: dict[str, Embeddings], loss: float) -> dict[str, Any]:
        if criterion["space"] not in SPACES:
            return {"value": score(criterion, torch.tensor([loss]))}
        e = spaces[criterion["space"]]
        try:
            if criterion["input"] == "images":
                entry = {"value": score(criterion, e.images)}
            else:
                entry = {"value": score(criterion, e.reference), "own": score(criterion, e.own)}
        except ValueError as refusal:
            return {"refused": str(refusal)}
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            return {"refused": f"numerically singular: {error}"}
        finite = all(math.isfinite(value) for value in entry.values())
        return entry if finite else {"refused": "not finite on these embeddings"}

    def column(self, name: str, kind: str = "value") -> dict[int, float]:
        """step -> value of a criterion, where it was measured and not refused."""
        key = self._key(name)
        return {
            int(step): have[key][kind]
            for step, have in sorted(self.values.items(), key=lambda item: int(item[0]))
            if kind in have.get(key, {})
        }

    def last_collapse(self) -> dict[str, Any]:
        """The collapse gate's verdict on the last measured snapshot; empty where there is none."""
        return self._last().get("collapse", {})

    def refusal(self, name: str) -> str:
        """Why a criterion has no value on the last measured snapshot."""
        reason = self._last().get(self._key(name), {}).get("refused")
        return str(reason or f"{name} was not measured: run python -m src.train again")

    def _last(self) -> dict[str, Any]:
        measured = [step for step, have in self.values.items() if "collapse" in have]
        return self.values[max(measured, key=int)] if measured else {}

    def _key(self, name: str) -> str:
        return next(key for key, criterion in self.criteria.items() if criterion["name"] == name)


def load_criteria(folder: Path, chosen: dict[str, Any]) -> list[dict[str, Any]]:
    """Every criterion of conf/criterion/, the chosen one as it was composed."""
    criteria = [yaml.safe_load(path.read_text()) for path in sorted(folder.glob("*.yaml"))]
    return [chosen if criterion["name"] == chosen["name"] else criterion for criterion in criteria]
