from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from src.probes.knn import knn
from src.probes.linear import best_strength, linear
from src.rng import generator


def blobs(n: int, seed: int, classes: int = 4, d: int = 6) -> tuple[Tensor, Tensor]:
    centres = torch.randn(classes, d, generator=generator(0, "centres"))
    labels = torch.arange(n) % classes
    return centres[labels] + 0.8 * torch.randn(n, d, generator=generator(seed, "blobs")), labels


def test_one_neighbour_is_scikit_learns() -> None:
    (bank, labels), (queries, _) = blobs(60, 1), blobs(40, 2)
    expected = KNeighborsClassifier(1, metric="cosine").fit(bank, labels).predict(queries)
    assert knn(bank, labels, queries, k=1, temperature=0.07).tolist() == expected.tolist()


def test_votes_are_weighted_by_similarity() -> None:
    bank = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    labels = torch.tensor([0, 1, 1])
    query = torch.tensor([[1.0, 0.4]])
    assert knn(bank, labels, query, k=3, temperature=0.07).item() == 0  # one near beats two far
    assert knn(bank, labels, query, k=3, temperature=100.0).item() == 1  # unweighted, two beat one


def test_too_many_neighbours_are_refused() -> None:
    bank, labels = blobs(5, 0)
    with pytest.raises(ValueError, match=r"probe\.knn\.k must be >= 1 and <= 5, got 20"):
        knn(bank, labels, bank, k=20, temperature=0.07)


def test_linear_probe_is_scikit_learns_logistic_regression() -> None:
    (bank, labels), (queries, truth) = blobs(200, 1), blobs(400, 2)
    strength = 0.01
    ours = linear(bank, labels, torch.arange(200), queries, strengths=[strength], seed=0)
    scaler = StandardScaler().fit(bank)
    reference = LogisticRegression(C=1 / (strength * 200), max_iter=1000, tol=1e-8).fit(scaler.transform(bank), labels)
    theirs = reference.predict(scaler.transform(queries))
    assert (ours.numpy() == theirs).mean() > 0.99
    assert abs(float((ours == truth).double().mean()) - float((theirs == truth.numpy()).mean())) < 0.005


def test_regularisation_is_chosen_by_held_out_sources() -> None:
    """On labels that are noise, memorising pays only where copies of a held-out source are in the fit."""
    draw = generator(0, "copies")
    labels = torch.randint(0, 2, (60,), generator=draw).repeat_interleave(5)
    copies = torch.randn(60, 40, generator=draw).repeat_interleave(5, 0) + 0.01 * torch.randn(300, 40, generator=draw)
    sources = torch.arange(60).repeat_interleave(5)
    strengths = [1e-4, 100.0]
    assert best_strength(copies.double(), labels, torch.arange(300), strengths=strengths, seed=0) == 1e-4
    assert best_strength(copies.double(), labels, sources, strengths=strengths, seed=1) == 100.0


def test_the_same_probe_twice_is_identical() -> None:
    (bank, labels), (queries, _) = blobs(80, 1), blobs(40, 2)
    runs = [linear(bank, labels, torch.arange(80), queries, strengths=[0.01, 0.1], seed=0) for _ in range(2)]
    assert torch.equal(*runs)


def test_bad_settings_are_refused() -> None:
    bank, labels = blobs(20, 0)
    with pytest.raises(ValueError, match="at least one value"):
        linear(bank, labels, torch.arange(20), bank, strengths=[], seed=0)
    with pytest.raises(ValueError, match=r"strengths must be > 0, got -1\.0"):
        linear(bank, labels, torch.arange(20), bank, strengths=[-1.0], seed=0)
    with pytest.raises(ValueError, match="at least 2 source images"):
        linear(bank, labels, torch.zeros(20, dtype=torch.int64), bank, strengths=[0.1], seed=0)
