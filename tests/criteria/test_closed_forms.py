"""Each criterion against values that can be worked out by hand, before any reference implementation."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from scipy.linalg import hadamard
from torch import Tensor

from src.criteria.clid import clid
from src.criteria.collapse import collapsed
from src.criteria.consensus import consensus
from src.criteria.lidar import lidar
from src.criteria.pillai import pillai
from src.criteria.rankme import rankme
from src.criteria.spectra import eigenvalues, singular_values
from src.criteria.view_information import view_information
from src.criteria.view_retrieval import view_retrieval
from tests.criteria.inputs import scored, value
from tests.matrices import with_covariance_spectrum, with_singular_values


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cube(m: int, dimension: int, seed: int = 0) -> Tensor:
    """Uniform in a cube that lies askew in twice as many features."""
    draw = torch.Generator().manual_seed(seed)
    points = torch.rand(m, dimension, generator=draw, dtype=torch.float64)
    return points @ torch.linalg.qr(normal(2 * dimension, dimension).double())[0].T


@pytest.mark.parametrize(
    ("sigma", "expected"),
    [((1.0, 1.0, 1.0, 1.0), 4.0), ((3.0, 1.0), 1.754765)],
)
def test_rankme_is_the_entropy_of_unsquared_singular_values(sigma: tuple[float, ...], expected: float) -> None:
    assert value("rankme", singular_values(with_singular_values(sigma, n=32))) == pytest.approx(expected, abs=1e-5)


def test_rankme_of_rank_one_shows_its_epsilon() -> None:
    sigma = singular_values(torch.outer(torch.ones(2048), torch.ones(2048)))
    assert rankme(sigma, eps=1e-7) == pytest.approx(1.0033, abs=1e-4)
    assert rankme(sigma, eps=0) == pytest.approx(1, abs=1e-9)


def test_rankme_is_not_centred() -> None:
    z = with_singular_values((1.0, 1.0), n=16)
    assert value("rankme", singular_values(z + 100)) < value("rankme", singular_values(z)) - 0.5


def test_matrix_entropy_squares_what_rankme_does_not() -> None:
    sigma = singular_values(with_singular_values((3.0, 1.0), n=32))
    assert value("matrix_entropy", sigma) == pytest.approx(math.log(1.384145), abs=1e-6)
    assert value("matrix_entropy", singular_values(torch.eye(7))) == pytest.approx(math.log(7))
    assert value("matrix_entropy", torch.tensor([2.0, 0.0, 0.0])) == 0


def test_stable_rank() -> None:
    assert value("stable_rank", singular_values(torch.eye(7))) == pytest.approx(7)
    assert value("stable_rank", singular_values(with_singular_values((3.0, 1.0), n=8))) == pytest.approx(10 / 9)
    assert value("stable_rank", torch.zeros(3)) == 0


def test_participation_ratio() -> None:
    h = with_covariance_spectrum(torch.tensor([9.0, 1.0], dtype=torch.float64), n=64)
    assert value("participation_ratio", eigenvalues(h)) == pytest.approx(100 / 82)
    assert value("participation_ratio", eigenvalues(h + 5)) == pytest.approx(100 / 82)
    assert value("participation_ratio", eigenvalues(torch.full((5, 3), 0.1))) == 0


def test_nesum() -> None:
    h = with_covariance_spectrum(torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64), n=64)
    assert value("nesum", eigenvalues(h + 5)) == pytest.approx(7 / 4)
    assert value("nesum", torch.ones(9)) == 9
    assert value("nesum", torch.zeros(4)) == 0


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.7])
def test_alpha_req_recovers_a_power_law(exponent: float) -> None:
    spectrum = torch.arange(1, 513, dtype=torch.float64) ** -exponent
    fit = scored("alpha_req", eigenvalues(with_covariance_spectrum(spectrum, n=1024)))
    assert fit.alpha == pytest.approx(exponent, abs=1e-6)
    assert fit.value == pytest.approx(abs(exponent - 1), abs=1e-6)
    assert (fit.first_rank, fit.last_rank) == (11, 100)
    assert fit.r2 == pytest.approx(1, abs=1e-9)


def test_alpha_req_weighs_its_first_ranks_more_and_says_where_a_line_does_not_fit() -> None:
    rank = torch.arange(1, 201, dtype=torch.float64)
    broken = torch.where(rank <= 30, rank**-1.0, 30 * rank**-2.0)
    fit = scored("alpha_req", broken)
    assert 1 < fit.alpha < 1.75 and fit.r2 < 0.999
    assert scored("alpha_req", torch.where(rank < 11, 100.0, rank**-1.0)).alpha == pytest.approx(1)  # outside the range
    assert scored("alpha_req", torch.where(rank > 100, 1e-9, rank**-1.0)).alpha == pytest.approx(1)


def test_alpha_req_refuses_too_few_ranks() -> None:
    assert scored("alpha_req", eigenvalues(normal(200, 51))).last_rank == 50  # ranks 11..50: exactly 40
    with pytest.raises(ValueError, match=r"alpha_req fits the ranks 11\.\.49 of 50 eigenvalues.* at least 40"):
        scored("alpha_req", eigenvalues(normal(200, 50)))
    with pytest.raises(ValueError, match=r"11\.\.29 of 80 eigenvalues, 29 of them not zero.*evaluation\.images"):
        scored("alpha_req", eigenvalues(normal(30, 80)))  # the other 51 would be rounding error


def hadamard_design(lam: tuple[float, ...]) -> Tensor:
    """4 images x 8 views x 4 features whose S_b is diag(lam, 0) and S_w diag(8, 2, 2, 2) / 7 plus delta."""
    columns = torch.from_numpy(hadamard(4)[:, 1:].astype("float64"))
    means = torch.cat([columns * torch.sqrt(torch.tensor(lam) * 3 / 4), torch.zeros(4, 1)], dim=1)
    e = torch.eye(4, dtype=torch.float64)
    offsets = torch.stack([2 * e[0], -2 * e[0], e[1], -e[1], e[2], -e[2], e[3], -e[3]])
    return (means[:, None] + offsets).float()


def test_lidar_whitens_by_the_scatter_within_images() -> None:
    with pytest.raises(ValueError, match=r"lidar needs more images than features .* got 4 images x 8 views x 4"):
        lidar(hadamard_design((4, 1, 1)), delta=1e-9, eps=1e-8)
    with pytest.raises(ValueError, match=r"got 8 images x 1 views.*raise evaluation\.views"):
        lidar(torch.ones(8, 1, 4), delta=1e-9, eps=1e-8)
    twice = torch.cat([hadamard_design((4, 1, 1))] * 2)  # n > d; S_b only changes by a factor, LiDAR doesn't
    assert lidar(twice, delta=1e-9, eps=1e-8) == pytest.approx(3, abs=1e-4)


def test_lidar_tends_to_the_rank_of_the_means_under_much_regularisation() -> None:
    twice = torch.cat([hadamard_design((4, 1, 1))] * 2)
    expected = math.exp(-(2 / 3 * math.log(2 / 3) + 2 / 6 * math.log(1 / 6)))  # effective rank of (4, 1, 1): 2.38
    assert expected == pytest.approx(2.38, abs=0.005)
    assert lidar(twice, delta=1e6, eps=1e-8) == pytest.approx(expected, abs=1e-3)


def test_coherence() -> None:
    repeated = torch.eye(3).repeat(4, 1)
    assert scored("coherence", repeated) == (pytest.approx(1), 3)
    assert scored("coherence", torch.cat([torch.eye(3), torch.zeros(9, 3)])) == (pytest.approx(4), 3)


def test_coherence_of_dependent_features_is_that_of_their_span() -> None:
    lone = torch.cat([torch.eye(3), torch.zeros(9, 3)])
    twice = torch.cat([lone, 0.3 * lone], dim=1)
    assert scored("coherence", twice) == (pytest.approx(4), 3)
    with pytest.raises(ValueError, match=r"coherence needs embeddings that are not all zero, got 5 zero rows"):
        scored("coherence", torch.zeros(5, 3))


def test_self_cluster() -> None:
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert value("self_cluster", torch.eye(8)) == pytest.approx(-1 / 7)
    assert value("self_cluster", normal(1, 5).repeat(20, 1)) == pytest.approx(1)
    assert value("self_cluster", 7 * signs) == pytest.approx(-1 / 3)
    assert value("self_cluster", normal(2000, 64)) == pytest.approx(0, abs=2e-3)
    for shape in ((1, 8), (8, 1)):
        with pytest.raises(ValueError, match=rf"self_cluster needs .* got {shape[0]} x {shape[1]}: raise evaluation"):
            value("self_cluster", torch.ones(shape))


def test_uniformity() -> None:
    assert value("uniformity", torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-8)
    assert value("uniformity", torch.tensor([[1.0, 0.0], [0.0, 2.0]])) == pytest.approx(-4)
    assert value("uniformity", torch.ones(9, 4)) == pytest.approx(0)
    with pytest.raises(ValueError, match=r"uniformity needs at least 2 .* got 1: raise evaluation\.pairwise_images"):
        value("uniformity", torch.ones(1, 4))


def test_alignment() -> None:
    assert value("alignment", torch.tensor([[[1.0, 0.0], [-3.0, 0.0]]])) == pytest.approx(4)
    assert value("alignment", torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])) == pytest.approx(2)
    assert value("alignment", torch.ones(4, 5, 3)) == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match=r"alignment needs at least 2 views, got 1: raise evaluation\.views"):
        value("alignment", torch.ones(4, 1, 3))


def test_feature_std() -> None:
    cross = torch.cat([torch.eye(6), -torch.eye(6)])
    assert value("feature_std", cross * 3) == pytest.approx(1 / math.sqrt(6))
    assert value("feature_std", torch.ones(5, 3)) == pytest.approx(0, abs=1e-7)


def test_sigreg_of_normal_samples() -> None:
    expected = math.sqrt(2 * math.pi) * (1 - 1 / math.sqrt(3))
    assert expected == pytest.approx(1.0594, abs=1e-4)
    values = [value("sigreg", normal(400, 64, seed=seed)) for seed in range(8)]
    assert sum(values) / 8 == pytest.approx(expected, abs=0.1)  # its standard error is 0.04


@pytest.mark.parametrize("n", [4, 50])
def test_sigreg_of_a_collapsed_trial(n: int) -> None:
    expected = n * (math.sqrt(2 * math.pi) - 2 * math.sqrt(math.pi) + math.sqrt(2 * math.pi / 3))
    assert value("sigreg", torch.zeros(n, 5)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("departure", ["scale", "mean", "shape"])
def test_sigreg_grows_away_from_the_normal(departure: str) -> None:
    z = normal(500, 8)
    binary = [(1 - share) * z + share * z.sign() for share in (0, 0.5, 1)]  # towards the corners of a hypercube
    steps = {
        "scale": [z, 1.3 * z, 1.8 * z, 3 * z],
        "mean": [z, z + 0.2, z + 0.5, z + 1.0],
        "shape": [step / step.std(0) for step in binary],
    }[departure]
    values = [value("sigreg", step) for step in steps]
    assert values == sorted(values) and values[-1] > 2 * values[0]


@pytest.mark.parametrize("dimension", [1, 2, 4])
def test_intrinsic_dimension_of_a_cube_in_more_features(dimension: int) -> None:
    h = cube(1000, dimension)
    assert value("two_nn", h) == pytest.approx(dimension, rel=0.1)
    estimate = scored("idest", h)
    assert estimate.value == pytest.approx(dimension, rel=0.1)
    assert estimate.slope == pytest.approx(1 - 1 / dimension, abs=0.05)
    assert dimension == 1 or estimate.r2 > 0.99


def test_intrinsic_dimensions_grow_with_that_of_a_cube() -> None:
    for name in ("two_nn", "idest"):
        values = [value(name, cube(600, dimension)) for dimension in (1, 2, 4, 8, 16)]
        assert values == sorted(values)
        assert 5.5 < values[3] < 8.5  # both underestimate by the boundary


def test_two_nn_drops_duplicates_first() -> None:
    h = torch.tensor([[0.0], [1.0], [3.0]])  # r2 / r1: 3, 2, 3/2
    assert value("two_nn", h) == pytest.approx(3 / math.log(9))
    assert value("two_nn", h.repeat(3, 1)) == value("two_nn", h)
    with pytest.raises(ValueError, match=r"two_nn needs .* got 2 among 10: raise evaluation\.pairwise_images"):
        value("two_nn", h[:2].repeat(5, 1))


def test_idest_of_points_that_lie_evenly_on_a_line() -> None:
    line = torch.arange(1000.0)[:, None]
    assert scored("idest", line).value == pytest.approx(1, abs=0.01)  # the tree's length is the line's at every n


def test_idest_where_no_dimension_can_be_named() -> None:
    corners = torch.eye(64)  # all distances equal: the tree's n - 1 edges grow faster than ln n
    assert scored("idest", corners).slope > 1
    assert scored("idest", corners).value == math.inf
    with pytest.raises(ValueError, match=r"idest needs at least 64 .* got 63: raise evaluation\.pairwise_images"):
        value("idest", corners[:63])
    with pytest.raises(ValueError, match="idest needs embeddings that differ, got 64 equal ones"):
        value("idest", torch.ones(64, 3))


def test_cluster_learnability() -> None:
    clumps = 100 * torch.eye(10).repeat(10, 1) + 0.1 * normal(100, 10)  # as many as clusters are asked for
    assert value("cluster_learnability", clumps) == 1
    assert value("cluster_learnability", normal(400, 100)) < 0.35
    assert 0.5 < value("cluster_learnability", cube(400, 2)) < 0.95  # only the clusters' borders are hard to learn
    for few, message in (
        (torch.ones(3, 2), "got 3 with 1"),
        (torch.eye(3).repeat(30, 1), "9 different .* got 90 with 3"),
    ):
        with pytest.raises(ValueError, match=rf"cluster_learnability needs .*{message} different: raise evaluation"):
            value("cluster_learnability", few)


def test_rotation_probe() -> None:
    images, turn = normal(40, 8), torch.eye(4, 8)
    told = images + 20 * turn[:, None]
    assert value("rotation_probe", told) == 1
    assert value("rotation_probe", images.expand(4, -1, -1)) == 0.25  # blind to rotation: one guess for all four
    with pytest.raises(ValueError, match=r"rotation_probe needs 2 images, .* got 1: raise evaluation\.images"):
        value("rotation_probe", told[:, :1])


def test_rotation_probe_never_has_an_image_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[float] = []
    scored: list[float] = []

    def fit(features: Tensor, classes: Tensor, standard: tuple[Tensor, Tensor], **_: object) -> None:
        fitted.extend(features[:, 0].tolist())
        assert torch.allclose(standard[0], features.double().mean(0))  # of the fitted half alone
        assert torch.equal(features[:, 1].long(), classes)

    def predict(_: None, features: Tensor) -> Tensor:
        scored.extend(features[:, 0].tolist())
        return features[:, 1].long()

    monkeypatch.setattr("src.criteria.rotation_probe.fit_logistic", fit)
    monkeypatch.setattr("src.criteria.rotation_probe.predict_logistic", predict)
    image, turn = torch.arange(30.0).expand(4, -1), torch.arange(4.0)[:, None].expand(-1, 30)
    assert value("rotation_probe", torch.stack([image, turn], dim=-1)) == 1
    assert set(fitted) | set(scored) == set(range(30)) and not set(fitted) & set(scored)
    assert len(fitted) == len(scored) == 4 * 15


def test_losses() -> None:
    assert value("train_loss", torch.tensor([1.0, 2.0, 6.0])) == 3
    assert value("heldout_loss", torch.tensor([1.0, 2.0, 6.0])) == 3


def test_clid_standardises_over_the_pool() -> None:
    columns = torch.tensor([[0.1, 3.0], [0.1, 1.0], [0.4, 2.0]], dtype=torch.float64)
    a, b = 1 / math.sqrt(2), math.sqrt(3 / 2)  # of (0.1, 0.1, 0.4) and (3, 1, 2)
    assert clid(columns).tolist() == pytest.approx([b - a, -b - a, 2 * a])
    assert clid(columns * torch.tensor([7.0, 0.1]) + 5).tolist() == pytest.approx(clid(columns).tolist())


def test_clid_takes_a_constant_column_for_nothing() -> None:
    columns = torch.tensor([[0.1, 1.0], [0.1, 2.0], [0.1, 3.0]], dtype=torch.float64)
    assert clid(columns).tolist() == pytest.approx([-math.sqrt(3 / 2), 0, math.sqrt(3 / 2)])
    assert clid(columns[:1]).tolist() == [0]


def test_consensus_is_the_mean_rank() -> None:
    columns = torch.tensor([[1.0, 50.0, 0.0], [2.0, 50.0, -1.0], [3.0, 70.0, 9.0], [1.5, 60.0, -2.0]])
    ranks = [(1 + 1.5 + 3) / 3, (3 + 1.5 + 2) / 3, 4, (2 + 3 + 1) / 3]
    assert consensus(columns).tolist() == pytest.approx([rank / 4 for rank in ranks])
    assert consensus(columns.exp()).tolist() == pytest.approx(consensus(columns).tolist())  # only the order counts


def gate(z: Tensor) -> str:
    return collapsed(z, eigenvalues(z), spread=0.1, rank=1.5).reason


def test_collapse_names_its_reason() -> None:
    isotropic = normal(256, 16)
    assert gate(isotropic) == ""
    assert "one point" in gate(torch.ones(256, 16) + 1e-4 * isotropic)
    assert "directions" in gate(isotropic[:, :1] * torch.linspace(-1, 1, 16))
    assert "finite" in gate(isotropic * float("nan"))


def between_and_within(ratio: tuple[float, ...]) -> torch.Tensor:
    """64 images x 8 views whose signal-to-noise ratios along the axes are exactly these."""
    d = len(ratio)
    images = torch.from_numpy(hadamard(64)[:, 1 : d + 1].astype("float64"))  # orthogonal, mean 0, variance 64 / 63
    offsets = torch.from_numpy(hadamard(8)[:, 1 : d + 1].astype("float64"))  # variance within 8 / 7
    wanted = (torch.tensor(ratio, dtype=torch.float64) + 1 / 8) * (8 / 7) * (63 / 64)
    return images[:, None] * wanted.sqrt() + offsets


def test_view_information_is_the_mutual_information_of_a_gaussian_channel() -> None:
    e = between_and_within((3.0, 1.0, 0.0))
    assert view_information(e, ridge=1e-12) == pytest.approx((math.log(4) + math.log(2)) / 2)


def test_pillai_adds_up_the_intraclass_correlations() -> None:
    assert pillai(between_and_within((3.0, 1.0, 0.0)), ridge=1e-12) == pytest.approx(3 / 4 + 1 / 2)


@pytest.mark.parametrize("criterion", [partial(view_information, ridge=1e-9), partial(pillai, ridge=1e-9)])
def test_they_are_blind_to_any_invertible_linear_map(criterion: Callable[[torch.Tensor], float]) -> None:
    e = between_and_within((3.0, 1.0, 0.5))
    mixing = torch.tensor([[2.0, 0.3, 0.0], [0.0, 0.1, 0.7], [1.0, 0.0, 5.0]], dtype=torch.float64)
    assert criterion(e @ mixing) == pytest.approx(criterion(e), rel=1e-5)


def test_views_that_only_repeat_noise_tell_nothing_of_their_image() -> None:
    noise = torch.randn(400, 6, 5, generator=torch.Generator().manual_seed(0))
    assert view_information(noise, ridge=1e-4) < 0.2  # what is left is chance: 400 images in 5 directions
    assert view_information(noise[:, :1] + 0.1 * noise, ridge=1e-4) > 10
    with pytest.raises(ValueError, match="pillai needs more images than features and at least 2 views"):
        pillai(noise[:5], ridge=1e-4)


def test_view_retrieval_counts_views_that_find_their_image() -> None:
    images = torch.cat([torch.eye(4), -torch.eye(4)])
    assert view_retrieval(images[:, None].repeat(1, 2, 1)) == 1
    assert view_retrieval(torch.stack([images, images.roll(1, 0)], dim=1)) == 0
    half = torch.stack([images, torch.cat([images[:4], images[4:].roll(1, 0)])], dim=1)
    assert view_retrieval(half) == 0.5
    with pytest.raises(ValueError, match="at least 2 views, got 1"):
        view_retrieval(images[:, None])
