"""The decompositions that criteria share: taken once per embedding and handed to every criterion that asks for one."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

ROWS = 4096  # in float64 at a time: a copy of the whole matrix costs more than the product


def gram(parts: Iterable[Float[Tensor, "_ d"]]) -> Float[Tensor, "d d"]:
    """x' x in float64, of a matrix x that comes in blocks of rows."""
    return reduce(torch.add, (rows.T @ rows for rows in (part.double() for part in parts)))


def singular_values(e: Float[Tensor, "n d"]) -> Float[Tensor, "k"]:
    """The min(n, d) singular values of the matrix as it is (NOT centred), descending; NaN where e isn't finite."""
    return _squared(e, torch.zeros(e.shape[1], dtype=torch.float64)).sqrt()


def eigenvalues(e: Float[Tensor, "n d"]) -> Float[Tensor, "d"]:
    """Eigenvalues of the centred covariance (over n - 1), descending, not negative; NaN where e isn't finite."""
    n, d = e.shape
    squared = _squared(e, e.mean(0, dtype=torch.float64))
    return F.pad(squared, (0, d - len(squared))) / (n - 1)


def tolerance(squared: Float[Tensor, "k"]) -> Tensor:
    """Below this an eigenvalue of a float64 Gram matrix is rounding error.

    At 512 features that is 3e-7 of the largest singular value, about the float32 resolution of the embeddings. What
    it buys over svdvals is time (bench/criteria.py), and rank one stays rank one.
    """
    return squared.amax() * len(squared) * torch.finfo(torch.float64).eps


def _squared(e: Tensor, origin: Tensor) -> Tensor:
    """Squared singular values of e - origin."""
    n, d = e.shape
    # the smaller of the two Gram matrices: their eigenvalues other than 0 are the same
    product = gram(rows.double() - origin for rows in e.split(ROWS)) if n >= d else gram([(e.double() - origin).T])
    if not product.isfinite().all():
        return torch.full((min(n, d),), torch.nan, dtype=torch.float64)  # a diverged trial is no error
    squared = torch.linalg.eigvalsh(product).flip(0)
    return squared.where(squared > tolerance(squared), 0)
