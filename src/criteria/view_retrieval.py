from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def view_retrieval(h: Float[Tensor, "n v d"]) -> float:
    """How often the nearest of all images' other views belongs to the same image, by cosine after centring; in [0, 1].

    Over disjoint pairs of views, one the query and one the bank. Raises ValueError for fewer than 2 views. Source: the
    instance discrimination of Wu et al., CVPR 2018 (arXiv 1805.01978), asked of a frozen representation.
    """
    n, v, _ = h.shape
    if v < 2:
        raise ValueError(f"view_retrieval needs at least 2 views, got {v}: raise evaluation.views")
    unit = F.normalize(h.double() - h.double().mean((0, 1)), dim=-1)
    own = torch.arange(n)
    right = [(unit[:, i] @ unit[:, i + 1].T).argmax(1) == own for i in range(0, v - 1, 2)]
    return float(torch.stack(right).double().mean())
