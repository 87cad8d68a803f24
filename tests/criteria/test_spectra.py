"""The shared decompositions against the singular value decomposition, and where they must not lose anything."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from src.criteria.rankme import rankme
from src.criteria.spectra import ROWS, eigenvalues, gram, singular_values
from tests.matrices import with_singular_values


@pytest.mark.parametrize("shape", [(300, 40), (40, 300), (40, 40), (ROWS + 3, 5)])
def test_against_numpy(shape: tuple[int, int]) -> None:
    e = torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 3
    sigma = np.linalg.svd(e.double().numpy(), compute_uv=False)
    assert singular_values(e).numpy() == pytest.approx(sigma, rel=1e-9)
    lam = np.linalg.eigvalsh(np.cov(e.double().numpy(), rowvar=False))[::-1]
    assert eigenvalues(e).numpy() == pytest.approx(lam.clip(0), rel=1e-9, abs=1e-9)
    assert gram([e]).dtype == singular_values(e).dtype == eigenvalues(e).dtype == torch.float64


def test_fewer_images_than_features_leave_zeros() -> None:
    e = torch.randn(10, 25, generator=torch.Generator().manual_seed(0))
    assert eigenvalues(e).shape == (25,) and int((eigenvalues(e) > 0).sum()) == 9  # one is lost to the mean
    assert singular_values(e).shape == (10,)


def test_singular_values_are_not_centred_and_eigenvalues_are() -> None:
    constant = torch.full((8, 3), 0.1)
    assert singular_values(constant).tolist() == pytest.approx([0.1 * 24**0.5, 0, 0])
    assert eigenvalues(constant).tolist() == [0, 0, 0]


@pytest.mark.parametrize("decay", [1e-2, 1e-4, 1e-6])
def test_small_singular_values_keep_their_weight_in_rankme(decay: float) -> None:
    e = with_singular_values([1.0] + [decay] * 99, n=150)
    exact = rankme(torch.linalg.svdvals(e), eps=1e-7)
    assert rankme(singular_values(e), eps=1e-7) == pytest.approx(exact, rel=1e-6)


def test_rounding_of_a_rank_one_is_not_a_rank() -> None:
    draw = torch.Generator().manual_seed(0)
    e = torch.outer(torch.randn(400, generator=draw).double(), torch.randn(300, generator=draw).double())
    assert int((torch.linalg.svdvals(e) > 0).sum()) > 1
    assert int((singular_values(e) > 0).sum()) == 1


def test_what_is_not_finite_gives_nan_and_no_error() -> None:
    e = torch.ones(6, 4)
    e[2, 1] = torch.inf
    assert singular_values(e).isnan().all() and eigenvalues(e).isnan().all()
