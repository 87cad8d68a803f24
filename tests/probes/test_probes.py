from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, r2_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from src.probes.cross_validated import assign_folds, cross_validated
from src.probes.few_label import draw_images, few_label
from src.probes.kmeans import kmeans
from src.probes.knn import knn
from src.probes.labelled import Labelled, Score
from src.probes.linear import fit_logistic, linear, moments, predict_logistic
from src.probes.ridge import fit_ridge, ridge
from src.runtime.build import build
from src.runtime.rng import generator
from tests.project import ROOT

CONF = sorted(path for path in (ROOT / "conf" / "probe").glob("*.yaml") if "_target_: src.probes." in path.read_text())
STRENGTHS = [0.0001, 0.001, 0.01, 0.1, 1.0]
LINEAR: Any = {"strengths": [0.01, 0.1], "seed": 0}
KNN: Any = {"k": 5, "temperature": 0.07}


def blobs(n: int, seed: int, *, classes: int = 4, d: int = 6, noise: float = 0.8, per_group: int = 1) -> Labelled:
    """Gaussian classes with a factor that the features tell about; groups of ``per_group`` images of one class."""
    centres = torch.randn(classes, d, generator=generator(0, "centres"))
    groups = torch.arange(n) // per_group
    labels = groups % classes
    x = centres[labels] + noise * torch.randn(n, d, generator=generator(seed, "blobs"))
    width = x[:, 0] - x[:, 1] + 0.5 * torch.randn(n, generator=generator(seed, "width"))
    return Labelled(x, labels, groups, {"width": width.double(), "angle": x[:, 2].double().sin()})


def hard(n: int, seed: int) -> Labelled:
    """Overlapping classes in 24 correlated directions of scales from 1e-4 to 1e4, far from the origin, one constant."""
    plain = blobs(n, seed, classes=5, d=24, noise=2.5)
    mixing = torch.eye(24) + 0.9 * torch.ones(24, 24)
    scales = torch.logspace(-4, 4, 24)
    x = (plain.features @ mixing) * scales + 3 * scales
    return plain._replace(features=torch.cat([x, torch.full((n, 1), 0.1)], 1))


def accuracy(predicted: Tensor | np.ndarray, truth: Tensor) -> float:
    return float((np.asarray(predicted) == truth.numpy()).mean())


# kNN


def test_one_neighbour_is_scikit_learns() -> None:
    fitted, scored = blobs(60, 1), blobs(40, 2)
    model = KNeighborsClassifier(1, metric="cosine").fit(fitted.features, fitted.classes)
    expected = model.predict(scored.features) == scored.classes.numpy()
    score = knn(fitted, scored, k=1, temperature=0.07)
    assert score.right is not None and score.right.tolist() == expected.tolist()
    assert score.numbers == {"top1": pytest.approx(expected.mean())} and 0 < expected.mean() < 1


def test_votes_are_weighted_by_similarity() -> None:
    bank = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    fitted = Labelled(bank, torch.tensor([0, 7, 7]), torch.arange(3), {})
    scored = Labelled(torch.tensor([[1.0, 0.4]]), torch.tensor([0]), torch.tensor([3]), {})
    assert knn(fitted, scored, k=3, temperature=0.07).numbers["top1"] == 1  # one near beats two far
    assert knn(fitted, scored, k=3, temperature=100.0).numbers["top1"] == 0  # unweighted, two beat one


# linear


@pytest.mark.parametrize("make", [blobs, hard])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_logistic_regression_is_scikit_learns(make: Any, seed: int) -> None:
    fitted, scored = make(300, seed), make(1000, seed + 10)
    scaler = StandardScaler().fit(fitted.features.double())
    x, queries = scaler.transform(fitted.features.double()), scaler.transform(scored.features.double())
    for strength in STRENGTHS:
        ours = predict_logistic(
            fit_logistic(fitted.features, fitted.classes, moments(fitted.features), strength=strength), scored.features
        )
        reference = LogisticRegression(C=1 / (strength * len(x)), max_iter=10_000, tol=1e-8).fit(x, fitted.classes)
        theirs = reference.predict(queries)
        assert 0.3 < accuracy(theirs, scored.classes) < 0.99
        assert accuracy(ours, torch.from_numpy(theirs)) > 0.998


