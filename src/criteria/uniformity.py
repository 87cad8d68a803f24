from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def uniformity(z: Float[Tensor, "m d"]) -> float:
    """ln of the mean Gaussian potential exp(-2 |z_i - z_j|^2) over pairs i < j on the unit sphere; in [-8, 0].

    0 when collapsed, towards -4 when isotropic in many dimensions. Raises ValueError for fewer than 2 samples.
    Source: Wang & Isola, ICML 2020 (arXiv 2005.10242), t = 2.
    """
    m = len(z)
    if m < 2:
        raise ValueError(f"uniformity needs at least 2 embeddings, got {m}: raise evaluation.pairwise_images")
    unit = F.normalize(z.double(), dim=-1)
    i, j = torch.triu_indices(m, m, offset=1)
    # rounding may leave 2 - 2 cos below 0
    squared_distance = (2 - 2 * (unit @ unit.T)[i, j]).clamp_min(0)
    return float(torch.exp(-2 * squared_distance).mean().log())
