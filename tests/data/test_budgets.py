"""Label budgets: which images of probe they label, and how well features do with those labels alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from torch import Tensor

from src.data.budgets import Budget, draw_budget, read_budget, write_budgets
from src.probes.label_budget import LabelBudget, _folds, _halves, label_budget
from src.runtime.rng import generator

PER_CLASS, DRAWS = [1, 5, 10], 3


def labels(*, classes: int = 4, groups: int = 12, copies: int = 3) -> dict[str, np.ndarray]:
    """``groups`` source images of each class with some copies, in no order."""
    order = np.random.default_rng(0).permutation(classes * groups * copies)
    group = np.repeat(np.arange(classes * groups), copies)[order]
    return {"class": group % classes * 10, "group": group}


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


# drawing


@pytest.mark.parametrize("per_class", [1, 5, 12])
def test_a_budget_has_so_many_source_images_of_each_class(per_class: int) -> None:
    found = labels()
    budget = draw_budget(found["class"], found["group"], per_class, rng(0))
    assert budget is not None and len(budget.places) == 4 * per_class
    assert np.array_equal(found["class"][budget.places], budget.classes)
    assert np.array_equal(found["group"][budget.places], budget.groups)
    assert np.unique(budget.classes, return_counts=True)[1].tolist() == [per_class] * 4
    assert len(np.unique(budget.groups)) == 4 * per_class and np.all(np.diff(budget.places) > 0)


def test_a_class_with_too_few_source_images_has_none() -> None:
    found = labels()
    assert draw_budget(found["class"], found["group"], 13, rng(0)) is None


def test_draws_are_nested_and_every_source_image_can_be_drawn() -> None:
    found = labels()
    drawn = {k: draw_budget(found["class"], found["group"], k, rng(7)) for k in (1, 5, 12)}
    places = {k: set(budget.places.tolist()) for k, budget in drawn.items() if budget is not None}
    assert places[1] < places[5] < places[12]
    seen: set[int] = set()
    for seed in range(60):
        budget = draw_budget(found["class"], found["group"], 1, rng(seed))
        assert budget is not None
        seen |= set(budget.groups.tolist())
    assert seen == set(range(48))


# files


def written(folder: Path, **other: Any) -> list[str]:
    settings: dict[str, Any] = {"labels": labels(), "per_class": PER_CLASS, "draws": DRAWS, "seed": 0}
    return write_budgets(folder, **settings | other)


def test_files_hold_the_labels_of_their_images_and_nothing_else(tmp_path: Path) -> None:
    found = labels()
    names = written(tmp_path)
    assert names == sorted([f"{k}-{draw}" for k in PER_CLASS for draw in range(DRAWS)] + ["all"])
    assert sorted(path.stem for path in tmp_path.iterdir()) == names
    for name in names:
        budget = read_budget(tmp_path / f"{name}.csv", 144)
        assert np.array_equal(found["class"][budget.places], budget.classes)
        assert np.array_equal(found["group"][budget.places], budget.groups)
        assert len(budget.places) == (144 if name == "all" else 4 * int(name.partition("-")[0]))
    assert (tmp_path / "1-0.csv").read_text().splitlines()[0] == "index,class,group"
    assert len({(tmp_path / f"5-{draw}.csv").read_text() for draw in range(DRAWS)}) == DRAWS


def test_the_same_seed_writes_the_same_files_whatever_else_is_drawn(tmp_path: Path) -> None:
    written(tmp_path / "a")
    written(tmp_path / "b", per_class=[5], draws=2)
    written(tmp_path / "c", seed=1)
    for name in ("5-0", "5-1", "all"):
        assert (tmp_path / "a" / f"{name}.csv").read_bytes() == (tmp_path / "b" / f"{name}.csv").read_bytes()
    assert (tmp_path / "a/5-0.csv").read_bytes() != (tmp_path / "c/5-0.csv").read_bytes()


def test_what_a_class_cannot_fill_is_left_out(tmp_path: Path) -> None:
    assert written(tmp_path, per_class=[1, 13], draws=1) == ["1-0", "all"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1-0.csv", "all.csv"]
    assert written(tmp_path / "none", labels={"group": np.arange(9)}) == []
    assert list((tmp_path / "none").iterdir()) == []


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"draws": 0}, r"^budgets\.draws must be >= 1, got 0$"),
        ({"per_class": [5, 0]}, r"^budgets\.per_class must be >= 1, got 0$"),
        ({"per_class": [2.5]}, r"^budgets\.per_class must be a whole number >= 1, got 2\.5$"),
    ],
)
def test_bad_settings_are_refused(tmp_path: Path, other: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        written(tmp_path, **other)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have the columns class, index .* or file, and group if there are any, .*, got none$"),
        ("index,class,group\n", "must label images of at least 2 classes, got 0 images$"),
        ("index,class,group\n0,1,0\n1,1,1\n", "must label images of at least 2 classes, got 2 images$"),
        ("index,klass\n0,1\n1,2\n", "must have the columns class, .* got index, klass$"),
        ("place,class\n0,1\n1,2\n", "must have the columns class, .* got place, class$"),
        ("index,class,group\n0,cat,0\n1,,1\n", "line 3: class is empty$"),
        ("index,class,group\n0,1\n", "line 2: group is empty$"),
        ("file,class\na.png,1\nb.png,2\n", r"line 3: 'b\.png' is no file of the probe split: images/probe\.csv"),
        ("index,class,group\n0,1,0\n9,2,1\n", "names image 9; the probe split has 9$"),
        ("index,class,group\n-1,1,0\n3,2,1\n", "line 2: index must be a whole number >= 0, got '-1'$"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_budget(path, 9, ["c.png", "a.png"])
    assert str(caught.value).startswith(str(path))


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.csv doesn't exist: it holds columns class, index"):
        read_budget(tmp_path / "none.csv", 9)
    (tmp_path / "image.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ValueError, match="isn't a table of comma-separated values"):
        read_budget(tmp_path / "image.csv", 9)


def test_extra_columns_and_any_order_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("class,note,index,group\n3,blurred,5,1\n4,,2,0\n")
    found = read_budget(path, 6)
    assert isinstance(found, Budget) and [column.tolist() for column in found] == [[5, 2], [3, 4], [1, 0]]


def test_files_and_names_of_classes_do_as_well_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("\ufefffile,class\né 1.png,dog\na/b.png,cat \n", encoding="utf-8")
    found = read_budget(path, 3, ["a/b.png", "c.png", "é 1.png"])
    assert [column.tolist() for column in found] == [[2, 0], [1, 0], [2, 0]]
    with pytest.raises(ValueError, match=r"line 3: probe has two files 'a/b\.png': give column index instead"):
        read_budget(path, 3, ["a/b.png", "a/b.png", "é 1.png"])
    with pytest.raises(ValueError, match=r"'é 1\.png' is no file of the probe split: give column index instead"):
        read_budget(path, 3)


# skill


STRENGTHS = [0.01, 0.1, 1.0, 10.0]


def few(*, classes: int = 10, per_class: int = 5, copies: int = 1) -> tuple[Tensor, Tensor]:
    groups = torch.arange(classes * per_class).repeat_interleave(copies)
    return groups % classes, groups


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed, "test budgets"))


def scored(features: Tensor, classes: Tensor, groups: Tensor, **other: Any) -> LabelBudget:
    settings: dict[str, Any] = {"folds": 5, "strengths": STRENGTHS, "halves": 2, "seed": 0}
    return label_budget(features, classes, groups, **settings | other)


def test_random_features_have_no_skill() -> None:
    classes, groups = few()
    found = [scored(normal(50, 1, 64, seed=seed), classes, groups) for seed in range(10)]
    skills = [score.skill for score in found]
    assert np.mean(skills) <= 0 and max(skills) < 0.05
    assert np.mean([score.accuracy for score in found]) < 0.2


def test_perfect_features_have_all_of_it() -> None:
    classes, groups = few()
    features = torch.eye(10)[classes][:, None]
    found = scored(features, classes, groups)
    assert found.skill > 0.99 and found.accuracy == 1


def test_better_features_have_more_skill() -> None:
    classes, groups = few()
    features = [torch.eye(10)[classes][:, None] + noise * normal(50, 1, 10, seed=1) for noise in (0.1, 0.3, 0.9)]
    skills = [scored(x, classes, groups).skill for x in features]
    assert 1 > skills[0] > skills[1] > skills[2] > -0.1


def test_copies_of_an_image_help_nobody() -> None:
    """Labels that are noise, and near-copies of each image: folds of groups leave nothing to memorise."""
    groups = torch.arange(40).repeat_interleave(5)
    classes = torch.randint(0, 2, (40,), generator=generator(0, "classes")).repeat_interleave(5)
    features = normal(40, 1, 60, seed=0).repeat_interleave(5, 0) + 0.01 * normal(200, 1, 60, seed=1)
    honest = scored(features, classes, groups)
    leaking = scored(features, classes, torch.arange(200))
    assert leaking.skill > 0.8 and honest.skill < 0.05


@settings(max_examples=50, deadline=None)
@given(data=st.data(), folds=st.integers(2, 6), views=st.integers(1, 3), seed=st.integers(0, 1000))
def test_folds_never_split_a_group_and_hold_every_class(data: st.DataObject, folds: int, views: int, seed: int) -> None:
    sizes = data.draw(st.lists(st.integers(2, 7), min_size=2, max_size=4))  # groups of each class
    owner = torch.tensor([c for c, size in enumerate(sizes) for _ in range(size)])
    copies = data.draw(st.lists(st.integers(1, 3), min_size=len(owner), max_size=len(owner)))
    groups = torch.arange(len(owner)).repeat_interleave(torch.tensor(copies))
    order = torch.randperm(len(groups), generator=generator(seed, "order"))
    groups = groups[order]
    classes = owner[groups]
    fold = _folds(classes, groups, views, folds, seed)
    assert len(fold) == len(groups) * views
    of_view, class_of_view = groups.repeat_interleave(views), classes.repeat_interleave(views)
    for group in groups.unique():
        assert len(fold[of_view == group].unique()) == 1
    wanted = set(range(min(folds, *sizes)))
    for label in classes.unique():
        assert set(fold[class_of_view == label].tolist()) == wanted


def by_hand(features: Tensor, classes: Tensor, groups: Tensor, strength: float) -> tuple[float, float]:
    """Skill and accuracy with scikit-learn's ridge."""
    fold = _folds(classes, groups, features.shape[1], 5, 0).numpy()
    x = features.flatten(0, 1).double().numpy()
    truth = classes.repeat_interleave(features.shape[1]).numpy()
    y = (truth[:, None] == np.unique(truth)).astype(float)
    x = (x - x.mean(0)) / x.std(0, ddof=1)
    predicted, prior = np.zeros_like(y), np.zeros_like(y)
    for k in np.unique(fold):
        held, mean = fold == k, y[fold != k].mean(0)
        model = Ridge(alpha=strength * (~held).sum(), fit_intercept=False, solver="svd").fit(x[~held], y[~held] - mean)
        predicted[held], prior[held] = mean + model.predict(x[held]), mean
    right = np.unique(truth)[predicted.argmax(1)] == truth
    return float(1 - ((y - predicted) ** 2).sum() / ((y - prior) ** 2).sum()), float(right.mean())


