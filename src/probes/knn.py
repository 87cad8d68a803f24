from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from src import check


def knn(
    bank: Float[Tensor, "n d"],
    labels: Int[Tensor, "n"],
    queries: Float[Tensor, "m d"],
    *,
    k: int,
    temperature: float,
) -> Int[Tensor, "m"]:
    """Predicted classes of ``queries``: the k nearest of ``bank`` by cosine vote with exp(similarity / temperature).

    Raises ValueError where the bank has fewer than k samples. Source: Wu et al., CVPR 2018 (arXiv 1805.01978), 3.4.
    """
    check.number("probe.knn.k", k, at_least=1, at_most=len(bank), whole=True)
    check.number("probe.knn.temperature", temperature, above=0)
    similarity = F.normalize(queries, dim=-1) @ F.normalize(bank, dim=-1).T
    nearest, index = similarity.topk(k, dim=-1)
    weight = ((nearest - 1) / temperature).exp()  # minus 1: the largest similarity can't overflow
    votes = torch.zeros(len(queries), int(labels.max()) + 1, dtype=weight.dtype)
    return votes.scatter_add_(1, labels[index], weight).argmax(-1)
