from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def alignment(z: Float[Tensor, "n v d"]) -> float:
    """Mean squared distance between two views of one image on the unit sphere, over all pairs of views; in [0, 4].

    Uses sum_{i<j} |z_i - z_j|^2 = v^2 - |sum_i z_i|^2 for unit vectors. Raises ValueError for fewer than 2 views.
    Source: Wang & Isola, ICML 2020 (arXiv 2005.10242), with exponent 2.
    """
    v = z.shape[1]
    if v < 2:
        raise ValueError(f"alignment needs at least 2 views, got {v}: raise evaluation.views")
    # float64: v^2 - |sum|^2 cancels where views agree
    unit = F.normalize(z.double(), dim=-1)
    return float((v**2 - unit.sum(1).square().sum(-1)).mean() / (v * (v - 1) / 2))
