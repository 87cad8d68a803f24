from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from src.criteria.feature_std import feature_std
from src.criteria.participation_ratio import participation_ratio

NOT_FINITE = "embeddings are not finite"


class Collapse(NamedTuple):
    """The collapse gate's verdict on one snapshot."""

    spread: float  # feature std over its isotropic value
    rank: float  # participation ratio
    reason: str  # empty for a healthy trial


def collapsed(z: Float[Tensor, "n d"], eigenvalues: Float[Tensor, "d"], *, spread: float, rank: float) -> Collapse:
    """The collapse gate: whether the embeddings of different images still differ, and in more than one direction.

    Complete collapse: feature std below ``spread`` of its isotropic value 1/sqrt(d). Dimensional collapse:
    participation ratio of z's covariance ``eigenvalues`` below ``rank``. Source of the first: SimSiam, CVPR 2021,
    section 4.1; of the second: Jing et al., ICLR 2022 (arXiv 2110.09348).
    """
    # NaN is below nothing: it would pass both comparisons as healthy
    if not bool(torch.isfinite(z).all()):
        return Collapse(0.0, 0.0, NOT_FINITE)
    measured_spread = feature_std(z) * z.shape[1] ** 0.5
    measured_rank = participation_ratio(eigenvalues)
    reason = ""
    if measured_spread < spread:
        reason = f"all images map to one point: feature std is {measured_spread:.3g} of isotropic, below {spread:g}"
    elif measured_rank < rank:
        reason = f"embeddings vary in {measured_rank:.3g} directions, below {rank:g}"
    return Collapse(measured_spread, measured_rank, reason)
