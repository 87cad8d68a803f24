"""Each criterion against values that can be worked out by hand, before any reference implementation."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.linalg import hadamard

from src.criteria.alignment import alignment
from src.criteria.alpha_req import alpha, alpha_req
from src.criteria.collapse import collapsed
from src.criteria.feature_std import feature_std
from src.criteria.lidar import lidar
from src.criteria.participation_ratio import participation_ratio
from src.criteria.rankme import rankme
from src.criteria.stable_rank import stable_rank
from src.criteria.train_loss import train_loss
from src.criteria.uniformity import uniformity
from tests.matrices import with_covariance_spectrum, with_singular_values


@pytest.mark.parametrize(
    ("sigma", "expected"),
    [((1.0, 1.0, 1.0, 1.0), 4.0), ((3.0, 1.0), 1.754765)],
)
def test_rankme_is_the_entropy_of_unsquared_singular_values(sigma: tuple[float, ...], expected: float) -> None:
    assert rankme(with_singular_values(sigma, n=32), eps=1e-7) == pytest.approx(expected, abs=1e-5)


def test_rankme_of_rank_one_shows_its_epsilon() -> None:
    z = torch.outer(torch.ones(2048), torch.ones(2048))
    assert rankme(z, eps=1e-7) == pytest.approx(1.0033, abs=1e-4)


def test_rankme_is_not_centred() -> None:
    z = with_singular_values((1.0, 1.0), n=16)
    assert rankme(z + 100, eps=1e-7) < rankme(z, eps=1e-7) - 0.5


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.7])
def test_alpha_req_recovers_a_power_law(exponent: float) -> None:
    spectrum = torch.arange(1, 513, dtype=torch.float64) ** -exponent
    h = with_covariance_spectrum(spectrum, n=1024)
    assert alpha(h) == pytest.approx(exponent, abs=1e-6)
    assert alpha_req(h) == pytest.approx(abs(exponent - 1), abs=1e-6)


def test_alpha_req_refuses_too_few_ranks() -> None:
    alpha(torch.randn(200, 51, generator=torch.manual_seed(0)))  # ranks 11..50: exactly 40
    with pytest.raises(ValueError, match=r"ranks 11\.\.49 .* at least 40"):
        alpha(torch.randn(200, 50))


def hadamard_design(lam: tuple[float, ...]) -> torch.Tensor:
    """4 images x 8 views x 4 features whose S_b is diag(lam, 0) and S_w diag(8, 2, 2, 2) / 7 plus delta."""
    columns = torch.from_numpy(hadamard(4)[:, 1:].astype("float64"))
    means = torch.cat([columns * torch.sqrt(torch.tensor(lam) * 3 / 4), torch.zeros(4, 1)], dim=1)
    e = torch.eye(4, dtype=torch.float64)
    offsets = torch.stack([2 * e[0], -2 * e[0], e[1], -e[1], e[2], -e[2], e[3], -e[3]])
    return (means[:, None] + offsets).float()


def test_lidar_whitens_by_the_scatter_within_images() -> None:
    with pytest.raises(ValueError, match="more images than features"):
        lidar(hadamard_design((4, 1, 1)), delta=1e-9, eps=1e-8)
    twice = torch.cat([hadamard_design((4, 1, 1))] * 2)  # n > d; S_b only changes by a factor, LiDAR doesn't
    assert lidar(twice, delta=1e-9, eps=1e-8) == pytest.approx(3, abs=1e-4)


def test_lidar_tends_to_the_rank_of_the_means_under_much_regularisation() -> None:
    twice = torch.cat([hadamard_design((4, 1, 1))] * 2)
    expected = math.exp(-(2 / 3 * math.log(2 / 3) + 2 / 6 * math.log(1 / 6)))  # effective rank of (4, 1, 1): 2.38
    assert expected == pytest.approx(2.38, abs=0.005)
    assert lidar(twice, delta=1e6, eps=1e-8) == pytest.approx(expected, abs=1e-3)


def test_stable_rank() -> None:
    assert stable_rank(torch.eye(7)) == pytest.approx(7)
    assert stable_rank(with_singular_values((3.0, 1.0), n=8)) == pytest.approx(10 / 9)


def test_participation_ratio() -> None:
    h = with_covariance_spectrum(torch.tensor([9.0, 1.0], dtype=torch.float64), n=64)
    assert participation_ratio(h) == pytest.approx(100 / 82)
    assert participation_ratio(h + 5) == pytest.approx(100 / 82, rel=1e-4)
    assert participation_ratio(torch.ones(5, 3)) == 0


def test_uniformity() -> None:
    assert uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-8)
    assert uniformity(torch.tensor([[1.0, 0.0], [0.0, 2.0]])) == pytest.approx(-4)
    assert uniformity(torch.ones(9, 4)) == pytest.approx(0)


def test_alignment() -> None:
    assert alignment(torch.tensor([[[1.0, 0.0], [-3.0, 0.0]]])) == pytest.approx(4)
    assert alignment(torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])) == pytest.approx(2)
    assert alignment(torch.ones(4, 5, 3)) == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="at least 2 views"):
        alignment(torch.ones(4, 1, 3))


def test_feature_std() -> None:
    cross = torch.cat([torch.eye(6), -torch.eye(6)])
    assert feature_std(cross * 3) == pytest.approx(1 / math.sqrt(6))
    assert feature_std(torch.ones(5, 3)) == pytest.approx(0, abs=1e-7)


def test_train_loss() -> None:
    assert train_loss(torch.tensor([1.0, 2.0, 6.0])) == 3


def test_collapse_names_its_reason() -> None:
    isotropic = torch.randn(256, 16, generator=torch.manual_seed(0))
    assert collapsed(isotropic, spread=0.1, rank=1.5)["reason"] == ""
    point = torch.ones(256, 16) + 1e-4 * isotropic
    assert "one point" in collapsed(point, spread=0.1, rank=1.5)["reason"]
    line = isotropic[:, :1] * torch.linspace(-1, 1, 16)
    assert "directions" in collapsed(line, spread=0.1, rank=1.5)["reason"]
    assert "finite" in collapsed(isotropic * float("nan"), spread=0.1, rank=1.5)["reason"]
