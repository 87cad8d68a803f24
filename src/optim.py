"""Parameter groups, the learning rate's scaling with batch size, and its schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import Optimizer

from src import check

if TYPE_CHECKING:
    from src.methods.method import Method

REFERENCE_BATCH = 256
SCALING = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}


def scaled_learning_rate(learning_rate: float, batch_size: int, rule: str) -> float:
    """The rate for ``batch_size`` when ``learning_rate`` is meant for 256: ``linear`` (Goyal et al., arXiv 1706.02677),
    ``sqrt`` (usual for Adam; Malladi et al., arXiv 2205.10287) or ``none``."""
    check.number("optimizer.learning_rate", learning_rate, above=0)
    check.number("batch_size", batch_size, at_least=2, whole=True)
    check.choice("optimizer.scaling", rule, tuple(SCALING))
    return float(learning_rate * (batch_size / REFERENCE_BATCH) ** SCALING[rule])


def parameter_groups(module: nn.Module | Method, weight_decay: float) -> list[dict[str, Any]]:
    """Weights with decay; biases and norms, all of one dimension, without."""
    check.number("optimizer.weight_decay", weight_decay, at_least=0)
    parameters = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def make_optimizer(module: nn.Module | Method, factory: Callable[..., Optimizer], weight_decay: float) -> Optimizer:
    """An optimizer over ``parameter_groups``; the factory's own hyperparameters are already bound."""
    return factory(parameter_groups(module, weight_decay))


def schedule_factor(step: int, *, steps: int, warmup: float, decay: str) -> float:
    """What the peak learning rate is multiplied by at ``step`` of ``steps``.

    Linear warm-up over the fraction ``warmup``, then ``cosine`` down to 0 (Loshchilov & Hutter, arXiv 1608.03983) or
    ``constant``.
    """
    warm = round(warmup * steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    if decay == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
