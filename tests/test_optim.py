from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from src.loop import batch_indices
from src.optim import make_optimizer, parameter_groups, scaled_learning_rate, schedule_factor


@pytest.mark.parametrize(("rule", "expected"), [("none", 0.1), ("sqrt", 0.2), ("linear", 0.4)])
def test_learning_rate_scales_with_batch_size_by_the_named_rule(rule: str, expected: float) -> None:
    assert scaled_learning_rate(0.1, 1024, rule) == pytest.approx(expected)
    assert scaled_learning_rate(0.1, 256, rule) == pytest.approx(0.1)


def test_schedule_warms_up_then_follows_a_cosine() -> None:
    factors = [schedule_factor(step, steps=110, warmup=10 / 110, decay="cosine") for step in range(110)]
    assert factors[:10] == pytest.approx([k / 11 for k in range(1, 11)])
    assert factors[10] == 1
    assert factors[60] == pytest.approx(0.5)
    assert factors[109] == pytest.approx(0.5 * (1 + math.cos(math.pi * 99 / 100)))
    assert schedule_factor(109, steps=110, warmup=10 / 110, decay="constant") == 1


def test_no_weight_decay_on_biases_and_norms() -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    decayed, free = parameter_groups(module, 0.1)
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 1, 3, 3), (2, 4)]
    assert decayed["weight_decay"] == 0.1 and free["weight_decay"] == 0.0
    assert sum(p.numel() for p in free["params"]) == 4 + 4 + 4 + 2
    optimizer = make_optimizer(module, torch.optim.SGD, 0.1)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]


def test_an_epoch_sees_every_image_once() -> None:
    batches = [batch_indices(step, count=23, batch_size=5, seed=0) for step in range(8)]
    first, second = torch.cat(batches[:4]), torch.cat(batches[4:])
    assert len(first.unique()) == len(second.unique()) == 20
    assert not torch.equal(first, second)
