"""What each criterion declares: invariances, bounds, and agreement with a float64 reference of its formula."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from src.build import build
from src.criteria.alignment import alignment
from src.criteria.alpha_req import alpha_req
from src.criteria.feature_std import feature_std
from src.criteria.lidar import lidar
from src.criteria.participation_ratio import participation_ratio
from src.criteria.rankme import rankme
from src.criteria.stable_rank import stable_rank
from src.criteria.uniformity import uniformity
from tests.project import ROOT

CONFIGS = sorted((ROOT / "conf" / "criterion").glob("*.yaml"))
IMAGE_CRITERIA: dict[str, Callable[[Tensor], float]] = {
    "rankme": partial(rankme, eps=1e-7),
    "stable_rank": stable_rank,
    "participation_ratio": participation_ratio,
    "feature_std": feature_std,
    "uniformity": uniformity,
    "alpha_req": alpha_req,
}


def embeddings(seed: int, n: int = 120, d: int = 60) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    scale = torch.logspace(0, -2, d)
    return torch.randn(n, d, generator=draw) * scale + 0.1


def views(seed: int, n: int = 40, v: int = 5, d: int = 12) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, d, generator=draw) + 0.3 * torch.randn(n, v, d, generator=draw)


def rotation(d: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d, d, generator=draw, dtype=torch.float64))[0].float()


@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100))
@pytest.mark.parametrize("name", IMAGE_CRITERIA)
def test_blind_to_scale_and_to_the_order_of_images(name: str, seed: int, scale: float) -> None:
    z, criterion = embeddings(seed), IMAGE_CRITERIA[name]
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(seed))
    assert criterion(scale * z[order]) == pytest.approx(criterion(z), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("name", ["rankme", "stable_rank", "participation_ratio", "uniformity", "alpha_req"])
def test_blind_to_rotation(name: str) -> None:
    z, criterion = embeddings(3), IMAGE_CRITERIA[name]
    assert criterion(z @ rotation(z.shape[1], 1)) == pytest.approx(criterion(z), rel=1e-3)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000))
def test_ranks_stay_inside_their_bounds(seed: int) -> None:
    n, d = 30, 20
    z = embeddings(seed, n, d)
    for name in ("rankme", "stable_rank", "participation_ratio"):
        assert 1 - 1e-6 <= IMAGE_CRITERIA[name](z) <= d + 1e-3
    assert 1 - 1e-6 <= lidar(views(seed), delta=1e-4, eps=1e-8) <= 12 + 1e-3


def test_lidar_is_not_scale_invariant_because_delta_is_absolute() -> None:
    e = views(0)
    assert lidar(e * 1e-3, delta=1e-4, eps=1e-8) != pytest.approx(lidar(e, delta=1e-4, eps=1e-8), rel=1e-3)
    assert lidar(e * 1e3, delta=1e-9, eps=1e-8) == pytest.approx(lidar(e, delta=1e-9, eps=1e-8), rel=1e-3)


def test_lidar_against_its_formula() -> None:
    e = views(5).double().numpy()
    n, v, d = e.shape
    mu_i, mu = e.mean(1), e.mean((0, 1))
    s_b = sum(np.outer(m - mu, m - mu) for m in mu_i) / (n - 1)
    s_w = sum(np.outer(x - m, x - m) for m, xs in zip(mu_i, e, strict=True) for x in xs) / (n * (v - 1))
    eigenvalues, axes = np.linalg.eigh(s_w + 1e-4 * np.eye(d))
    root = axes @ np.diag(eigenvalues**-0.5) @ axes.T
    lam = np.linalg.eigvalsh(root @ s_b @ root)
    p = lam / lam.sum() + 1e-8
    assert lidar(views(5), delta=1e-4, eps=1e-8) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-4)


def test_alignment_and_uniformity_against_their_formulas() -> None:
    z = views(7).double().numpy()
    z /= np.linalg.norm(z, axis=-1, keepdims=True)
    v = z.shape[1]
    pairs = [np.square(z[:, i] - z[:, j]).sum(-1).mean() for i in range(v) for j in range(i)]
    assert alignment(views(7)) == pytest.approx(np.mean(pairs), rel=1e-5)
    one = z[:, 0]
    kernel = [np.exp(-2 * np.square(a - b).sum()) for i, a in enumerate(one) for b in one[:i]]
    assert uniformity(views(7)[:, 0]) == pytest.approx(np.log(np.mean(kernel)), rel=1e-5)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_criterions_yaml_says_all_that_selection_needs(path: Path) -> None:
    criterion = yaml.safe_load(path.read_text())
    assert set(criterion) == {"name", "score", "space", "input", "direction", "within", "worst", "version"}
    assert criterion["name"] == path.stem
    assert criterion["space"] in ("h", "z", "history")
    assert criterion["input"] in ("images", "views", "losses")
    assert criterion["direction"] in ("higher", "lower")
    assert set(criterion["within"]) <= {"method", "dimension", "loss"}
    assert build(criterion["score"]).func.__doc__ or criterion["score"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_worst_value_is_worse_than_what_healthy_trials_reach(path: Path) -> None:
    criterion = yaml.safe_load(path.read_text())
    tensor = {"images": embeddings(0), "views": views(0), "losses": torch.tensor([4.0])}[criterion["input"]]
    value = build(criterion["score"])(tensor)
    assert (
        value > criterion["worst"]
        if criterion["direction"] == "higher"
        else value < criterion["worst"] or (path.stem == "uniformity" and value <= criterion["worst"])
    )
