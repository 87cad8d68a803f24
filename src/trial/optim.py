"""Parameter groups, the learning rate's scaling with batch size, and its schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NotRequired, TypedDict

from torch import nn
from torch.nn import Parameter

from src.runtime import check

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from src.methods.method import Method
    from src.trial.config import Decay, Scaling

REFERENCE_BATCH = 256
EXPONENTS: dict[Scaling, float] = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}


class Group(TypedDict):
    """Parameters that an optimizer treats alike, as torch takes them."""

    params: list[Parameter]
    weight_decay: float
    scale: NotRequired[float]  # of the learning rate


def scaled_learning_rate(learning_rate: float, batch_size: int, rule: Scaling) -> float:
    """The rate for ``batch_size`` when ``learning_rate`` is meant for 256: ``linear`` (Goyal et al., arXiv 1706.02677),
    ``sqrt`` (usual for Adam; Malladi et al., arXiv 2205.10287) or ``none``."""
    check.number("optimizer.learning_rate", learning_rate, above=0)
    check.number("batch_size", batch_size, at_least=2, whole=True)
    check.choice("optimizer.scaling", rule, tuple(EXPONENTS))
    return float(learning_rate * (batch_size / REFERENCE_BATCH) ** EXPONENTS[rule])


def parameter_groups(module: nn.Module | Method, weight_decay: float) -> list[Group]:
    """Weights with decay; biases and norms, all of one dimension, without."""
    check.number("optimizer.weight_decay", weight_decay, at_least=0)
    parameters = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def layers(encoder: nn.Module) -> list[nn.ModuleList]:
    """An encoder's layers from its input to its output: its parameterised parts, Sequentials taken apart.

    A part that has no weights but only biases and scales, such as a norm, belongs to the layer before it. Parameters
    that are the encoder's own, such as a class token, belong to the first.
    """
    parts = list(_parts(encoder))
    if len(parts) == 1 and any(True for _ in parts[0].children()):  # a wrapper
        return layers(parts[0])
    found: list[nn.ModuleList] = []
    for part in parts:
        if found and all(parameter.ndim <= 1 for parameter in part.parameters()):
            found[-1].append(part)
        else:
            found.append(nn.ModuleList([part]))
    own = nn.ParameterList(encoder.parameters(recurse=False))
    return [nn.ModuleList([*found[0], own]), *found[1:]] if len(own) else found


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.Sequential):
            yield from _parts(child)
        elif any(True for _ in child.parameters()):
            yield child


def layered_groups(modules: list[nn.Module], weight_decay: float, layer_decay: float) -> list[Group]:
    """``parameter_groups`` of each module; the last learns at the full rate, each before it at ``layer_decay`` times
    the next one's (ELECTRA, arXiv 2003.10555; BEiT, arXiv 2106.08254). Empty groups are left out."""
    groups: list[Group] = []
    for depth, module in enumerate(reversed(modules)):
        for group in parameter_groups(module, weight_decay):
            groups.append({**group, "scale": layer_decay**depth})
    return [group for group in groups if group["params"]]


def make_optimizer(
    method: Method, factory: Callable[[list[Group]], Optimizer], *, weight_decay: float, layer_decay: float
) -> Optimizer:
    """An optimizer over a method's parameters, those of the encoder's early layers slowed by ``layer_decay``; the
    factory's own hyperparameters are already bound."""
    check.number("optimizer.layer_decay", layer_decay, above=0, at_most=1)
    if layer_decay == 1:
        return factory([group for group in parameter_groups(method, weight_decay) if group["params"]])
    encoder = layers(method.encoder)
    inside = {id(p) for layer in encoder for p in layer.parameters()}
    heads = nn.ParameterList(p for p in method.parameters() if id(p) not in inside)
    return factory(layered_groups([*encoder, heads], weight_decay, layer_decay))


def schedule_factor(step: int, *, steps: int, warmup: float, decay: Decay) -> float:
    """What the peak learning rate is multiplied by at ``step`` of ``steps``.

    Linear warm-up over the fraction ``warmup``, then ``cosine`` down to 0 (Loshchilov & Hutter, arXiv 1608.03983) or
    ``constant``.
    """
    warm = round(warmup * steps)
    if step < warm:
        # neither 0 at the first step nor 1 before the warm-up is over
        return (step + 1) / (warm + 1)
    if decay == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
