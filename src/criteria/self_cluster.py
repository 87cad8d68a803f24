from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from src.criteria.spectra import ROWS, gram


def self_cluster(h: Float[Tensor, "n d"]) -> float:
    """How much the directions of embeddings cluster: sum_ij cos_ij^2 between its mean for random directions and its
    maximum n^2; 0 for random, 1 for collapsed to one line, -1 / (max(n, d) - 1) for the most even.

    Not centred; the sum over n x n pairs is the squared norm of the d x d Gram matrix. Raises ValueError for fewer
    than 2 samples or features. Source: Tsitsulin et al., 2023 (arXiv 2305.16562).
    """
    n, d = h.shape
    if n < 2 or d < 2:
        raise ValueError(
            f"self_cluster needs at least 2 embeddings of at least 2 features, got {n} x {d}: "
            "raise evaluation.images or the model's features"
        )
    q = float(gram(F.normalize(rows.double(), dim=-1) for rows in h.split(ROWS)).square().sum())
    random = n + n * (n - 1) / d
    return (q - random) / (n**2 - random)
