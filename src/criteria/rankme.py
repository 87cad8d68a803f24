from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def rankme(z: Float[Tensor, "n d"], *, eps: float) -> float:
    """Effective rank of the embeddings: exp of the entropy of the normalised singular values.

    Neither centred nor squared; lies in [1, min(n, d)] up to ``eps``. A zero matrix has rank 1 by this formula's
    limit of identical rows. Source: Garrido et al., RankMe, ICML 2023 (arXiv 2210.02885), eq. 1-2.
    """
    sigma = torch.linalg.svdvals(z.double())
    p = sigma / sigma.sum().clamp_min(torch.finfo(sigma.dtype).tiny) + eps
    return float(torch.exp(-(p * p.log()).sum()))
