from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Labelled(NamedTuple):
    """Frozen features of a labelled split."""

    features: Float[Tensor, "n d"]
    classes: Int[Tensor, "n"]
    groups: Int[Tensor, "n"]  # source image, patient, video: the sampling unit, never on both sides of a fold
    factors: dict[str, Float[Tensor, "n"]]  # continuous factors by name, may be empty

    def where(self, chosen: Tensor) -> Labelled:
        """The part that a mask or an index chooses."""
        factors = {name: values[chosen] for name, values in self.factors.items()}
        return Labelled(self.features[chosen], self.classes[chosen], self.groups[chosen], factors)


class Score(NamedTuple):
    """Named numbers, the headline first, and per image whether the probe was right where that makes sense."""

    numbers: dict[str, float]
    right: Bool[Tensor, "m"] | None


def check_splits(probe: str, *splits: Labelled) -> None:
    """Raise ValueError on a split without images, of unequal lengths or with values that aren't finite."""
    for split in splits:
        lengths = {len(split.features), len(split.classes), len(split.groups), *map(len, split.factors.values())}
        if len(lengths) > 1:
            raise ValueError(
                f"probe.{probe} needs one class, group and factor per image, got lengths {sorted(lengths)}"
            )
        if not len(split.features):
            raise ValueError(f"probe.{probe} needs at least 1 image in each split, got 0")
        for name, values in {"features": split.features, **split.factors}.items():
            if not torch.isfinite(values).all():
                raise ValueError(f"probe.{probe} needs finite {name}, got NaN or infinity")


def top1(predicted: Int[Tensor, "m"], scored: Labelled) -> tuple[float, Bool[Tensor, "m"]]:
    """Accuracy and, for each image, whether it was right."""
    right = predicted == scored.classes
    return float(right.double().mean()), right