@pytest.mark.parametrize("width", [6, 200])
@pytest.mark.parametrize("views", [1, 3])
def test_skill_is_that_of_a_ridge_regression(width: int, views: int) -> None:
    """With fewer and with more features than images; classes are numbered as they like."""
    classes, groups = few(classes=4, per_class=7, copies=2)
    features = normal(56, views, width, seed=2)
    features[:, :, :4] += 2 * torch.eye(4)[classes][:, None]
    expected = {s: by_hand(features, classes, groups, s) for s in STRENGTHS}
    for strength, (skill, accuracy) in expected.items():
        found = scored(features, classes * 100 + 3, groups, strengths=[strength])
        assert found.skill == pytest.approx(skill, abs=1e-9) and found.accuracy == accuracy
    best = max(STRENGTHS, key=lambda s: expected[s][0])
    assert scored(features, classes, groups) == scored(features, classes, groups, strengths=[best])


def test_where_a_class_has_one_image_views_are_held_out() -> None:
    classes, groups = few(per_class=1)
    own, noise = normal(10, 1, 32, seed=0), normal(10, 10, 32, seed=1)
    assert scored(own + 0.1 * noise, classes, groups).skill > 0.9
    assert scored(noise, classes, groups).skill < 0.05
    fold = _folds(classes, groups, 10, 5, 0).reshape(10, 10)
    assert torch.equal(fold, fold[:1].expand(10, 10)) and fold[0].bincount().tolist() == [2] * 5
    assert _folds(classes, groups, 3, 5, 0).unique().tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"leaves nothing to hold out: raise views to at least 2$"):
        scored(own, classes, groups)


