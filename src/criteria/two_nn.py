from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def two_nn(h: Float[Tensor, "m d"]) -> float:
    """Intrinsic dimension from the two nearest neighbours: m / sum ln(r2 / r1), over embeddings that differ; > 0.

    The maximum-likelihood form, no ratio discarded; exact duplicates are dropped first. Higher is better as a part of
    CLID. Raises ValueError for fewer than 3 different embeddings.
    Source: Facco et al., Scientific Reports 2017; as in CLID (arXiv 2206.01251).
    """
    different = h.double().unique(dim=0)
    if len(different) < 3:
        raise ValueError(
            f"two_nn needs at least 3 different embeddings, got {len(different)} among {len(h)}: "
            "raise evaluation.pairwise_images, or the trial collapsed"
        )
    centred = different - different.mean(0)  # so that distances lose no digits to a common offset
    distance = torch.cdist(centred, centred).fill_diagonal_(torch.inf)
    nearest = distance.topk(2, largest=False).values
    return float(len(different) / (nearest[:, 1] / nearest[:, 0]).log().sum())
