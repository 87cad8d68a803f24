from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from src.evidence.page import render
from src.evidence.rule_validation import findings
from src.evidence.settings import Settings
from src.runtime import files
from src.runtime.settings import hold
from src.runtime.stats import by_group
from src.selection.ranking import rank
from src.selection.rule import make_rule
from src.study.pool import Pool
from src.study.table import read_about, read_pool, write_table
from tests.composed import plain_of
from tests.pools import SMALL, member, planted, pool

SETTINGS = replace(hold("", plain_of(stage="evidence"), Settings), halvings=3, resamples=40)
SETTINGS = replace(SETTINGS, rule=replace(SETTINGS.rule, largest=1))
METHODS = ("simclr", "byol")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "docs" / "study.parquet"


def exact(found: Pool) -> str:
    """Everything a pool holds, to the last digit; halves in the single precision in which they are kept."""
    members = []
    for m in found.members:
        plain = asdict(replace(m, snapshots=[]))
        plain["snapshots"] = [asdict(s) | {"right": {p: r.tolist() for p, r in s.right.items()}} for s in m.snapshots]
        plain["halves"] = {c: np.array(values, np.float32).tolist() for c, values in m.halves.items()}
        members.append(plain)
    return json.dumps({**asdict(replace(found, members=[])), "members": members}, sort_keys=True)


def both(path: Path, study: str) -> Pool:
    return read_pool(path, study, probes=True, budgets=True)


def varied() -> Pool:
    """Every kind of trial: of more and of fewer snapshots, without any, refused, with odd values."""
    rng = np.random.default_rng(0)
    values = {"rankme_z": 0.1 + 0.2, "lidar_z": 1e-300, "train_loss": -1e22, "rankme_h": 5e-324}
    return pool(
        [
            member(
                *(0, values),
                earlier=[{"rankme_z": 1 / 3}, {}],
                right=rng.integers(0, 2, 30).astype(float),
                halves={"rankme_z": [0.1, 0.2 + 1e-16, 0.3, -4.0], "lidar_z": [7.0]},
                budgets={"5-0": 2 / 3, "all": -0.1},
                overrides=["method.temperature=0.2", "batch_size=64"],
                seconds=1.5,
            ),
            member(1, {"rankme_z": 3.0}, seconds=None, reason="", refused={"lidar_z": "needs, it says, n > d"}),
            member(2, status="diverged", reason="the loss is not finite at step 3", seconds=None),
            member(3, status="stopped", reason="by the pruner"),
            member(4, values, status="collapsed", reason="rank 1.0 of 32", dimensions={"h": 8, "z": 4}),
            member(
                *(5, values),
                knobs={"a": None, "b": [1, 2.5], "c": "word", "d": True, "e": 0.1 + 0.2, "f": 10**12, "g": "1"},
                numerics={"torch": "2.11", "threads": 2, "device": "cpu", "source": "ü"},
            ),
        ]
    )


# round trip


def test_what_is_written_is_read(path: Path) -> None:
    pools = [varied(), planted(seed=1, name="other", data="shapes", repeated=3, sources=7)]
    write_table(path, pools, {"made": {"git": "abc"}})
    for made in pools:
        assert exact(both(path, made.name)) == exact(made)
    assert read_about(path).facts == {"made": {"git": "abc"}}


def test_writing_what_was_read_gives_the_same_bytes(path: Path) -> None:
    pools = [varied(), planted(seed=1, name="other")]
    write_table(path, pools, {})
    before = path.read_bytes()
    write_table(path, [both(path, made.name) for made in pools], {})
    assert path.read_bytes() == before


def test_losses_that_nobody_kept_stay_unknown(path: Path) -> None:
    made = planted(seed=0)
    first = made.members[0]
    silent = replace(first, snapshots=[replace(s, loss=None) for s in first.snapshots])
    made = replace(made, members=[silent, *made.members[1:]])
    write_table(path, [made], {})
    assert both(path, "made").members[0].last.loss is None and exact(both(path, "made")) == exact(made)


