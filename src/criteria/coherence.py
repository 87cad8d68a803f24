from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from src.criteria.spectra import ROWS, gram, tolerance


class Coherence(NamedTuple):
    value: float
    rank: int


def coherence(h: Float[Tensor, "n d"]) -> Coherence:
    """Largest leverage of one image, max_i |u_i|^2 n / rank, U the left singular vectors; in [1, n / rank].

    1 where all images weigh the same. Not centred. Where features are linearly dependent, U has only as many columns
    as the rank, and that takes the place of K: the others are arbitrary. Raises ValueError for a zero matrix.
    Source: Tsitsulin et al., 2023 (arXiv 2305.16562), after Candes & Recht, 2009.
    """
    squared, axes = torch.linalg.eigh(gram(h.split(ROWS)))
    kept = squared > tolerance(squared)
    rank = int(kept.sum())
    if rank == 0:
        raise ValueError(
            f"coherence needs embeddings that are not all zero, got {len(h)} zero rows: the trial collapsed"
        )
    whiten = axes[:, kept] / squared[kept].sqrt()  # U = H V / sigma
    leverage = torch.cat([(rows.double() @ whiten).square().sum(1) for rows in h.split(ROWS)])
    return Coherence(float(leverage.amax()) * len(h) / rank, rank)
