from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.runtime import files


@given(st.text())
def test_a_cell_is_no_formula_and_comes_back_as_it_was(text: str) -> None:
    cell = files.safe_cell(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert files.plain_cell(cell) == text


def test_only_text_is_made_safe() -> None:
    table = files.to_csv(["=head", "n"], [["=cmd|' /C calc'!A0", -1.5], ["plain", 2], ["@x", None]]).decode()
    assert list(csv.reader(io.StringIO(table))) == [
        ["'=head", "n"],
        ["'=cmd|' /C calc'!A0", "-1.5"],
        ["plain", "2"],
        ["'@x", ""],
    ]


def test_a_file_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a" / "record.json"
    files.write_json(path, {"a": 1})

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_json(path, {"a": 2})
    assert path.read_text() == '{\n "a": 1\n}\n' and [p.name for p in path.parent.iterdir()] == ["record.json"]


def test_only_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    (tmp_path / f".record.json.abc{files.PARTIAL}").write_text("half")
    mine = [".notes.partial", "record.json", ".hidden"]
    for name in mine:
        (tmp_path / name).write_text("mine")
    (tmp_path / f".folder{files.PARTIAL}").mkdir()
    files.remove_partials(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*mine, f".folder{files.PARTIAL}"])


def test_a_lock_that_its_holder_removed_is_no_lock(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with files.locked(path):
        with pytest.raises(files.Busy), files.locked(path):
            pass
        path.unlink()
        with files.locked(path):
            pass