def test_the_last_fit_is_on_everything_with_the_strength_that_was_chosen() -> None:
    fitted, scored = hard(300, 1), hard(500, 2)
    score = linear(fitted, scored, strengths=STRENGTHS, seed=0)
    fit = fit_logistic(fitted.features, fitted.classes, moments(fitted.features), strength=score.numbers["strength"])
    alone = accuracy(predict_logistic(fit, scored.features), scored.classes)
    assert score.numbers["strength"] in STRENGTHS
    assert abs(score.numbers["top1"] - alone) < 0.002  # another starting point, the same optimum


def test_classes_need_neither_be_numbered_nor_all_be_there() -> None:
    """One class has a single group, so that either the choice or the fit goes without it."""
    fitted, scored = blobs(81, 1, per_group=3), blobs(60, 2)
    classes = torch.where(fitted.groups == 3, 1_000_000, fitted.classes * 10)
    for seed in range(4):
        score = linear(fitted._replace(classes=classes), scored, strengths=STRENGTHS, seed=seed)
        right = predict_logistic(
            fit_logistic(fitted.features, classes, moments(fitted.features), strength=score.numbers["strength"]),
            scored.features,
        )
        assert score.right is not None and torch.equal(score.right, right == scored.classes)


def copies(grouped: bool) -> Labelled:
    """Labels that are noise, and five near-copies of each image."""
    draw = generator(0, "copies")
    labels = torch.randint(0, 2, (60,), generator=draw).repeat_interleave(5)
    images = torch.randn(60, 40, generator=draw).repeat_interleave(5, 0)
    features = images + 0.01 * torch.randn(300, 40, generator=draw)
    groups = torch.arange(60).repeat_interleave(5) if grouped else torch.arange(300)
    return Labelled(features, labels, groups, {"noise": labels.double()})


def test_regularisation_is_chosen_by_held_out_groups() -> None:
    """Memorising pays only where copies of a held-out image are in the fit."""
    strengths = [1e-4, 100.0]
    chosen = [
        linear(copies(grouped), copies(True), strengths=strengths, seed=seed).numbers["strength"]
        for grouped, seed in ((False, 0), (True, 1))
    ]
    assert chosen == [1e-4, 100.0]


def test_cross_validation_does_not_reward_memorising() -> None:
    nearest: Any = {"k": 1, "temperature": 0.07}
    leaking, honest = (
        cross_validated(split, split, folds=5, seed=0, knn=nearest, linear=LINEAR).numbers
        for split in (copies(False), copies(True))
    )
    assert leaking["knn"] > 0.95 and leaking["linear"] > 0.8
    assert honest["knn"] < 0.7 and honest["linear"] < 0.7


# few labels


def test_few_label_draws_take_one_image_of_each_group() -> None:
    fitted = blobs(120, 1, per_group=5)
    draws = [draw_images(fitted, 4, seed=0, draw=draw) for draw in range(5)]
    for drawn in draws:
        assert fitted.classes[drawn].bincount().tolist() == [4] * 4
        assert len(fitted.groups[drawn].unique()) == 16
    assert len({tuple(drawn.tolist()) for drawn in draws}) == 5
    assert set(draw_images(fitted, 2, seed=0, draw=3).tolist()) < set(draws[3].tolist())


def test_few_label_is_the_mean_and_deviation_over_its_draws() -> None:
    fitted, scored = blobs(200, 1), blobs(200, 2)
    numbers = few_label(fitted, scored, per_class=[1, 20], draws=4, strength=0.01, seed=3).numbers
    expected = []
    for draw in range(4):
        drawn = fitted.where(draw_images(fitted, 1, seed=3, draw=draw))
        scaler = StandardScaler().fit(fitted.features)
        model = LogisticRegression(C=1 / (0.01 * len(drawn.classes)), max_iter=1000, tol=1e-8)
        model.fit(scaler.transform(drawn.features), drawn.classes)
        expected.append(accuracy(model.predict(scaler.transform(scored.features)), scored.classes))
    assert list(numbers) == ["top1_1", "top1_1_error", "top1_20", "top1_20_error"]
    assert numbers["top1_1"] == pytest.approx(np.mean(expected), abs=0.002)
    assert numbers["top1_1_error"] == pytest.approx(np.std(expected, ddof=1), abs=0.004)
    assert numbers["top1_20"] > numbers["top1_1"] and numbers["top1_20_error"] < numbers["top1_1_error"]


