from __future__ import annotations

import torch
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor


def consensus(columns: Float[Tensor, "trials k"]) -> Float[Tensor, "trials"]:
    """Mean rank of a trial over several criteria, over the number of trials; in (0, 1], ties share their mean rank.

    Ranks, since the criteria share neither scale nor unit. Relative to the pool: another trial moves every value.
    """
    ranks = rankdata(columns.numpy(), axis=0)  # average ranks in a tie, 1 for the worst
    return torch.from_numpy(ranks).mean(1) / len(columns)
