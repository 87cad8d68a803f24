from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from src.runtime import check


class Prototypes(nn.Module):
    """Cosines of embeddings with ``count`` learned directions: (n, d) -> (n, count).

    The directions stay as they are for the fraction ``freeze`` of the training, until embeddings have settled.
    """

    progress: Float[Tensor, ""]

    def __init__(self, dimension: int, *, count: int, freeze: float) -> None:
        check.number("method.prototypes", count, at_least=2, whole=True)
        check.number("method.freeze", freeze, at_least=0, below=1)
        super().__init__()
        self.weight = nn.Parameter(torch.randn(count, dimension) / dimension**0.5)
        self.weight.register_hook(lambda gradient: gradient * (self.progress >= freeze))
        self.register_buffer("progress", torch.zeros(()))

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        return F.linear(F.normalize(z, dim=1), F.normalize(self.weight, dim=1))


def cross_prediction(
    scores: list[Float[Tensor, "n k"]], targets: list[Float[Tensor, "n k"]], *, temperature: float
) -> Float[Tensor, ""]:
    """Mean cross entropy of the target distribution of each of the first views by every other view's scores
    (SwAV, arXiv 2006.09882, eq. 2; DINO, arXiv 2104.14294, eq. 3)."""
    losses = [
        -(target * F.log_softmax(other / temperature, dim=1)).sum(1).mean()
        for view, target in enumerate(targets)
        for place, other in enumerate(scores)
        if place != view
    ]
    return torch.stack(losses).mean()


def entropy(p: Float[Tensor, "*n k"]) -> Float[Tensor, "*n"]:
    """In nats."""
    # 0 log 0 counts as 0
    return -(p * p.clamp_min(1e-12).log()).sum(-1)
