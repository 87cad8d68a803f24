"""Who may import whom: the folders are the pipeline, and imports point upstream only.

Read from the syntax trees, imports inside functions and indirect ones included, those for type checkers alone left out.
"""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter

import pytest

from src.trial.code_checksum import imported_modules, imports_of
from tests.project import ROOT

FILES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sorted((ROOT / "src").rglob("*.py"))}
STAGES = sorted(path.stem for path in (ROOT / "conf").glob("*.yaml"))
VOCABULARY = ("methods", "models", "augmentation", "criteria", "probes")
COMMANDS = {f"src.{name}" for name in ("adopt", "supervised", "sheet", "compare", "clean")}
FOLDERS = {  # folder -> the folders it may import beside its own
    "runtime": set(),
    "methods": {"runtime"},
    "models": {"runtime"},
    "augmentation": {"runtime"},
    "probes": {"runtime"},
    "criteria": {"runtime", "probes"},
    "data": {"runtime"},
    "trial": {"runtime", "data", "augmentation"},
    "evaluation": {"runtime", "data", "augmentation", "criteria", "trial"},
    "study": {"runtime", "data", "trial", "evaluation"},
    "tracking": {"runtime", "trial", "evaluation", "study"},
}
LINE = ["prepare", "train", "selection", "confirm", "probe", "budget", "report", "evidence", "survey"]  # upstream first
SIDE = {("budget", "probe")}  # neither stands above the other
COMPOSING = {"src.prepare.stage", "src.train.stage"}  # which ask Hydra what else would be composed
KNOW = {
    "hydra": {
        "src.runtime.app",
        *COMPOSING,
        "src.train.session",
        "src.train.space",
        "src.train.conditional",
        *COMMANDS,
    },
    "omegaconf": {
        *("src.runtime.app", "src.evaluation.definitions", *COMPOSING),
        *("src.train.session", "src.train.space", "src.train.conditional"),
        *COMMANDS,
    },
    "optuna": {"src.train.samplers", "src.train.space", "src.train.conditional"},
    "mlflow": {"src.tracking.client"},
}


@cache
def imports(name: str) -> frozenset[str]:
    """The modules of this project, and the top names of others, that a module imports itself."""
    found = set()
    for imported in imports_of(ast.parse(FILES[name].read_text())):
        if imported in FILES or not imported.startswith("src"):
            found.add(imported if imported in FILES else imported.partition(".")[0])
        elif f"{imported}.__main__" in FILES:
            found.add(imported)
    return frozenset(found)


def folder(name: str) -> str:
    return name.split(".")[1] if name.count(".") > 1 else ""


@pytest.mark.parametrize("name", FILES)
def test_a_file_imports_what_stands_upstream_of_it(name: str) -> None:
    own = folder(name)
    above = {folder(other) for other in imports(name) & FILES.keys()} - {own, ""}
    if own in FOLDERS:
        assert above <= FOLDERS[own]
    elif own in LINE:
        upstream = set(LINE[: LINE.index(own)]) - {other for stage, other in SIDE if stage == own}
        assert above - upstream <= FOLDERS.keys()
    assert not {other for other in imports(name) if other.endswith("__main__")}, "nobody imports a stage"
    assert not imports(name) & COMMANDS, "nobody imports a command"
    assert not imports(name) & {"lightly", "pytest", "tests", "bench"}


@pytest.mark.parametrize("library", KNOW)
def test_only_some_know_a_library(library: str) -> None:
    known = {name for name in FILES if library in imports(name)}
    assert (
        known - {name for name in known if name.endswith("__main__") and library in ("hydra", "omegaconf")}
        <= KNOW[library]
    )


def reachable(name: str) -> set[str]:
    found, waiting = set(), [name]
    while waiting:
        for other in imports(waiting.pop()) & FILES.keys():
            if other not in found:
                found.add(other)
                waiting.append(other)
    return found


def test_what_carries_trials_through_reaches_hydra_and_optuna_by_no_detour() -> None:
    for name in (
        "src.train.runner",
        "src.trial.run",
        "src.study.stored",
        "src.tracking.mirror",
        "src.selection.ranking",
    ):
        assert not reachable(name) & (KNOW["hydra"] | KNOW["optuna"]), name


def test_there_is_no_circle_of_files_or_folders() -> None:
    TopologicalSorter({name: imports(name) & FILES.keys() for name in FILES}).prepare()
    folders: dict[str, set[str]] = {}
    for name in FILES:
        if folder(name):
            above = {folder(other) for other in imports(name) & FILES.keys()} - {folder(name), ""}
            folders.setdefault(folder(name), set()).update(above)
    TopologicalSorter(folders).prepare()


@pytest.mark.parametrize("name", [name for name in FILES if folder(name) in VOCABULARY])
def test_the_vocabulary_is_pure(name: str) -> None:
    assert not imports(name) & {"pathlib", "os", "json", "yaml", "random"}
    text = FILES[name].read_text()
    if folder(name) in ("criteria", "probes"):
        calls = ("manual_seed(", "np.random.seed", "torch.rand(", "torch.randn(")
        assert not any(call in text for call in calls), "the global generator is left alone"


def test_no_setting_and_no_record_is_code_that_trains() -> None:
    """Else a change to any of them would give every trial another name."""
    trains = set(imported_modules("src.trial.loop", "src.trial.optim", "src.trial.initial_weights"))
    trains |= {*imported_modules(*(name for name in FILES if folder(name) in ("methods", "models", "augmentation")))}
    runtime = {"src.runtime.check", "src.runtime.distributed", "src.runtime.epps_pulley"}
    assert {name for name in trains if folder(name) == "runtime"} == runtime | {"src.runtime.rng"}
    assert "src.trial.config" not in trains


@pytest.mark.parametrize("stage", STAGES)
def test_every_config_has_its_command(stage: str) -> None:
    assert f"src.{stage}.__main__" in FILES or f"src.{stage}" in COMMANDS


@pytest.mark.parametrize("stage", ["train", "selection", "confirm", "budget"])
def test_what_may_see_no_labels_imports_nothing_that_reads_them(stage: str) -> None:
    found = reachable(f"src.{stage}.__main__")
    allowed = {"src.probes.label_budget"} if stage == "budget" else set()
    assert "src.probe.features" not in found
    assert {name for name in found if name.startswith("src.probes.")} <= allowed
    assert {name for name in found if "read_labels(" in FILES[name].read_text()} <= {"src.data.pack"}
