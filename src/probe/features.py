"""Frozen features of labelled splits and what probes score on them; the last snapshot's are cached beside the trial."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save
from torch import Tensor, nn

from src.data.pack import Manifest, open_images, read_labels
from src.evaluation.embeddings import encode
from src.probes.labelled import Labelled, Score
from src.runtime import files
from src.runtime.build import build
from src.study.results import ProbeDefinition, ProbeScore
from src.trial.identity import Trial
from src.trial.loop import Normalise

SUPERVISED = "-supervised"  # the study of the reference with labels is named after the one it stands beside


class Split:
    """One labelled split in memory."""

    def __init__(self, manifest: Manifest, name: str) -> None:
        labels = read_labels(manifest, name)
        if "class" not in labels:
            raise ValueError(f"{manifest.folder}/labels has no classes to probe with: selection needs none, probe does")
        if name == "probe" and len(np.unique(labels["class"])) < 2:
            raise ValueError(f"{manifest.folder}/labels has one class in probe, which fits nothing: label more images")
        self.name, self.manifest = name, manifest
        self.images = torch.from_numpy(np.array(open_images(manifest, name)))
        self.classes: Int[Tensor, "n"] = torch.from_numpy(labels.pop("class"))
        self.groups: Int[Tensor, "n"] = torch.from_numpy(labels.pop("group"))
        self.factors = {factor: torch.from_numpy(values) for factor, values in labels.items()}

    def pixels(self) -> Float[Tensor, "n d"]:
        """The normalised images themselves, flattened: the baseline that needs no encoder."""
        return Normalise(self.manifest.mean, self.manifest.std, "cpu")(self.images.float().div_(255)).flatten(1)

    def labelled(self, features: Float[Tensor, "n d"]) -> Labelled:
        return Labelled(features, self.classes, self.groups, self.factors)


def trial_features(trial: Trial, step: int, splits: list[Split]) -> dict[str, Float[Tensor, "n d"]]:
    """h of each split under a snapshot, from the cache where it is the trial's last."""
    # Part of the file's name: a data set packed anew has other features.
    checksums = "".join(split.manifest.splits[split.name].checksum for split in splits)
    path = trial.folder / "features" / f"{step:07d}-{files.fingerprint(checksums)}.safetensors"
    if path.exists():
        return load_file(path)
    encoder = trial.method(step, splits[0].manifest.shape).encoder
    assert isinstance(encoder, nn.Module)
    features = {split.name: encode(encoder, split.images, split.manifest) for split in splits}
    if step == trial.snapshot_steps()[-1]:
        files.write_atomically(path, save(features))
    return features


def score(
    probes: Mapping[str, ProbeDefinition], fitted: Labelled, scored: Labelled, *, last: bool
) -> dict[str, ProbeScore]:
    """What each probe finds; those meant for the last snapshot only are left out of others."""
    wanted = {name: probe for name, probe in probes.items() if last or probe.snapshots == "all"}
    return {name: as_record(build("probe", probe.score)(fitted, scored)) for name, probe in wanted.items()}


def as_record(result: Score) -> ProbeScore:
    """A probe's numbers and, where it classifies images, which were right."""
    if result.right is None:
        return ProbeScore(result.numbers)
    return ProbeScore(result.numbers, "".join("1" if right else "0" for right in result.right.tolist()))