def test_halves_spread_as_other_labelled_images_would() -> None:
    """The skills of fresh draws of labelled images vary as much as those of halves of one draw say."""
    classes, groups = few(classes=4, per_class=25)
    truth = torch.eye(4)[classes][:, None]
    found = [scored(truth + 0.6 * normal(100, 1, 4, seed=s), classes, groups, halves=100) for s in range(40)]
    told = np.mean([np.std(one.halves, ddof=1) for one in found])
    assert 0.7 < told / np.std([one.skill for one in found], ddof=1) < 1.4
    assert np.mean([np.mean(one.halves) - one.skill for one in found]) == pytest.approx(0, abs=0.01)


def test_halves_hold_whole_groups_and_are_the_same_for_all_trials() -> None:
    _, groups = few(classes=3, per_class=5, copies=2)
    halves = _halves(groups.repeat_interleave(2), 6, 0)
    assert halves.shape == (6, 60) and (halves.sum(1) == 7 * 4).all() and len(halves.unique(dim=0)) > 1
    assert all((halves[:, groups.repeat_interleave(2) == group].unique(dim=1).shape[1] == 1) for group in range(15))
    assert torch.equal(halves, _halves(groups.repeat_interleave(2), 6, 0)) and _halves(groups, 0, 0).shape == (0, 30)


