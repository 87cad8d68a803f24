"""What each criterion's `input` means, derived from embeddings of images and views."""

from __future__ import annotations

from typing import Any

import torch
import yaml
from torch import Tensor

from src.criteria.spectra import eigenvalues, singular_values
from src.runtime.build import build
from tests.project import ROOT

CONFIGS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / "conf/criterion").glob("*.yaml"))}
INPUTS = (
    "images",
    "subset",
    "views",
    "singular_values",
    "eigenvalues",
    "rotations",
    "losses",
    "heldout_losses",
    "columns",
)
OF_EMBEDDINGS = [name for name, c in CONFIGS.items() if c["input"] not in ("losses", "heldout_losses", "columns")]


def embeddings(seed: int, n: int = 160, v: int = 4, d: int = 60) -> Tensor:
    """n images x v views x d features, float64: decaying spectrum, mean not zero, views that can be told apart."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    image, noise, turn = normal(n, 1, d), normal(n, v, d), normal(1, v, d)
    return (image + 0.5 * noise + 0.3 * turn) * torch.logspace(0, -1.5, d, dtype=torch.float64) + 0.2 * normal(d)


def given(kind: str, e: Tensor) -> Tensor:
    """The tensor that a criterion with this `input` gets."""
    images = e[:, 0]
    if kind == "singular_values":
        return singular_values(images)
    if kind == "eigenvalues":
        return eigenvalues(images)
    if kind == "rotations":
        return e[:, :4].transpose(0, 1)
    return {"images": images, "subset": images, "views": e}[kind]


def scored(name: str, tensor: Tensor) -> Any:
    """What a criterion returns with the settings of its yaml."""
    return build("criterion", CONFIGS[name]["score"])(tensor)


def value(name: str, tensor: Tensor) -> float:
    result = scored(name, tensor)
    return getattr(result, "value", result)


def measured(name: str, e: Tensor) -> float:
    """A criterion's value on embeddings."""
    return value(name, given(CONFIGS[name]["input"], e))
