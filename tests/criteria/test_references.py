"""Each criterion against a float64 reference written from its formula, slowly and plainly."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform

from src.criteria.idest import tree_length
from src.criteria.sigreg import sigreg
from tests.criteria.inputs import embeddings, measured, value

E = embeddings(5)
H = E[:, 0].numpy()
UNIT = H / np.linalg.norm(H, axis=1, keepdims=True)
SIGMA = np.linalg.svd(H, compute_uv=False)
LAMBDA = np.linalg.eigvalsh(np.cov(H, rowvar=False))[::-1]


def entropy(p: np.ndarray) -> float:
    return float(-(p * np.log(p)).sum())


def test_ranks() -> None:
    p = SIGMA / SIGMA.sum() + 1e-7
    assert measured("rankme", E) == pytest.approx(math.exp(entropy(p)))
    assert measured("matrix_entropy", E) == pytest.approx(entropy(SIGMA**2 / (SIGMA**2).sum()))
    assert measured("stable_rank", E) == pytest.approx(np.linalg.norm(H) ** 2 / np.linalg.norm(H, 2) ** 2)
    assert measured("participation_ratio", E) == pytest.approx(LAMBDA.sum() ** 2 / (LAMBDA**2).sum())
    assert measured("nesum", E) == pytest.approx(LAMBDA.sum() / LAMBDA[0])


def test_alpha_req() -> None:
    rank = np.arange(11, 60)  # 11..min(100, d - 1)
    slope = np.polyfit(-np.log(rank), np.log(LAMBDA[10:59]), 1, w=rank**-0.5)[0]  # numpy squares its weights
    assert measured("alpha_req", E) == pytest.approx(abs(slope - 1))


def test_lidar() -> None:
    e = E.numpy()
    n, v, d = e.shape
    mu_i, mu = e.mean(1), e.mean((0, 1))
    s_b = sum(np.outer(m - mu, m - mu) for m in mu_i) / (n - 1)
    s_w = sum(np.outer(x - m, x - m) for m, xs in zip(mu_i, e, strict=True) for x in xs) / (n * (v - 1))
    variance, axes = np.linalg.eigh(s_w + 1e-4 * np.eye(d))
    root = axes @ np.diag(variance**-0.5) @ axes.T
    lam = np.linalg.eigvalsh(root @ s_b @ root)
    assert measured("lidar", E) == pytest.approx(math.exp(entropy(lam / lam.sum() + 1e-8)))


def test_alignment_and_uniformity() -> None:
    unit = (E / E.norm(dim=-1, keepdim=True)).numpy()
    pairs = [np.square(unit[:, i] - unit[:, j]).sum(-1).mean() for i, j in itertools.combinations(range(4), 2)]
    assert measured("alignment", E) == pytest.approx(np.mean(pairs))
    assert measured("uniformity", E) == pytest.approx(np.log(np.exp(-2 * pdist(UNIT) ** 2).mean()))


def test_feature_std() -> None:
    assert measured("feature_std", E) == pytest.approx(UNIT.std(0).mean())


def test_coherence_and_self_cluster() -> None:
    n, d = H.shape
    left = np.linalg.svd(H, full_matrices=False)[0]
    assert measured("coherence", E) == pytest.approx(np.square(left).sum(1).max() * n / d)
    q = sum(float(a @ b) ** 2 for a in UNIT for b in UNIT)
    random = n + n * (n - 1) / d
    assert measured("self_cluster", E) == pytest.approx((q - random) / (n**2 - random))


def test_sigreg_is_the_integral() -> None:
    x = 0.5 * H[:, 0] + 1  # with one feature the only directions are +1 and -1, and the integral is even

    def integrand(t: float) -> float:
        distance = abs(np.exp(1j * t * x).mean() - math.exp(-t * t / 2)) ** 2
        return float(len(x) * distance * math.exp(-t * t / 2))

    expected = quad(integrand, -5, 5)[0]
    one = torch.from_numpy(x)[:, None]
    assert sigreg(one, directions=3, knots=33, seed=0) == pytest.approx(expected, rel=1e-4)
    wide = sigreg(4 * one, directions=1, knots=33, seed=0)
    assert wide == pytest.approx(sigreg(4 * one, directions=1, knots=129, seed=0), rel=1e-3)


def test_two_nn() -> None:
    distance = np.sort(squareform(pdist(H)), axis=1)
    ratio = distance[:, 2] / distance[:, 1]
    assert measured("two_nn", E) == pytest.approx(len(H) / np.log(ratio).sum())


def test_the_spanning_tree() -> None:
    distance = squareform(pdist(H))
    assert tree_length(distance) == pytest.approx(minimum_spanning_tree(distance).sum())
    twice = squareform(pdist(np.repeat(H[:20], 2, axis=0)))  # scipy takes a zero for no edge; here it costs nothing
    assert tree_length(twice) == pytest.approx(tree_length(distance[:20, :20]))


def test_idest_fits_the_growth_of_the_tree() -> None:
    """A Sierpinski triangle, whose dimension no whole number names: ln 3 / ln 2 = 1.585."""
    draw = np.random.default_rng(0)
    corners = np.array([[0, 0], [1, 0], [0.5, 3**0.5 / 2]])
    points = sum(corners[draw.integers(0, 3, 1500)] / 2**level for level in range(1, 25))
    for name in ("idest", "two_nn"):
        assert value(name, torch.from_numpy(points)) == pytest.approx(math.log2(3), rel=0.1)
