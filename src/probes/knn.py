from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from src.probes.labelled import Labelled, Score, check_splits, top1
from src.runtime import check


def knn(fitted: Labelled, scored: Labelled, *, k: int, temperature: float) -> Score:
    """Accuracy of the k nearest of ``fitted`` by cosine, each voting with exp(similarity / temperature).

    Raises ValueError where ``fitted`` has fewer than k images. Source: Wu et al., CVPR 2018 (arXiv 1805.01978), 3.4.
    """
    check_splits("knn", fitted, scored)
    check.number("probe.knn.score.k", k, at_least=1, at_most=len(fitted.features), whole=True)
    check.number("probe.knn.score.temperature", temperature, above=0)
    accuracy, right = top1(vote(fitted, scored.features, k=k, temperature=temperature), scored)
    return Score({"top1": accuracy}, right)


def vote(fitted: Labelled, queries: Float[Tensor, "m d"], *, k: int, temperature: float) -> Int[Tensor, "m"]:
    """Predicted classes of ``queries``."""
    similarity = F.normalize(queries, dim=-1) @ F.normalize(fitted.features, dim=-1).T
    nearest, neighbour = similarity.topk(k, dim=-1)
    weight = ((nearest - 1) / temperature).exp()  # minus 1: the largest similarity can't overflow
    classes, index = fitted.classes.unique(return_inverse=True)
    votes = torch.zeros(len(queries), len(classes), dtype=weight.dtype)
    return classes[votes.scatter_add_(1, index[neighbour], weight).argmax(-1)]
