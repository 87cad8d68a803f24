"""Frozen features of labelled splits and what probes score on them; the last snapshot's are cached beside the trial."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save
from torch import Tensor, nn

from src import files
from src.data.pack import Manifest, open_images, read_labels
from src.loop import Normalise
from src.probes.knn import knn
from src.probes.linear import linear
from src.trial import Trial

CHUNK = 512


class Split:
    """One labelled split in memory."""

    def __init__(self, manifest: Manifest, name: str) -> None:
        labels = read_labels(manifest, name)
        if "class" not in labels:
            raise ValueError(f"{manifest.folder}/labels has no classes to probe with: selection needs none, probe does")
        self.name, self.manifest = name, manifest
        self.images = torch.from_numpy(np.array(open_images(manifest, name)))
        self.classes: Int[Tensor, "n"] = torch.from_numpy(labels["class"])
        self.groups: Int[Tensor, "n"] = torch.from_numpy(labels["group"])

    def pixels(self) -> Float[Tensor, "n d"]:
        """The normalised images themselves, flattened: the baseline that needs no encoder."""
        return Normalise(self.manifest.mean, self.manifest.std, "cpu")(self.images.float().div_(255)).flatten(1)


@torch.no_grad()
def encode(encoder: nn.Module, split: Split) -> Float[Tensor, "n d"]:
    """h of every image; the encoder must be in eval mode."""
    if encoder.training:
        raise RuntimeError("features are taken in eval mode")
    normalise = Normalise(split.manifest.mean, split.manifest.std, "cpu")
    chunks = [
        encoder(normalise(chunk.float().div_(255)).contiguous(memory_format=torch.channels_last))
        for chunk in split.images.split(CHUNK)
    ]
    return torch.cat(chunks)


def trial_features(trial: Trial, step: int, splits: list[Split]) -> dict[str, Float[Tensor, "n d"]]:
    """h of each split under a snapshot, from the cache where it is the trial's last."""
    checksums = "".join(split.manifest.splits[split.name]["checksum"] for split in splits)
    path = trial.folder / "features" / f"{step:07d}-{files.fingerprint(checksums)}.safetensors"
    if path.exists():
        return load_file(path)
    encoder = trial.method(step, splits[0].manifest.channels).encoder
    assert isinstance(encoder, nn.Module)
    features = {split.name: encode(encoder, split) for split in splits}
    if step == trial.snapshot_steps()[-1]:
        files.write_atomically(path, save(features))
    return features


def score(probes: dict[str, Any], fitted: Split, scored: Split, bank: Tensor, queries: Tensor) -> dict[str, Any]:
    """Accuracy of each probe and, for each image, whether it was right (a string of 0 and 1)."""
    predictions = {
        "knn": knn(bank, fitted.classes, queries, **probes["knn"]),
        "linear": linear(bank, fitted.classes, fitted.groups, queries, **probes["linear"]),
    }
    result: dict[str, Any] = {}
    for name, predicted in predictions.items():
        right = predicted == scored.classes
        result[name] = {
            "top1": float(right.double().mean()),
            "right": "".join("1" if r else "0" for r in right.tolist()),
        }
    return result
