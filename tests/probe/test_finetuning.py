from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from src.models.cnn import SmallCNN
from src.probe.finetuning import finetune
from src.probe.settings import Finetuning
from src.runtime.rng import generator, global_generator
from src.runtime.settings import hold
from src.trial.loop import Normalise

SETTINGS: dict[str, Any] = {
    "epochs": 8,
    "batch_size": 16,
    "learning_rate": 0.01,
    "layer_decay": 0.7,
    "weight_decay": 0.05,
    "seed": 0,
}


def encoder(**changes: Any) -> SmallCNN:
    given: dict[str, Any] = {
        "width": 4,
        "depth": 2,
        "features": 8,
        "activation": "relu",
        "norm": "batch",
        "dropout": 0.0,
    } | changes
    with global_generator(0, "test"):
        return SmallCNN((1, 20, 20), **given)


def corners(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noise whose left or right half is brighter: what no average over the image tells, but a convolution can."""
    draw = generator(seed, "corners")
    images = torch.randint(0, 120, (n, 1, 8, 8), generator=draw, dtype=torch.uint8)
    classes = torch.arange(n) % 3
    for index, side in enumerate(classes.tolist()):
        if side:
            images[index, :, :, :4] += 60 if side == 1 else 0
            images[index, :, ::2, :] += 60 if side == 2 else 0
    return images, classes * 5


def run(model: nn.Module, **changes: Any) -> Any:
    images, scored = corners(96, 1), corners(60, 2)
    how = hold("finetune", SETTINGS | changes, Finetuning)
    return finetune(model, Normalise([0.3], [0.2], "cpu"), *images, *scored, how)


def test_fine_tuning_learns_and_leaves_the_encoder_alone() -> None:
    model = encoder().eval()
    before = copy.deepcopy(model.state_dict())
    score = run(model)
    assert score.numbers["top1"] > 0.8 > 0.6 > run(model, learning_rate=1e-9).numbers["top1"]
    assert score.numbers["top1"] == pytest.approx(float(score.right.double().mean()))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training


def test_the_encoder_is_trained_not_only_the_head() -> None:
    """With a vanishing decay only the head learns."""
    assert run(encoder(), epochs=15).numbers["top1"] > run(encoder(), epochs=15, layer_decay=1e-9).numbers["top1"] + 0.1


def test_twice_is_identical_with_dropout_whatever_the_global_generator() -> None:
    first = run(encoder(dropout=0.3), epochs=2)
    with global_generator(1, "elsewhere"):
        state = torch.get_rng_state()
        second = run(encoder(dropout=0.3), epochs=2)
        assert torch.equal(torch.get_rng_state(), state)
    assert first.numbers == second.numbers and torch.equal(first.right, second.right)
    assert not torch.equal(first.right, run(encoder(dropout=0.3), epochs=2, seed=1).right)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "finetune.epochs must be >= 1, got 0"),
        ({"batch_size": 97}, "finetune.batch_size must be <= 96, got 97"),
        ({"learning_rate": 0.0}, "finetune.learning_rate must be > 0, got 0.0"),
        ({"layer_decay": 1.1}, "finetune.layer_decay must be <= 1, got 1.1"),
        ({"weight_decay": -1.0}, "finetune.weight_decay must be >= 0, got -1.0"),
        ({"seed": -1}, "finetune.seed must be >= 0, got -1"),
        ({"learning_rate": 1e30}, "fine-tuning diverged: lower finetune.learning_rate, 1e+30"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        run(encoder(), **changes)
    assert str(caught.value) == message
