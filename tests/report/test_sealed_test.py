"""The ledger of test openings: what was opened once is read back, whichever release wrote the line."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from src.report import sealed_test
from src.report.numbers import PickScores
from src.report.sealed_test import Opened, Sealed, open_seal
from src.runtime import files
from src.study.log import read_study
from src.study.results import read_confirmation, read_probed, read_selection
from src.study.stored import StoredStudy
from tests.project import Project

KEPT = Path(__file__).with_name("seal_of_0.1.0.tar.gz")  # a ledger, and the study that it was opened for


class Measuring(Exception):
    """The test split would be looked at."""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def measure(*_: object) -> None:
        raise Measuring

    monkeypatch.setattr(sealed_test, "Sealed", measure)
    with tarfile.open(KEPT) as kept:
        kept.extractall(tmp_path, filter="data")
    return tmp_path


def opened(runs: Path, *, checksum: str | None = None) -> Opened:
    """What the seal says of the kept selection; of test images with another checksum where one is given."""
    folder = runs / "tiny"
    chosen, probed = read_selection(folder), read_probed(folder)
    assert probed is not None
    test = SimpleNamespace(checksum=checksum or read_study(folder).data.splits.test.checksum)
    study = SimpleNamespace(name="tiny", manifest=SimpleNamespace(splits=SimpleNamespace(test=test)))
    confirmation = read_confirmation(folder, chosen)
    assert confirmation is not None
    return open_seal(runs / "seal.jsonl", cast(StoredStudy, study), chosen, confirmation, probed.probe)


def test_an_opening_of_the_first_release_is_read_back_and_not_opened_again(runs: Path) -> None:
    before = (runs / "seal.jsonl").read_bytes()
    found = opened(runs)
    assert found.openings == 1 and (runs / "seal.jsonl").read_bytes() == before
    line = json.loads(before)
    assert [row.name for row in found.scores] == [row["name"] for row in line["scores"]]
    pick, confirmed, default, *baselines = found.scores
    assert isinstance(pick, PickScores) and isinstance(confirmed, PickScores)
    assert (pick.kind, confirmed.kind, default.kind, default.name) == (
        *("pick", "confirmed", "reference"),
        "default configuration",
    )
    assert pick.scores["linear"].value == line["scores"][0]["scores"]["linear"]["value"]
    assert [row.name for row in baselines] == ["raw pixels", "untrained encoder"]


def test_a_line_is_written_as_the_first_release_wrote_it(runs: Path) -> None:
    line = (runs / "seal.jsonl").read_text()
    (entry,) = sealed_test.read_ledger(runs / "seal.jsonl")
    assert json.dumps(files.plain(entry), sort_keys=True) + "\n" == line


@pytest.mark.parametrize("changed", ["selection", "confirmation", "probe", "images"])
def test_another_selection_confirmation_probe_or_image_is_another_opening(runs: Path, changed: str) -> None:
    path = runs / f"tiny/{changed}.json"
    if changed == "images":
        with pytest.raises(Measuring):
            opened(runs, checksum="0" * 32)
        return
    content = json.loads(path.read_text())
    if changed == "selection":
        content["draws"] += 1
        path.write_text(json.dumps(content))
        confirmation = runs / "tiny/confirmation.json"
        own = {"selection": files.fingerprint(read_selection(runs / "tiny"))}
        confirmation.write_text(json.dumps(json.loads(confirmation.read_text()) | own))
    elif changed == "confirmation":
        content["winners"][0]["fresh"][0]["status"] = "collapsed"
        path.write_text(json.dumps(content))
    else:
        content["probe"]["linear"]["score"]["another"] = 1
        path.write_text(json.dumps(content))
    with pytest.raises(Measuring):
        opened(runs)


def test_a_probe_of_the_last_snapshots_alone_is_none_of_the_seals(runs: Path) -> None:
    path = runs / "tiny/probe.json"
    content = json.loads(path.read_text())
    content["probe"]["kmeans"]["score"]["another"] = 1
    assert content["probe"]["kmeans"]["snapshots"] == "last"
    path.write_text(json.dumps(content))
    assert opened(runs).openings == 1


def test_openings_count_those_of_other_selections(runs: Path) -> None:
    ledger = runs / "seal.jsonl"
    line = json.loads(ledger.read_text())
    other = json.dumps(line | {"key": "0" * 16, "since": "a later release"})  # which may say more
    ledger.write_text(f"{other}\n{json.dumps(line)}\n")
    assert opened(runs).openings == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": "short"}, "seal.jsonl, line 1 isn't as it was written (key: "),
        ({"picks": ["a"]}, "seal.jsonl, line 1 isn't as it was written (picks.0: "),
        ({"scores": [{"kind": "none"}]}, "seal.jsonl, line 1 isn't as it was written (scores.0: "),
    ],
)
def test_a_line_that_nobody_wrote_is_named(runs: Path, change: dict[str, object], message: str) -> None:
    ledger = runs / "seal.jsonl"
    ledger.write_text(json.dumps(json.loads(ledger.read_text()) | change) + "\n")
    with pytest.raises(ValueError) as refused:
        opened(runs)
    assert message in str(refused.value) and "restore the ledger of test openings from a backup" in str(refused.value)


def test_no_ledger_is_no_opening(runs: Path) -> None:
    (runs / "seal.jsonl").unlink()
    with pytest.raises(Measuring):
        opened(runs)
    assert not (runs / "seal.jsonl").exists()


def test_only_probes_that_say_which_images_they_got_right_open_the_seal(
    finished: Project, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cross-validated skill can be asked for on all snapshots, and has no images of test."""
    project.copy_of(finished)
    monkeypatch.chdir(project.folder)
    folder = Path("runs/tiny")
    chosen, probed = read_selection(folder), read_probed(folder)
    assert probed is not None
    everywhere = {name: replace(probe, snapshots="all") for name, probe in probed.probe.items() if name != "finetune"}
    scores = Sealed(StoredStudy(folder), everywhere).scores(sealed_test._picks(chosen, None))
    assert scores[0].scores.keys() == {"linear", "knn", "kmeans"} < everywhere.keys()
    (line,) = sealed_test.read_ledger(Path("runs/seal.jsonl"))  # by the probes that report opened it for
    assert {name: scores[0].scores[name] for name in line.scores[0].scores} == line.scores[0].scores
