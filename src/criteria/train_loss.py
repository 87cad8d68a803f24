from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def train_loss(losses: Float[Tensor, "steps"]) -> float:
    """Mean pretext loss over the given steps; comparable only where everything that defines the loss is equal."""
    return float(losses.double().mean())
