"""Records of any wrong shape: one line that names the file and what to do, from every stage that reads them."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from src.runtime import records
from tests.project import ROOT, Project

SHAPES: dict[str, Any] = {
    "data/digits/images/manifest.json": records.ImagesManifest,
    "data/digits/labels/manifest.json": records.LabelsManifest,
    "runs/tiny/study.json": records.StudyFile,
    "runs/tiny/selection.json": records.Selection,
    "runs/tiny/confirmation.json": records.Confirmation,
    "runs/tiny/probe.json": records.ProbeFile,
    "runs/tiny/budget.json": records.BudgetFile,
    "runs/store/*/config.json": records.TrialConfig,
    "runs/store/*/record.json": records.TrialRecord,
    "runs/store/*/history.json": records.History,
    "runs/store/*/timing.json": records.Timing,
    "runs/store/*/criteria/[0-9a-f]*.json": records.CriteriaFile,
    "runs/store/*/criteria/spectrum-*.json": records.SpectraFile,
    "runs/store/used-by/*.json": records.StoreUser,
    "report/metrics.json": records.ReportNumbers,
}
NOTHING_YET = {("runs/store/*/history.json", b"[]"), ("runs/store/*/criteria/spectrum-*.json", b"{}")}
WHOLE = (b"", b"[]", b"{}", b"null", b"5", b'"x"', b"not json", b'{"format": ', b"[" * 100_000, b"\xff\xfe")


def kept(project: Project, pattern: str) -> Path:
    return sorted(project.folder.glob(pattern))[0]


@pytest.mark.parametrize("pattern", SHAPES)
def test_what_was_written_is_read_and_any_other_content_is_one_line(
    finished: Project, tmp_path: Path, pattern: str
) -> None:
    content = kept(finished, pattern).read_bytes()
    path = tmp_path / "record.json"
    path.write_bytes(content)
    assert records.read(path, SHAPES[pattern], "do this") == json.loads(content)
    for other in WHOLE:
        path.write_bytes(other)
        if (pattern, other) in NOTHING_YET:
            continue
        said = rf"^{re.escape(str(path))} (is damaged|isn't as it was written) \(.+\): do"
        with pytest.raises(ValueError, match=said):
            records.read(path, SHAPES[pattern], "do this")


def mutations(value: Any, depth: int = 4) -> Iterator[Any]:
    """The value without one of its entries, and with one exchanged for something of another kind."""
    if depth == 0 or not value:
        return
    entries = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, inner in entries[:12]:
        if isinstance(value, dict):
            yield {name: other for name, other in value.items() if name != key}
        for wrong in (None, "x", 5, -1, True, [], {}, [None], {"x": None}, float("nan")):
            changed = copy.copy(value)
            changed[key] = wrong
            yield changed
        for nested in mutations(inner, depth - 1):
            changed = copy.copy(value)
            changed[key] = nested
            yield changed


@pytest.mark.parametrize("pattern", SHAPES)
def test_any_changed_entry_is_one_line_or_still_of_the_shape(finished: Project, pattern: str) -> None:
    value = json.loads(kept(finished, pattern).read_bytes())
    refused = 0
    for changed in mutations(value):
        try:
            records.checked(changed, SHAPES[pattern], "the file", "do this")
        except ValueError as error:
            refused += 1
            assert re.fullmatch(r"the file isn't as it was written \(.+\): do this", str(error)), str(error)
    assert refused > 3


def test_all_of_src_reads_json_through_the_one_reader() -> None:
    reading = re.compile(r"json\.loads?\(|read_json\(")
    found = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "src").rglob("*.py") if reading.search(path.read_text())
    }
    # files has json's own reading, owned takes any bad list for none, trial_table and evidence read what they wrote
    assert found == {
        "src/runtime/files.py",
        "src/runtime/records.py",
        "src/runtime/owned.py",
        "src/study/table.py",
        "src/evidence/__main__.py",
    }


@pytest.mark.parametrize(
    ("pattern", "stage", "said"),
    [
        ("runs/tiny/study.json", "selection", "run its python -m src.train -m again"),
        ("runs/tiny/selection.json", "report", "run python -m src.selection study=tiny again"),
        ("runs/tiny/selection.json", "confirm", "run python -m src.selection study=tiny again"),
        ("runs/tiny/confirmation.json", "report", "run python -m src.confirm study=tiny again"),
        ("runs/tiny/probe.json", "report", "run python -m src.probe study=tiny again"),
        ("runs/tiny/budget.json", "report", "run python -m src.budget study=tiny again"),
        ("runs/store/*/config.json", "selection", "and train the trial again"),
        ("runs/store/*/record.json", "selection", "and train the trial again"),
        ("runs/store/*/criteria/[0-9a-f]*.json", "selection", "measures it anew"),
        ("data/digits/images/manifest.json", "selection", "run python -m src.prepare data=digits"),
        ("data/digits/labels/manifest.json", "probe", "run python -m src.prepare data=digits"),
    ],
)
def test_every_stage_says_which_file_and_what_to_do(
    finished: Project, project: Project, pattern: str, stage: str, said: str
) -> None:
    project.copy_of(finished)
    trial = project.json("runs/tiny/study.json")["trials"][0]["trial"]
    path = kept(project, pattern.replace("store/*", f"store/{trial}"))
    for content in ('{"a": 1}', "[]", "null"):
        path.write_text(content)
        line = project.refused(stage, "study=tiny")
        assert str(path.relative_to(project.folder)) in line and said in line, line


def test_a_log_or_ledger_line_of_another_shape_is_one_line(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    log = kept(project, "runs/tiny/log-*.jsonl")
    whole = log.read_text()
    for line in ("null", "[]", '{"trial": "../../x"}', "not json"):
        log.write_text(f"{whole}{line}\n")
        assert f"{log.name}, line 4 is" in project.refused("train", *project.sweep())
        assert log.read_text() == f"{whole}{line}\n"  # what is damaged may be all that is left of it
    log.write_text(whole)
    ledger = project.folder / "runs/seal.jsonl"
    ledger.write_text(ledger.read_text() + '{"key": 5}\n')
    assert "seal.jsonl, line 2 isn't as it was written" in project.refused("report", "study=tiny", "resamples=100")


def test_a_record_leads_to_no_path_but_its_own(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    path = project.folder / "runs/tiny/study.json"
    study = json.loads(path.read_text())
    for changed in (
        study | {"study": "../../elsewhere"},
        study | {"trials": [study["trials"][0] | {"trial": "../../../etc"}]},
        study | {"data": study["data"] | {"name": "a/b"}},
    ):
        path.write_text(json.dumps(changed))
        assert "isn't as it was written" in project.refused("selection", "study=tiny")


@pytest.mark.parametrize("kind", ["mlruns", "store", "data"])
def test_a_record_names_folders_of_this_project_or_what_the_person_names(
    finished: Project, project: Project, tmp_path: Path, kind: str
) -> None:
    import shutil

    project.copy_of(finished)
    outside = tmp_path / "outside"
    inside = {"mlruns": "mlruns", "store": "runs/store", "data": "data"}[kind]
    shutil.move(project.folder / inside, outside)
    path = project.folder / "runs/tiny/study.json"
    study = json.loads(path.read_text())
    if kind == "data":
        study["data"]["folder"] = str(outside / "digits")
    else:
        study["folders"][kind] = str(outside)
    path.write_text(json.dumps(study))
    before = sorted(path for path in outside.rglob("*"))
    line = project.refused("selection", "study=tiny", "draws=100")
    named = study["data"]["folder"] if kind == "data" else str(outside)
    assert f"names {named}, which lies outside of this folder: if that is yours, add folders.{kind}={named}" in line
    assert sorted(path for path in outside.rglob("*")) == before
    project.ok("selection", "study=tiny", "draws=100", f"folders.{kind}={named}")
