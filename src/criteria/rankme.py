from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from src.runtime import check


def rankme(sigma: Float[Tensor, "k"], *, eps: float) -> float:
    """Effective rank: exp of the entropy of the normalised singular values; in [1, k] up to ``eps``.

    Neither centred nor squared; ``eps`` is added after normalising, as published. A zero matrix counts as rank one.
    Source: Garrido et al., RankMe, ICML 2023 (arXiv 2210.02885), eq. 1-2.
    """
    check.number("criterion.score.eps of rankme", eps, at_least=0)
    # in a zero matrix there is nothing to divide by
    p = sigma / sigma.sum().clamp_min(torch.finfo(sigma.dtype).tiny) + eps
    return float(torch.special.entr(p).sum().exp())
