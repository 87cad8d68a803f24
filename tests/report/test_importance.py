from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from src.report.importance import FEWEST, encoded, importance, varied
from src.study.pool import TrialResult
from tests.pools import member

COUNT = 40


def configurations(seed: int = 0, *, seeds: int = 1) -> list[TrialResult]:
    """Trials with a knob over decades, a linear one, words, a switch and one that never varies."""
    rng = np.random.default_rng(seed)
    members = []
    for number in range(COUNT):
        knobs: dict[str, Any] = {
            "optimizer.learning_rate": float(10 ** rng.uniform(-4, -1)),
            "method.temperature": float(rng.uniform(0.1, 1.0)),
            "schedule.name": str(rng.choice(["cosine", "flat", "linear"])),
            "augmentation.flip": bool(rng.integers(2)),
            "model.width": 16,
        }
        members += [member(number + COUNT * s, configuration=f"c{number}", seed=s, knobs=knobs) for s in range(seeds)]
    return members


def knob(members: list[TrialResult], name: str) -> Any:
    return np.array([m.knobs[name] for m in members])


def centred(members: list[TrialResult]) -> tuple[Any, Any]:
    rate = np.log10(knob(members, "optimizer.learning_rate")) + 2.5
    return rate / 1.5, (knob(members, "method.temperature") - 0.55) / 0.45


# knobs as numbers


def test_knobs_that_vary_keep_their_order() -> None:
    names = ["optimizer.learning_rate", "method.temperature", "schedule.name", "augmentation.flip"]
    assert varied(configurations()) == names and varied(configurations()[:1]) == []


def test_decades_are_taken_in_logarithms_and_words_by_codes() -> None:
    found = [
        member(i, knobs=k)
        for i, k in enumerate(
            [
                {"a": 0.001, "b": 1.0, "c": "x", "d": 0.0, "e": None, "f": True},
                {"a": 0.1, "b": 20.0, "c": "y", "d": 100.0, "e": 3, "f": False},
                {"a": 0.01, "b": 5.0, "c": "x", "d": 1.0, "e": 2, "f": True},
            ]
        )
    ]
    x = encoded(found, ["a", "b", "c", "d", "f"])
    assert np.allclose(x.T, [[-3, -1, -2], [1, 20, 5], [0, 1, 0], [0, 100, 1], [1, 0, 1]])  # a zero has no logarithm
    assert len(set(encoded(found, ["e"])[:, 0])) == 3  # null is a word of its own


# importance


def test_the_knob_that_matters_is_found() -> None:
    members = configurations()
    rate, _ = centred(members)
    target = rate + 0.1 * np.random.default_rng(1).normal(size=COUNT)
    found = importance(members, target, seed=0, pairs=False)
    assert found is not None and found.r2 > 0.8 and found.pairs is None
    knobs = found.knobs
    assert max(knobs, key=lambda name: knobs[name]) == "optimizer.learning_rate"
    assert knobs["optimizer.learning_rate"] > 1 and all(v < 0.1 for n, v in knobs.items() if "rate" not in n)
    assert found.error["optimizer.learning_rate"] > 0 and set(found.error) == set(knobs) == set(varied(members))


@pytest.mark.parametrize("name", ["schedule.name", "augmentation.flip"])
def test_words_and_switches_can_matter(name: str) -> None:
    members = configurations()
    target = (knob(members, name) == knob(members, name)[0]) + 0.1 * np.random.default_rng(1).normal(size=COUNT)
    found = importance(members, target, seed=0, pairs=False)
    assert found is not None and max(found.knobs, key=lambda n: found.knobs[n]) == name


def test_the_planted_interaction_is_the_first_pair() -> None:
    members = configurations()
    rate, temperature = centred(members)
    found = importance(members, np.sign(rate) * np.sign(temperature), seed=0, pairs=True)
    assert found is not None and found.r2 > 0.3 and found.pairs is not None
    first, *rest = found.pairs.items()
    assert first[0] == "optimizer.learning_rate x method.temperature" and abs(first[1]) > 3 * abs(rest[0][1])


def test_knobs_that_add_up_do_not_interact() -> None:
    members = configurations()
    rate, temperature = centred(members)
    found = importance(members, rate + temperature, seed=0, pairs=True)
    assert found is not None and found.r2 > 0.6 and found.pairs is not None
    assert abs(found.pairs.get("optimizer.learning_rate x method.temperature", 0.0)) < 0.25


@pytest.mark.parametrize("seed", range(3))
def test_of_noise_the_forest_knows_nothing(seed: int) -> None:
    """Which r2 says; the importances of such a forest are noise as well."""
    members = configurations(seed)
    found = importance(members, np.random.default_rng(seed).normal(size=COUNT), seed=seed, pairs=False)
    assert found is not None and found.r2 <= 0


def test_seeds_of_one_configuration_are_held_out_together() -> None:
    """Noise that two seeds share can't be learned from other configurations, only from each other."""
    members = configurations(seeds=2)
    noise = np.random.default_rng(0).normal(size=COUNT)
    target = np.array([noise[int(m.configuration[1:])] for m in members])
    found = importance(members, target, seed=0, pairs=False)
    assert found is not None and found.r2 <= 0


def test_few_or_equal_configurations_say_nothing() -> None:
    members = configurations()
    rate, _ = centred(members)
    assert importance(members[: FEWEST - 1], rate[: FEWEST - 1], seed=0, pairs=False) is None
    assert importance(members[:FEWEST], rate[:FEWEST], seed=0, pairs=False) is not None
    assert importance(members, np.ones(COUNT), seed=0, pairs=False) is None
    same = [member(i, configuration=f"c{i}", knobs={"a": 1}) for i in range(COUNT)]
    assert importance(same, rate, seed=0, pairs=False) is None
    few = [m for m in configurations(seeds=2) if int(m.configuration[1:]) < FEWEST - 1]
    assert importance(few, np.arange(float(len(few))), seed=0, pairs=False) is None  # seeds are no configurations


def test_the_same_seed_gives_the_same_numbers() -> None:
    members = configurations()
    rate, temperature = centred(members)
    once, again = (importance(members, rate * temperature, seed=4, pairs=True) for _ in range(2))
    assert once == again and once is not None
