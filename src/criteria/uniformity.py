from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def uniformity(z: Float[Tensor, "n d"]) -> float:
    """ln of the mean Gaussian potential exp(-2 |z_i - z_j|^2) over pairs i < j on the unit sphere; 0 when collapsed.

    Raises ValueError for fewer than 2 samples. Source: Wang & Isola, ICML 2020 (arXiv 2005.10242), t = 2.
    """
    n = z.shape[0]
    if n < 2:
        raise ValueError(f"uniformity needs at least 2 samples, got {n}: raise evaluation.images")
    unit = F.normalize(z.double(), dim=-1)
    i, j = torch.triu_indices(n, n, offset=1)
    squared_distance = (2 - 2 * (unit @ unit.T)[i, j]).clamp_min(0)
    return float(torch.exp(-2 * squared_distance).mean().log())
