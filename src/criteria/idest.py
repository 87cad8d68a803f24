from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from src.runtime import check
from src.runtime.rng import generator

FEWEST = 8  # points of the smallest tree


class Idest(NamedTuple):
    value: float  # the dimension 1 / (1 - slope), infinite from slope 1 on
    slope: float
    r2: float


def idest(h: Float[Tensor, "m d"], *, sizes: int, smallest: float, repeats: int, seed: int) -> Idest:
    """Intrinsic dimension from how the length L of the minimum spanning tree grows: L ~ n^(1 - 1/dimension); > 0.

    Least squares of ln L on ln n over ``sizes`` sizes n from smallest * m to m, even in ln n, ln L averaged over
    ``repeats`` random orders whose first n rows are the n points. Lower is better; uninformative in the first epochs.
    Raises ValueError for too few embeddings or where all are equal. Source: IdEst, ICML 2026 (arXiv 2606.03338).
    """
    check.number("criterion.score.sizes of idest", sizes, at_least=3, whole=True)
    check.number("criterion.score.smallest of idest", smallest, above=0, below=1)
    check.number("criterion.score.repeats of idest", repeats, at_least=1, whole=True)
    m = len(h)
    if smallest * m < FEWEST:
        raise ValueError(
            f"idest needs at least {FEWEST / smallest:g} embeddings for its smallest tree, got {m}: "
            "raise evaluation.pairwise_images"
        )
    # centring moves no distance, and a common offset would cost them digits
    centred = h.double() - h.double().mean(0)
    distance = torch.cdist(centred, centred).numpy()
    if not distance.any():
        raise ValueError(f"idest needs embeddings that differ, got {m} equal ones: the trial collapsed")
    orders = [torch.randperm(m, generator=generator(seed, "idest", i)).numpy() for i in range(repeats)]
    # rounded sizes may coincide
    counts = np.unique(np.geomspace(smallest * m, m, sizes).round().astype(int))
    lengths = [[tree_length(distance[np.ix_(order[:n], order[:n])]) for n in counts] for order in orders]
    x, y = np.log(counts), np.log(lengths).mean(0)
    x, y = x - x.mean(), y - y.mean()
    slope = x @ y / (x @ x)
    r2 = 1 - np.square(y - slope * x).sum() / max(y @ y, np.finfo(float).tiny)
    return Idest(float(1 / (1 - slope)) if slope < 1 else float("inf"), float(slope), float(r2))


def tree_length(distance: np.ndarray) -> float:
    """Length of the minimum spanning tree by Prim's algorithm; unlike scipy's, zero distances are edges too."""
    outside = np.ones(len(distance), dtype=bool)
    reach = np.full(len(distance), np.inf)  # distance of each point from the tree
    total, newest = 0.0, 0
    for _ in range(len(distance) - 1):
        outside[newest] = False
        np.minimum(reach, distance[newest], out=reach)
        newest = int(np.where(outside, reach, np.inf).argmin())
        total += reach[newest]
    return float(total)
