from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def heldout_loss(losses: Float[Tensor, "batches"]) -> float:
    """Mean pretext loss on unlabelled images kept out of training; comparable only where the loss is the same.

    Unlike train_loss it can't be lowered by memorising, but a collapsed trial lowers both.
    """
    return float(losses.double().mean())