def test_more_labels_than_the_rarest_class_has_groups_are_left_out() -> None:
    fitted = blobs(120, 1, per_group=5)  # 6 groups a class
    found = few_label(fitted, fitted, per_class=[1, 6, 7], draws=2, strength=0.01, seed=0).numbers
    assert set(found) == {"top1_1", "top1_1_error", "top1_6", "top1_6_error"}
    assert few_label(fitted, fitted, per_class=[7], draws=2, strength=0.01, seed=0).numbers == {}


# k-means


def test_kmeans_metrics_are_those_of_scikit_learn_and_brute_force() -> None:
    scored = blobs(150, 3, noise=1.2)
    score = kmeans(scored, scored, n_init=3, seed=0)
    assert score.right is not None
    best, clusters = brute_force_matching(scored)
    assert score.numbers["accuracy"] == pytest.approx(best) == pytest.approx(float(score.right.double().mean()))
    assert score.numbers["nmi"] == pytest.approx(normalized_mutual_info_score(scored.classes, clusters))
    assert score.numbers["ari"] == pytest.approx(adjusted_rand_score(scored.classes, clusters))
    assert 0.3 < best < 0.95


def brute_force_matching(scored: Labelled) -> tuple[float, np.ndarray]:
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import normalize

    model = KMeans(4, n_init=3, random_state=0, tol=0)
    clusters = model.fit_predict(normalize(scored.features.double().numpy()))
    matched = [accuracy(np.array(order)[clusters], scored.classes) for order in permutations(range(4))]
    return max(matched), clusters


def test_kmeans_of_a_collapsed_encoder_is_chance() -> None:
    scored = blobs(40, 1)._replace(features=torch.ones(40, 6))
    assert kmeans(scored, scored, n_init=2, seed=0).numbers == {"accuracy": 0.25, "nmi": 0.0, "ari": 0.0}


def test_kmeans_sees_labels_only_to_judge() -> None:
    scored = blobs(60, 1)
    renamed = scored._replace(classes=torch.tensor([30, 10, 40, 20])[scored.classes])
    assert kmeans(scored, scored, n_init=2, seed=0).numbers == pytest.approx(
        kmeans(renamed, renamed, n_init=2, seed=0).numbers, abs=1e-12
    )


# ridge


def test_ridge_is_scikit_learns() -> None:
    fitted, scored = hard(100, 1), hard(80, 2)
    numbers = ridge(fitted, scored, strengths=[0.01], folds=5, seed=0).numbers
    scaler = StandardScaler().fit(fitted.features.double())
    x, queries = scaler.transform(fitted.features.double()), scaler.transform(scored.features.double())
    expected = {}
    for name, values in fitted.factors.items():
        predicted = Ridge(alpha=0.01 * len(x)).fit(x, values).predict(queries)
        expected[f"r2_{name}"] = r2_score(scored.factors[name], predicted)
    assert numbers == pytest.approx({"r2": np.mean(list(expected.values())), **expected}, abs=1e-6)
    assert list(numbers) == ["r2", "r2_width", "r2_angle"] and 0.1 < numbers["r2"] < 0.99


def test_ridge_chooses_the_strength_of_each_factor_on_folds_of_groups() -> None:
    fitted = hard(100, 1)
    scored, strengths = hard(80, 2), [1e-4, 0.1, 10.0]
    noise = torch.randn(100, generator=generator(0, "noise")).double()
    fitted = fitted._replace(factors={"width": fitted.factors["width"], "noise": noise})
    scored = scored._replace(factors={"width": scored.factors["width"], "noise": noise[:80]})
    fold = assign_folds("ridge", fitted, folds=5, seed=0)
    mean, scale = moments(fitted.features)
    x = ((fitted.features - mean) / scale).numpy()
    numbers = ridge(fitted, scored, strengths=strengths, folds=5, seed=0).numbers
    chosen = {}
    for name, values in fitted.factors.items():
        errors = {}
        for strength in strengths:
            parts = []
            for number in range(5):
                model = Ridge(alpha=strength * int((fold != number).sum())).fit(
                    x[fold != number], values[fold != number]
                )
                parts.append(float(((model.predict(x[fold == number]) - values[fold == number].numpy()) ** 2).sum()))
            errors[strength] = sum(parts)
        chosen[name] = min(errors, key=lambda strength: errors[strength])
        alone = ridge(fitted, scored, strengths=[chosen[name]], folds=5, seed=0).numbers
        assert numbers[f"r2_{name}"] == pytest.approx(alone[f"r2_{name}"], abs=1e-9)
    assert chosen["noise"] > chosen["width"]


