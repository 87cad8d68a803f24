from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def clid(columns: Float[Tensor, "trials 2"]) -> Float[Tensor, "trials"]:
    """Cluster learnability plus intrinsic dimension, each standardised over the pool; mean 0, higher is better.

    Relative to the pool: another trial moves every value. A column that doesn't vary adds nothing.
    Source: Lu et al., CLID (arXiv 2206.01251).
    """
    varies = columns.amax(0) > columns.amin(0)
    # a constant column is 0 / 0 here, and replaced below
    standardised = (columns - columns.mean(0)) / columns.std(0, unbiased=False)
    return standardised.where(varies, 0).sum(1)
