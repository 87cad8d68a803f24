from __future__ import annotations

from typing import Any

import pytest
import torch

from src.models.cnn import SmallCNN
from src.models.projector import Projector
from src.models.resnet18 import ResNet18

CNN: dict[str, Any] = {
    "width": 8,
    "depth": 4,
    "features": 24,
    "activation": "relu",
    "norm": "batch",
    "dropout": 0.0,
}


@pytest.mark.parametrize("depth", [2, 3, 6])
@pytest.mark.parametrize("width", [4, 16])
@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_representation_has_one_size_at_every_width_and_depth(depth: int, width: int, norm: str) -> None:
    encoder = SmallCNN(3, **(CNN | {"depth": depth, "width": width, "norm": norm}))
    h = encoder(torch.randn(2, 3, 20, 20))
    assert h.shape == (2, 24) == (2, encoder.features)
    assert sum(isinstance(m, torch.nn.Conv2d) for m in encoder.modules()) == depth


def test_dropout_acts_in_training_only() -> None:
    encoder = SmallCNN(1, **(CNN | {"dropout": 0.5, "norm": "none"}))
    x = torch.randn(2, 1, 20, 20)
    assert not torch.equal(encoder(x), encoder(x))
    encoder.eval()
    assert torch.equal(encoder(x), encoder(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "model.width must be >= 1, got 0"),
        ({"width": 2.5}, "model.width must be a whole number"),
        ({"depth": 1}, "model.depth must be >= 2"),
        ({"features": 1}, "model.features must be >= 2"),
        ({"activation": "tanh"}, "one of relu, gelu, silu, got 'tanh'"),
        ({"norm": "layer"}, "one of batch, group, none, got 'layer'"),
        ({"dropout": 1.0}, "model.dropout must be >= 0 and < 1, got 1.0"),
        ({"norm": "group", "width": 12}, "multiple of 8"),
    ],
)
def test_bad_hyperparameters_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SmallCNN(1, **(CNN | change))


@pytest.mark.parametrize(("stem", "size"), [("small", 20), ("standard", 64)])
def test_resnet18(stem: str, size: int) -> None:
    encoder = ResNet18(1, stem=stem).eval()
    assert encoder(torch.randn(2, 1, size, size)).shape == (2, encoder.features) == (2, 512)
    with pytest.raises(ValueError, match="one of small, standard, got 'tiny'"):
        ResNet18(1, stem="tiny")


def test_projector_has_its_depth_and_dimension() -> None:
    projector = Projector(24, width=32, depth=3, dimension=5)
    assert projector(torch.randn(4, 24)).shape == (4, 5)
    assert sum(isinstance(m, torch.nn.Linear) for m in projector) == 3