def test_ridge_without_factors_says_nothing() -> None:
    fitted = blobs(40, 1)
    for factors in ({}, {"constant": torch.ones(40).double()}):
        plain = fitted._replace(factors=factors)
        assert ridge(plain, plain, strengths=[0.1], folds=2, seed=0) == Score({}, None)


def test_ridge_on_more_features_than_images() -> None:
    x = torch.randn(10, 30, generator=generator(0, "wide")).double()
    y = x[:, :2] + 5
    expected = Ridge(alpha=0.1 * 10).fit(x, y).predict(x)
    assert torch.allclose(fit_ridge(x, y, x, [0.1])[0], torch.from_numpy(expected), atol=1e-9)


# folds


@settings(max_examples=40, deadline=None)
@given(data=st.data(), folds=st.integers(2, 5), seed=st.integers(0, 1000))
def test_groups_never_straddle_folds(data: st.DataObject, folds: int, seed: int) -> None:
    groups = data.draw(st.lists(st.integers(0, 12), min_size=20, max_size=40).filter(lambda g: len(set(g)) >= folds))
    classes = torch.tensor(data.draw(st.lists(st.integers(0, 3), min_size=len(groups), max_size=len(groups))))
    split = Labelled(torch.zeros(len(groups), 1), classes, torch.tensor(groups), {})
    fold = assign_folds("cross_validated", split, folds=folds, seed=seed)
    where: dict[int, set[int]] = {}
    for group, number in zip(groups, fold.tolist(), strict=True):
        where.setdefault(group, set()).add(number)
    assert all(len(numbers) == 1 for numbers in where.values())
    sizes = torch.tensor([numbers.pop() for numbers in where.values()]).bincount(minlength=folds)
    assert set(fold.tolist()) == set(range(folds)) and sizes.max() - sizes.min() <= 1


def test_folds_are_stratified_and_depend_on_their_seed() -> None:
    split = blobs(200, 1, per_group=2)  # 25 groups of each class
    folds = [assign_folds("cross_validated", split, folds=5, seed=seed) for seed in (0, 0, 1)]
    for number in range(5):
        assert split.classes[folds[0] == number].bincount().tolist() == [10] * 4
    assert torch.equal(folds[0], folds[1]) and not torch.equal(folds[0], folds[2])


def test_cross_validated_is_each_probe_on_each_fold() -> None:
    split = blobs(90, 1, per_group=3)
    score = cross_validated(split, split, folds=3, seed=0, knn=KNN, linear=LINEAR)
    fold = assign_folds("cross_validated", split, folds=3, seed=0)
    probes: list[tuple[str, Any, dict[str, Any]]] = [("knn", knn, KNN), ("linear", linear, LINEAR)]
    for name, probe, keys in probes:
        parts = [probe(split.where(fold != f), split.where(fold == f), **keys).numbers["top1"] for f in range(3)]
        assert [score.numbers[f"{name}_fold_{f}"] for f in range(3)] == parts
        assert score.numbers[name] == pytest.approx(np.mean(parts))
        assert score.numbers[f"{name}_error"] == pytest.approx(np.std(parts, ddof=1) / 3**0.5)
    assert list(score.numbers)[:4] == ["knn", "knn_error", "linear", "linear_error"]


# every probe


def identifier(path: Path) -> str:
    return path.stem


def probe_of(path: Path) -> Any:
    config = yaml.safe_load(path.read_text())
    assert set(config) == {"score", "snapshots"} and config["snapshots"] in ("all", "last")
    assert config["score"]["_target_"] == f"src.probes.{path.stem}.{path.stem}"
    return build("probe", config["score"])


def test_configs_are_found() -> None:
    assert {path.stem for path in CONF} >= {"knn", "linear", "few_label", "kmeans", "ridge", "cross_validated"}


def test_cross_validation_has_the_settings_of_the_probes_it_runs() -> None:
    names = ("cross_validated", "knn", "linear")
    configs = {name: yaml.safe_load((ROOT / f"conf/probe/{name}.yaml").read_text())["score"] for name in names}
    for name in ("knn", "linear"):
        own = {key: value for key, value in configs[name].items() if not key.startswith("_")}
        assert configs["cross_validated"][name] == own


