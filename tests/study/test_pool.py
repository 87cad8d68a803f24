from __future__ import annotations

from dataclasses import replace

import pytest

from src.study.pool import joined, repetitions
from src.study.results import Status
from tests.pools import member, pool


def test_healthy_are_the_complete_and_finished_the_collapsed_too() -> None:
    states: list[Status] = ["complete", "collapsed", "diverged", "stopped", "complete"]
    made = pool([member(i, status=status) for i, status in enumerate(states)])
    assert [m.number for m in made.healthy] == [0, 4]
    assert [m.number for m in made.finished] == [0, 1, 4]


def test_a_trial_proposed_twice_counts_once_where_it_first_came() -> None:
    first, other, second = member(0, trial="a"), member(1, trial="b"), member(2, trial="a")
    made = pool([first, other, second])
    assert [m.number for m in made.healthy] == [m.number for m in made.finished] == [0, 1]


def test_repetitions_are_in_the_order_of_their_proposal() -> None:
    """Though a sampler proposed the first of them again at the end."""
    seeds = [(0, "x"), (1, "y"), (1, "x"), (0, "x")]
    made = pool([member(i, trial=f"{c}{s}", configuration=c, seed=s) for i, (s, c) in enumerate(seeds)])
    found = repetitions(made.healthy)
    assert {c: [m.number for m in members] for c, members in found.items()} == {"x": [0, 2], "y": [1]}
    assert list(found) == ["x", "y"]


def test_methods_are_those_of_all_trials() -> None:
    made = pool([member(0, method="vicreg"), member(1, method="byol", status="diverged"), member(2, method="vicreg")])
    assert made.methods == ["byol", "vicreg"]


def test_joined_numbers_follow_on_and_nothing_is_there_twice() -> None:
    made = pool([member(0), member(3)])
    again = pool([member(0), replace(member(1), trial="fresh", seed=1), replace(member(2), trial="late", seed=2)])
    found = joined(made, again)
    assert [m.number for m in found.members][:2] == [0, 3] and found.name == made.name
    assert [m.trial for m in found.members[2:]] == ["fresh", "late"]
    numbers = [m.number for m in found.members]
    assert len(set(numbers)) == len(numbers) and min(numbers[2:]) > 3
    assert found.members[:2] == made.members


def test_value_is_none_where_nothing_was_measured() -> None:
    found = member(0, {"rankme_h": 3.0}, earlier=[{"rankme_h": 2.0}])
    assert (found.value("rankme_h"), found.value("rankme_h", 0), found.value("rankme_z")) == (3.0, 2.0, None)
    assert member(1, status="diverged").value("rankme_h") is None
    with pytest.raises(IndexError):
        member(1, status="diverged").last  # noqa: B018
