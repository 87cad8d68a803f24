"""Records of any wrong shape: one line that names the file and what to do, from every stage that reads them."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from src.data.pack import ImagesManifest, LabelsManifest
from src.evaluation.measurements import CriteriaFile, Spectrums
from src.report.numbers import ReportNumbers, as_kept
from src.runtime import files, records
from src.runtime.owned import WrittenList
from src.study.log import Study, StudyFile
from src.study.results import BudgetFile, Confirmation, ProbeFile, Selection
from src.study.store_users import StoreUser
from src.trial.config import TrialConfig
from src.trial.identity import History, Timing, TrialRecord
from tests.project import ROOT, Project

SHAPES: dict[str, Any] = {
    "data/digits/images/manifest.json": ImagesManifest,
    "data/digits/labels/manifest.json": LabelsManifest,
    "runs/tiny/study.json": StudyFile,
    "runs/tiny/selection.json": Selection,
    "runs/tiny/confirmation.json": Confirmation,
    "runs/tiny/probe.json": ProbeFile,
    "runs/tiny/budget.json": BudgetFile,
    "runs/store/*/config.json": TrialConfig,
    "runs/store/*/record.json": TrialRecord,
    "runs/store/*/history.json": History,
    "runs/store/*/timing.json": Timing,
    "runs/store/*/criteria/[0-9a-f]*.json": CriteriaFile,
    "runs/store/*/criteria/spectrum-*.json": Spectrums,
    "runs/store/used-by/*.json": StoreUser,
    "report/metrics.json": ReportNumbers,
    "report/.written.json": WrittenList,
}
NOTHING_YET = {("runs/store/*/history.json", b"[]"), ("runs/store/*/criteria/spectrum-*.json", b"{}")}
WHOLE = (b"", b"[]", b"{}", b"null", b"5", b'"x"', b"not json", b'{"format": ', b"[" * 100_000, b"\xff\xfe")


def kept(project: Project, pattern: str) -> Path:
    return sorted(project.folder.glob(pattern))[0]


def as_written(read: object) -> object:
    """What a record's file was written of: two of them don't stand in their file as they are used."""
    if isinstance(read, ReportNumbers):
        return as_kept(read)
    if isinstance(read, CriteriaFile):
        values = {}
        for step, snapshot in read.values.items():
            values[step] = {**snapshot.criteria, "collapse": snapshot.collapse, "spectrum": snapshot.spectrum}
        return {"protocol": read.protocol, "values": values}
    return read


@pytest.mark.parametrize("pattern", sorted(SHAPES.keys() - {"runs/store/*/config.json"}))
def test_what_was_written_is_read_to_its_last_byte(finished: Project, pattern: str) -> None:
    for path in finished.folder.glob(pattern):
        assert files.to_json(as_written(records.read(path, SHAPES[pattern], "do this"))) == path.read_bytes(), path


def test_of_what_names_a_trial_nothing_that_is_known_is_changed(finished: Project) -> None:
    """Later releases may keep more in it, so what isn't known is passed over."""
    path = kept(finished, "runs/store/*/config.json")
    known = files.plain(records.read(path, TrialConfig, "do this"))
    content = json.loads(path.read_bytes())
    assert isinstance(known, dict) and len(known) > 10 and known.items() <= content.items()
    later = records.checked(content | {"later": 5}, TrialConfig, "the file", "do this")
    assert later == records.read(path, TrialConfig, "do this")


@pytest.mark.parametrize("pattern", SHAPES)
def test_any_other_content_is_one_line(tmp_path: Path, pattern: str) -> None:
    path = tmp_path / "record.json"
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
    reading = re.compile(r"json\.loads?\(|validate_json\(")
    found = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "src").rglob("*.py") if reading.search(path.read_text())
    }
    # settings come from Hydra, and the table's cells were read as a whole
    assert found == {"src/runtime/records.py", "src/runtime/settings.py", "src/study/table.py"}


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
    identity = project.json("runs/tiny/study.json")["identity"]
    for line in ("null", "[]", '{"trial": "../../x"}', "not json"):
        log.write_text(f"{whole}{line}\n")
        with pytest.raises(ValueError, match=rf"{log.name}, line 4 is"):
            Study(log.parent, identity)
    assert f"{log.name}, line 4 is" in project.refused("train", *project.sweep())
    assert log.read_text() == f"{whole}not json\n"  # what is damaged may be all that is left of it
    log.write_text(whole)
    assert len(Study(log.parent, identity).entries) == 3
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