@pytest.mark.parametrize("copies", range(1, 7))
def test_shares_right_are_exact_for_up_to_six_copies(path: Path, copies: int) -> None:
    group = np.repeat(np.arange(copies + 1), copies)
    correct = np.concatenate([np.arange(copies) < k for k in range(copies + 1)])
    right = by_group(correct, group)
    write_table(path, [pool([member(0, {}, right=right)])], {})
    found = both(path, "made").members[0].last.right["linear"]
    assert found.tolist() == [k / copies for k in range(copies + 1)]
    assert np.abs(found - right).max() < 1e-15


def test_shares_of_other_numbers_of_copies_are_close(path: Path) -> None:
    right = np.arange(8) / 7
    write_table(path, [pool([member(0, {}, right=right)])], {})
    assert np.abs(both(path, "made").members[0].last.right["linear"] - right).max() <= 0.5 / 240


def test_pools_may_have_different_columns(path: Path) -> None:
    """Each reads back without the other's criteria, knobs, probes and budgets."""
    first = pool([member(0, {"rankme_z": 1.0}, knobs={"a": 1}, budgets={"5-0": 0.1}, right=np.ones(4))], name="first")
    second = pool(
        [member(0, {"lidar_h": 2.0}, knobs={"b": "x"}, budgets={"all": 0.2}, right=np.ones(9), quality="knn")],
        name="second",
        criteria=(*SMALL, "pillai"),
    )
    write_table(path, [first, second], {})
    assert exact(both(path, "first")) == exact(first) and exact(both(path, "second")) == exact(second)
    assert set(both(path, "second").criteria) == {*SMALL, "pillai"}


def test_a_failed_write_leaves_the_table_as_it_was(path: Path) -> None:
    write_table(path, [varied()], {})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_table(path, [varied()], {"bad": float("nan")})
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]


# the label wall


def labelled(name: str) -> bool:
    return name.startswith(("probe.", "right.", "budget."))


def test_without_probes_nothing_labelled_is_there(path: Path) -> None:
    made = planted(seed=0)
    write_table(path, [made], {})
    blind = read_pool(path, "made", probes=False, budgets=False)
    assert all(not m.budgets and not any(s.probes or s.right for s in m.snapshots) for m in blind.members)
    few = read_pool(path, "made", probes=False, budgets=True)
    assert [m.budgets for m in few.members] == [m.budgets for m in made.members]
    assert not any(s.probes or s.right for m in few.members for s in m.snapshots)
    assert exact(blind) == exact(
        replace(
            made,
            members=[
                replace(m, budgets={}, snapshots=[replace(s, probes={}, right={}) for s in m.snapshots])
                for m in made.members
            ],
        )
    )


def test_without_probes_nothing_labelled_is_read(path: Path) -> None:
    """Not a byte of it: with all of that overwritten, selection comes out the same."""
    write_table(path, [planted(seed=0)], {})
    before = files.to_json(selected(path, blind=True))
    content, about = bytearray(path.read_bytes()), pq.read_metadata(path)
    for number in range(about.num_columns):
        chunk = about.row_group(0).column(number)
        if labelled(chunk.path_in_schema):
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(bytes(content))
    assert files.to_json(selected(path, blind=True)) == before
    with pytest.raises(ValueError, match="is damaged"):
        both(path, "made")


def selected(path: Path, wanted: Any = "lidar_z", *, blind: bool = False) -> Any:
    found = read_pool(path, "made", probes=not blind, budgets=not blind)
    return rank(found, make_rule(found, wanted), snapshots="last", draws=100, seed=0)


# refusals


def refusal(path: Path, study: str = "made") -> str:
    with pytest.raises(ValueError) as caught:
        both(path, study)
    message = str(caught.value)
    assert str(path) in message
    return message


