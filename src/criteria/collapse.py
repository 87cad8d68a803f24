from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from src.criteria.feature_std import feature_std
from src.criteria.participation_ratio import participation_ratio

NOT_FINITE = "embeddings are not finite"


def collapsed(
    z: Float[Tensor, "n d"], eigenvalues: Float[Tensor, "d"], *, spread: float, rank: float
) -> dict[str, Any]:
    """The collapse gate: whether the embeddings of different images still differ, and in more than one direction.

    Complete collapse: feature std below ``spread`` of its isotropic value 1/sqrt(d). Dimensional collapse:
    participation ratio of z's covariance ``eigenvalues`` below ``rank``. Source of the first: SimSiam, CVPR 2021,
    section 4.1; of the second: Jing et al., ICLR 2022 (arXiv 2110.09348). Returns both values and the reason, empty
    for a healthy trial.
    """
    if not bool(torch.isfinite(z).all()):
        return {"spread": 0.0, "rank": 0.0, "reason": NOT_FINITE}
    measured_spread = feature_std(z) * z.shape[1] ** 0.5
    measured_rank = participation_ratio(eigenvalues)
    reason = ""
    if measured_spread < spread:
        reason = f"all images map to one point: feature std is {measured_spread:.3g} of isotropic, below {spread:g}"
    elif measured_rank < rank:
        reason = f"embeddings vary in {measured_rank:.3g} directions, below {rank:g}"
    return {"spread": measured_spread, "rank": measured_rank, "reason": reason}
