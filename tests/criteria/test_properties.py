"""What each criterion's yaml declares: invariances, a direction, a worst value, what compared trials must share."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from src.runtime.build import build
from tests.criteria.inputs import CONFIGS, INPUTS, OF_EMBEDDINGS, embeddings, given, measured, scored, value


def rotation(d: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d, d, generator=draw, dtype=torch.float64))[0]


def shift(d: int, seed: int) -> Tensor:
    return torch.randn(d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


CHANGES: dict[str, Callable[[Tensor, int, float], Tensor]] = {
    "scale": lambda e, seed, size: e * size,
    "rotation": lambda e, seed, size: e @ rotation(e.shape[-1], seed),
    "translation": lambda e, seed, size: e + shift(e.shape[-1], seed),
    "permutation": lambda e, seed, size: e[torch.randperm(len(e), generator=torch.Generator().manual_seed(seed))],
}
DECLARED = [(name, change) for name in OF_EMBEDDINGS for change in CONFIGS[name]["invariances"]]
UNDECLARED = [
    (name, change)
    for name in OF_EMBEDDINGS
    for change in ("scale", "rotation", "translation")
    if change not in CONFIGS[name]["invariances"]
]


@pytest.mark.parametrize(("name", "change"), DECLARED)
@settings(max_examples=3, deadline=None, derandomize=True)
@drawn(seed=st.integers(0, 10_000), size=st.floats(0.01, 100))
def test_blind_to_what_is_declared(name: str, change: str, seed: int, size: float) -> None:
    e = embeddings(seed)
    assert measured(name, CHANGES[change](e, seed, size)) == pytest.approx(measured(name, e), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("name", "change"), UNDECLARED)
def test_not_blind_to_anything_else(name: str, change: str) -> None:
    e = embeddings(1)
    assert measured(name, CHANGES[change](e, 1, 0.05)) != pytest.approx(measured(name, e), rel=1e-3)


@pytest.mark.parametrize("name", ["idest", "cluster_learnability", "rotation_probe", "sigreg"])
def test_the_same_seed_gives_the_same_value_and_another_seed_another(name: str) -> None:
    tensor = given(CONFIGS[name]["input"], embeddings(2))
    score = build("criterion", CONFIGS[name]["score"])
    state = torch.get_rng_state()
    assert score(tensor) == score(tensor)
    assert len({score(tensor, seed=seed) for seed in range(6)}) > 1
    assert torch.equal(torch.get_rng_state(), state)


@settings(max_examples=10, deadline=None, derandomize=True)
@drawn(seed=st.integers(0, 10_000))
def test_values_stay_inside_their_bounds(seed: int) -> None:
    n, v, d = 40, 4, 12
    e = embeddings(seed, n, v, d)
    bounds: dict[str, tuple[float, float]] = dict.fromkeys(
        ("rankme", "lidar", "stable_rank", "participation_ratio", "nesum"), (1.0, d)
    )
    bounds |= {"matrix_entropy": (0, math.log(d)), "coherence": (1, n / d), "self_cluster": (-1 / (n - 1), 1)}
    bounds |= {"alignment": (0, 4), "uniformity": (-8, 0), "feature_std": (0, d**-0.5), "sigreg": (0, 7.5 * n)}
    bounds |= {"two_nn": (0, math.inf), "cluster_learnability": (0, 1), "rotation_probe": (0, 1)}
    for name, (low, high) in bounds.items():
        assert low - 1e-5 <= measured(name, e) <= high + 1e-5, name


def test_ranks_do_not_grow_with_features_that_say_nothing_new() -> None:
    e = embeddings(3, d=12)
    twice = torch.cat([e, e], dim=-1)
    for name in ("rankme", "stable_rank", "participation_ratio", "nesum", "matrix_entropy", "coherence"):
        assert measured(name, twice) == pytest.approx(measured(name, e), rel=1e-4), name


@pytest.mark.parametrize("name", OF_EMBEDDINGS)
def test_float32_is_enough(name: str) -> None:
    e = embeddings(4)
    assert measured(name, e.float()) == pytest.approx(measured(name, e), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(("name", "criterion"), CONFIGS.items(), ids=list(CONFIGS))
def test_a_criterions_yaml_says_all_that_selection_needs(name: str, criterion: dict[str, Any]) -> None:
    keys = {"name", "score", "input", "spaces", "direction", "invariances", "worst", "version"}
    pool = criterion["input"] == "columns"
    assert set(criterion) == keys | ({"columns"} if pool else {"within"})
    assert criterion["name"] == name
    assert criterion["score"]["_target_"] == f"src.criteria.{name}.{name}"
    assert criterion["input"] in INPUTS
    assert criterion["direction"] in ("higher", "lower", "none")
    assert set(criterion.get("within", ())) <= {"method", "dimension", "loss"}
    assert set(criterion["invariances"]) <= set(CHANGES)
    assert type(criterion["version"]) is int
    assert (criterion["worst"] is None) == (pool or criterion["direction"] == "none")
    assert criterion["worst"] is None or math.isfinite(criterion["worst"])
    of_embeddings = name in OF_EMBEDDINGS
    assert criterion["spaces"] in (["h"], ["z"], ["h", "z"], ["z", "h"]) if of_embeddings else criterion["spaces"] == []
    assert of_embeddings or criterion["invariances"] == []


@pytest.mark.parametrize("name", [name for name, c in CONFIGS.items() if c["input"] == "columns"])
def test_the_columns_of_a_pool_are_other_criteria_in_a_space_of_theirs(name: str) -> None:
    columns = CONFIGS[name]["columns"]
    assert len(set(columns)) == len(columns) > 1
    for column in columns:
        criterion, space = CONFIGS[column.rpartition("_")[0]], column.rpartition("_")[2]
        assert space in criterion["spaces"]
        assert criterion["direction"] != "none"


@pytest.mark.parametrize(("name", "criterion"), CONFIGS.items(), ids=list(CONFIGS))
def test_settings_live_in_the_yaml_alone(name: str, criterion: dict[str, Any]) -> None:
    function = build("criterion", criterion["score"]).func
    given_here, *rest = inspect.signature(function).parameters.values()
    assert all(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in rest)
    assert given_here.default is given_here.empty
    assert {p.name for p in rest} == set(criterion["score"]) - {"_target_", "_partial_"}
    assert "Source" in (function.__doc__ or "") or name in ("train_loss", "heldout_loss", "consensus")


@pytest.mark.parametrize("name", [name for name, c in CONFIGS.items() if c["worst"] is not None])
def test_the_worst_value_is_worse_than_what_healthy_trials_reach(name: str) -> None:
    criterion = CONFIGS[name]
    healthy = measured(name, embeddings(0)) if name in OF_EMBEDDINGS else value(name, torch.tensor([4.0]))
    assert healthy > criterion["worst"] if criterion["direction"] == "higher" else healthy < criterion["worst"]


@pytest.mark.parametrize("name", OF_EMBEDDINGS)
def test_what_is_returned_is_plain_numbers(name: str) -> None:
    result = scored(name, given(CONFIGS[name]["input"], embeddings(0)))
    if isinstance(result, tuple):
        assert result._fields[0] == "value"  # type: ignore[attr-defined]
    assert all(type(number) in (float, int) for number in (result if isinstance(result, tuple) else (result,)))


@pytest.mark.parametrize(
    ("name", "setting", "wrong"),
    [
        ("rankme", "eps", -1.0),
        ("lidar", "delta", 0.0),
        ("lidar", "eps", -1.0),
        ("alpha_req", "first_rank", 0),
        ("alpha_req", "fewest_ranks", 1),
        ("sigreg", "directions", 0),
        ("sigreg", "knots", 1),
        ("idest", "sizes", 2),
        ("idest", "smallest", 1.0),
        ("idest", "repeats", 0),
        ("cluster_learnability", "restarts", 0),
    ],
)
def test_a_wrong_setting_is_refused_by_its_key(name: str, setting: str, wrong: float) -> None:
    tensor = given(CONFIGS[name]["input"], embeddings(0))
    with pytest.raises(ValueError, match=rf"^criterion\.score\.{setting} of {name} must be .*, got {wrong}$"):
        build("criterion", CONFIGS[name]["score"])(tensor, **{setting: wrong})
