"""A network that slowly follows another: the exponential moving average of its weights."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn


def teacher_of(*online: nn.Module) -> nn.Sequential:
    """A copy of the modules, one after the other, that no gradient reaches."""
    return copy.deepcopy(nn.Sequential(*online)).requires_grad_(False)


@torch.no_grad()
def follow(teacher: nn.Module, *online: nn.Module, momentum: float) -> None:
    """teacher <- momentum * teacher + (1 - momentum) * online, parameters only: norms keep statistics of their own."""
    for theirs, ours in zip(teacher.parameters(), nn.Sequential(*online).parameters(), strict=True):
        theirs.lerp_(ours, 1 - momentum)


def rising(momentum: float, progress: float) -> float:
    """From ``momentum`` to 1 along a cosine over the training (BYOL, arXiv 2006.07733, section 3.2)."""
    return 1 - (1 - momentum) * (math.cos(math.pi * progress) + 1) / 2