def test_constant_features_have_no_skill_and_no_nan() -> None:
    classes, groups = few()
    found = scored(torch.ones(50, 1, 8), classes, groups)
    assert found.skill == pytest.approx(0, abs=1e-9)


def test_images_of_one_group_leave_nothing_to_hold_out() -> None:
    with pytest.raises(ValueError, match=r"^labelled images of one group .* leave nothing to hold out"):
        scored(normal(4, 1, 8, seed=0), torch.tensor([0, 1, 0, 1]), torch.zeros(4, dtype=torch.int64))


def test_the_seed_decides_the_folds_alone() -> None:
    classes, groups = few()
    features = torch.eye(10)[classes][:, None] + 0.3 * normal(50, 1, 10, seed=1)
    state = torch.get_rng_state()
    once, again, other = (scored(features, classes, groups, seed=seed) for seed in (0, 0, 1))
    assert once == again and once != other and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("other", "message"),
    [({"folds": 1}, r"^folds must be >= 2, got 1$"), ({"strengths": [0.1, 0.0]}, r"^strengths must be > 0, got 0\.0$")],
)
def test_bad_numbers_are_refused(other: dict[str, Any], message: str) -> None:
    classes, groups = few()
    with pytest.raises(ValueError, match=message):
        scored(normal(50, 1, 4, seed=0), classes, groups, **other)
