"""Matrices with a known spectrum."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def with_singular_values(sigma: Sequence[float], n: int) -> Tensor:
    """n rows, len(sigma) columns, these singular values, random singular vectors."""
    draw = torch.Generator().manual_seed(0)
    d = len(sigma)
    u, _ = torch.linalg.qr(torch.randn(n, d, generator=draw, dtype=torch.float64))
    v, _ = torch.linalg.qr(torch.randn(d, d, generator=draw, dtype=torch.float64))
    return u @ torch.diag(torch.tensor(sigma, dtype=torch.float64)) @ v.T


def with_covariance_spectrum(eigenvalues: Tensor, n: int) -> Tensor:
    """n rows whose centred covariance has exactly these eigenvalues."""
    draw = torch.Generator().manual_seed(0)
    d = len(eigenvalues)
    gaussian = torch.randn(n, d, generator=draw, dtype=torch.float64)
    u, _ = torch.linalg.qr(gaussian - gaussian.mean(0))
    v, _ = torch.linalg.qr(torch.randn(d, d, generator=draw, dtype=torch.float64))
    return u @ torch.diag(eigenvalues.sqrt()) @ v.T * (n - 1) ** 0.5
