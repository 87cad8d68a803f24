"""Measures the criteria of a trial's snapshots on one fixed unlabelled subset."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from src.augmentation.views import Augmentation
from src.criteria.collapse import collapsed
from src.data.pack import Manifest, open_images
from src.evaluation.criterion import Criterion, Protocol
from src.evaluation.embeddings import Embeddings, embed, held_out_losses
from src.evaluation.measurements import Measured, Measurements, Spectra, Verdict
from src.evaluation.validity import why_meaningless
from src.runtime.build import build
from src.runtime.rng import generator
from src.trial.config import Space
from src.trial.identity import Trial
from src.trial.loop import Normalise

if TYPE_CHECKING:
    from src.methods.method import Method

HELD_OUT = "probe"  # its images, never its labels: the nearest unlabelled images that training hasn't seen
DIGITS = 9  # significant digits kept of a value

Score = Callable[[Tensor], float | tuple[float, ...]]  # a criterion: its value, or a named tuple that begins with it


def score(criterion: Score, tensor: Tensor) -> Measured:
    """A built criterion's value on the tensor it asks for, with the facts it states beside it."""
    result = criterion(tensor)
    if not isinstance(result, tuple):
        return Measured(value=_rounded(result))
    names: tuple[str, ...] = result._fields  # type: ignore[attr-defined]  # a NamedTuple
    facts = {name: fact for name, fact in zip(names, result, strict=True) if name != "value"}
    return Measured(value=_rounded(result[0]), facts=facts)


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def spectrum(eigenvalues: Tensor) -> list[float]:
    """Eigenvalues of the centred covariance as they are kept, largest first."""
    return [float(f"{value:.6g}") for value in eigenvalues]


class Evaluation:
    """Measures one trial under one protocol.

    Adding a criterion measures the missing entries from the kept snapshots and retrains nothing.
    """

    def __init__(self, trial: Trial, manifest: Manifest, protocol: Protocol, criteria: list[Criterion]) -> None:
        self.trial, self.manifest, self.protocol = trial, manifest, protocol
        self.kept = Measurements(trial, protocol, criteria)

    def measure(self, step: int, loss: float | None) -> None:
        """Measure what is missing of one snapshot and write it."""
        missing = self.kept.missing(step)
        if not missing:
            return
        method = self.trial.method(step, self.manifest.shape)
        recipe: Augmentation = build("augmentation", self.trial.config.augmentation)
        refusals = {
            column: why_meaningless(criterion, column, method, recipe, self.manifest)
            for column, criterion in missing.items()
        }
        turned = any(c.input == "rotations" and not refusals[column] for column, c in missing.items())
        spaces = embed(method, self._subset, self.trial, self.manifest, self.protocol, turned=turned)
        # noise of the last snapshot alone: of every snapshot it would take much of the evaluation's time
        halves = self._halves(spaces) if step == self.trial.steps else []
        measured = {}
        for column, criterion in missing.items():
            if refusals[column]:
                measured[column] = Measured(refused=refusals[column])
            else:
                measured[column] = self._measured(column, criterion, method, loss, spaces, halves)
        z = spaces["z"]
        # without a projector z is a rectifier's features, which share a large mean: that is no collapse
        gated = z.images if method.has_projector else z.images - z.images.mean(0)
        gate = self.protocol.collapse
        verdict = Verdict(*collapsed(gated, z.eigenvalues, spread=gate.spread, rank=gate.rank))
        self.kept.add(step, measured, verdict, _spectra(spaces))

    def _measured(
        self,
        column: str,
        criterion: Criterion,
        method: Method,
        loss: float | None,
        spaces: dict[Space, Embeddings],
        halves: list[dict[Space, Embeddings]],
    ) -> Measured:
        if criterion.input == "losses":
            outcome = score(self._built[column], torch.tensor([loss]))
        elif criterion.input == "heldout_losses":
            losses = held_out_losses(method, self._held_out, self.trial, self.manifest, self.protocol)
            outcome = score(self._built[column], losses)
        else:
            space = criterion.space_of(column)
            assert space is not None  # what isn't a loss is measured on embeddings
            in_halves = [half[space] for half in halves]
            outcome = _in_space(self._built[column], criterion.input, spaces[space], in_halves)
        values = (value for value in (outcome.value, outcome.own) if value is not None)
        if all(map(math.isfinite, values)):
            return outcome
        return Measured(refused=f"{column} is not finite on this snapshot")

    def watch(self, step: int, method: Method) -> None:
        """Keep the spectrum of a method in training; snapshots are too far apart to show how it changes."""
        if str(step) in self.kept.watched():
            return
        method.eval()
        normalise = Normalise(self.manifest.mean, self.manifest.std, "cpu")
        with torch.no_grad():
            device = next(method.parameters()).device
            x = normalise(self._subset.float().div_(255)).to(device).contiguous(memory_format=torch.channels_last)
            h = method.encoder(x)
            spaces: dict[Space, Tensor] = {"h": h.cpu(), "z": method.projector(h).cpu()}
        method.train()
        self.kept.add_watched(step, _spectra({space: Embeddings(e, e, e, None, len(e)) for space, e in spaces.items()}))

    @cached_property
    def _built(self) -> dict[str, Score]:
        return {column: build("criterion", criterion.score) for column, criterion in self.kept.criteria.items()}

    @cached_property
    def _subset(self) -> Tensor:
        return _drawn(self.manifest, "pretrain", self.protocol)

    @cached_property
    def _held_out(self) -> Tensor:
        return _drawn(self.manifest, HELD_OUT, self.protocol)

    def _halves(self, spaces: dict[Space, Embeddings]) -> list[dict[Space, Embeddings]]:
        """The embeddings of random halves of the images, the same halves for every trial."""
        n = len(spaces["h"].images)
        halves = []
        for number in range(self.protocol.halves):
            index = torch.randperm(n, generator=generator(self.protocol.seed, "half", number))[: n // 2]
            halves.append({space: e.half(index.sort().values) for space, e in spaces.items()})
        return halves


def _in_space(criterion: Score, name: str, e: Embeddings, halves: Iterable[Embeddings]) -> Measured:
    """The value on what ``name`` names; under the trial's own recipe too for views; and of each half of the images."""
    try:
        outcome = score(criterion, getattr(e, name))
        if name == "views":
            outcome = replace(outcome, own=score(criterion, e.own).value)
    except ValueError as refusal:
        return Measured(refused=str(refusal))
    except LinAlgError as error:
        return Measured(refused=f"numerically singular: {error}")
    try:
        scores = [score(criterion, getattr(half, name)).value for half in halves]
    except (ValueError, LinAlgError):
        return outcome  # too few images in a half
    values = [value for value in scores if value is not None]
    return replace(outcome, halves=values) if values and all(map(math.isfinite, values)) else outcome


def _spectra(spaces: dict[Space, Embeddings]) -> Spectra:
    return {space: spectrum(e.eigenvalues) for space, e in spaces.items() if e.eigenvalues.isfinite().all()}


def _drawn(manifest: Manifest, split: str, protocol: Protocol) -> Tensor:
    """The images of a split that are measured, in their order."""
    images = open_images(manifest, split)
    order = torch.randperm(len(images), generator=generator(protocol.seed, "evaluation subset"))
    return torch.from_numpy(images[order[: protocol.images].sort().values.numpy()])