def test_what_is_no_such_table_is_refused(path: Path) -> None:
    assert refusal(path) == f"table={path} doesn't exist: make evidence writes one"
    path.parent.mkdir()
    for content in (b"", b"number,trial\n1,2\n", b"PAR1" + bytes(100) + b"PAR1"):
        path.write_bytes(content)
        assert "is not a trial table" in refusal(path)
    pq.write_table(pa.table({"study": ["made"]}), path)
    assert "is not a trial table" in refusal(path)
    for about in ("[]", "{}", "nonsense"):
        pq.write_table(pa.table({"study": ["made"]}).replace_schema_metadata({b"stepwise": about.encode()}), path)
        assert "is not a trial table" in refusal(path)
    newer = pa.table({"study": ["made"]}).replace_schema_metadata({b"stepwise": b'{"format": 99}'})
    pq.write_table(newer, path)
    assert refusal(path) == f"{path} is a trial table of format 99, not 2: make evidence writes one"


def test_an_unknown_study_names_those_there_are(path: Path) -> None:
    write_table(path, [planted(seed=0, name="b"), planted(seed=1, name="a")], {})
    assert refusal(path, "c") == f"study must be one of a, b in {path}, got 'c'"


def test_a_damaged_table_is_refused(path: Path) -> None:
    """One bit of any column, or the end cut off."""
    write_table(path, [planted(seed=0)], {})
    good, about = path.read_bytes(), pq.read_metadata(path)
    for number in range(0, about.num_columns, 7):
        chunk, broken = about.row_group(0).column(number), bytearray(good)
        start = chunk.dictionary_page_offset or chunk.data_page_offset
        broken[start + chunk.total_compressed_size - 1] ^= 1
        path.write_bytes(bytes(broken))
        assert "damaged" in refusal(path)
    path.write_bytes(good[:-50])
    assert "is not a trial table" in refusal(path)


# what is said follows from what is kept


def changed(path: Path, column: str, trial: str, value: Any) -> None:
    """Change one trial's last value of a column in the file."""
    table = pq.read_table(path)
    rows = [i for i, t in enumerate(table["trial"].to_pylist()) if t == trial]
    values = table[column].to_pylist()
    values[rows[-1]] = value
    place = table.schema.names.index(column)
    pq.write_table(table.set_column(place, column, pa.array(values, table.schema.field(column).type)), path)


def page(path: Path) -> tuple[str, dict[str, bytes]]:
    """The page and its figures, as src.evidence writes them from the table."""
    pools = [both(path, name) for name in read_about(path).pools]
    target = path.with_suffix(".md")
    render(target, findings(pools, [], SETTINGS), pools)
    return target.read_text(), {figure.name: figure.read_bytes() for figure in target.with_suffix("").iterdir()}


def test_selection_follows_one_changed_value(path: Path) -> None:
    write_table(path, [planted(seed=0)], {})
    before = selected(path)
    worst, best = before.ranking[-1], before.winners[0]
    changed(path, "criterion.lidar_z", worst.trial, worst.values["lidar_z"])
    assert files.to_json(selected(path)) == files.to_json(before)  # rewritten as it was
    changed(path, "criterion.lidar_z", worst.trial, 1000.0)
    after = selected(path)
    assert after.winners[0].trial == worst.trial != best.trial
    changed(path, "budget.all", best.trial, -9.0)
    assert selected(path, "labels_all").ranking[-1].trial == best.trial
    changed(path, "status", best.trial, "diverged")
    assert best.trial in [one.trial for one in selected(path).dropped]


def test_the_page_follows_one_changed_value(path: Path) -> None:
    pools = [
        planted(seed=i, name=f"p{i}", data=data, method=METHODS[i], repeated=3, noise=0.01)
        for i, data in enumerate(("digits", "shapes"))
    ]
    write_table(path, pools, {})
    text, figures = page(path)
    assert set(figures) == {f"{name}.svg" for name in ("regret", "correlation", "labels", "quality")}
    assert "The search gave **lidar_z** " in text and "None" not in text and "nan" not in text
    trial = pools[1].members[4].trial
    value = pools[1].members[4].last.criteria["lidar_z"]
    changed(path, "criterion.lidar_z", trial, value + 50)
    other, redrawn = page(path)
    assert other != text and redrawn["regret.svg"] != figures["regret.svg"]
    changed(path, "criterion.lidar_z", trial, value)
    assert page(path) == (text, figures)