@pytest.mark.parametrize("path", CONF, ids=identifier)
def test_contract(path: Path) -> None:
    """Named finite numbers, whether each image was right, and inputs and global random state as they were."""
    probe, fitted, scored = probe_of(path), blobs(200, 1, per_group=2), blobs(60, 2)
    before = [split._replace(features=split.features.clone()) for split in (fitted, scored)]
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    score = probe(fitted, scored)
    assert score.numbers and all(type(value) is float and np.isfinite(value) for value in score.numbers.values())
    if score.right is not None:
        assert score.right.dtype == torch.bool and len(score.right) == len(scored.classes)
        assert next(iter(score.numbers.values())) == pytest.approx(float(score.right.double().mean()))
    for split, kept in zip((fitted, scored), before, strict=True):
        assert torch.equal(split.features, kept.features)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # type: ignore[index]


def test_twice_and_in_any_order_is_identical() -> None:
    probes = [probe_of(path) for path in CONF]
    fitted, scored = blobs(200, 1, per_group=2), blobs(60, 2)
    forwards = [probe(fitted, scored) for probe in probes]
    backwards = [probe(fitted, scored) for probe in reversed(probes)][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        assert one.numbers == other.numbers
        assert (one.right is None and other.right is None) or torch.equal(one.right, other.right)


@pytest.mark.parametrize("path", CONF, ids=identifier)
def test_unusable_splits_are_refused(path: Path) -> None:
    probe, good = probe_of(path), blobs(200, 1)
    broken = good._replace(features=good.features.clone())
    broken.features[3, 1] = float("nan")
    for bad, message in (
        (broken, "needs finite features, got NaN or infinity"),
        (good.where(torch.arange(0)), "needs at least 1 image in each split, got 0"),
        (good._replace(groups=good.groups[:9]), r"needs one class, group and factor per image, got lengths \[9, 200\]"),
    ):
        with pytest.raises(ValueError, match=rf"^probe\.{path.stem} {message}$"):
            probe(bad, bad)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b: knn(b, b, k=50, temperature=0.07), r"probe\.knn\.score\.k must be >= 1 and <= 40, got 50"),
        (lambda b: knn(b, b, k=5, temperature=0.0), r"probe\.knn\.score\.temperature must be > 0, got 0\.0"),
        (lambda b: linear(b, b, strengths=[], seed=0), r"probe\.linear\.score\.strengths must be a list like"),
        (lambda b: linear(b, b, strengths=[-1.0], seed=0), r"probe\.linear\.score\.strengths must be > 0, got -1\.0"),
        (lambda b: linear(one_group(b), b, strengths=[0.1], seed=0), "at least 2 source images"),
        (lambda b: kmeans(b, b, n_init=0, seed=0), r"probe\.kmeans\.score\.n_init must be >= 1, got 0"),
        (lambda b: kmeans(b, b, n_init=1, seed=-1), r"probe\.kmeans\.score\.seed must be >= 0"),
        (lambda b: ridge(b, b, strengths=[], folds=2, seed=0), r"probe\.ridge\.score\.strengths must be a list like"),
        (
            lambda b: ridge(b, b, strengths=[0.0], folds=2, seed=0),
            r"probe\.ridge\.score\.strengths must be > 0, got 0\.0",
        ),
        (
            lambda b: ridge(b, b, strengths=[0.1], folds=41, seed=0),
            r"probe\.ridge\.score\.folds must be >= 2 and <= 40",
        ),
        (
            lambda b: cross_validated(b, b, folds=1, seed=0, knn=KNN, linear=LINEAR),
            r"probe\.cross_validated\.score\.folds must be >= 2 and <= 40, got 1",
        ),
        (
            lambda b: few_label(b, b, per_class=[0], draws=2, strength=0.1, seed=0),
            r"probe\.few_label\.score\.per_class must be >= 1, got 0",
        ),
        (
            lambda b: few_label(b, b, per_class=[], draws=2, strength=0.1, seed=0),
            r"probe\.few_label\.score\.per_class must be a list like",
        ),
        (
            lambda b: few_label(b, b, per_class=[1], draws=1, strength=0.1, seed=0),
            r"probe\.few_label\.score\.draws must be >= 2, got 1",
        ),
        (
            lambda b: few_label(b, b, per_class=[1], draws=2, strength=0.0, seed=0),
            r"probe\.few_label\.score\.strength must be > 0, got 0\.0",
        ),
    ],
)
def test_bad_settings_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(blobs(40, 0))


def one_group(split: Labelled) -> Labelled:
    return split._replace(groups=torch.zeros_like(split.groups))
