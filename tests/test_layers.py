"""Who may import whom, read from the syntax trees."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.project import ROOT

STAGES = {f"src.{path.stem}" for path in (ROOT / "conf").glob("*.yaml")}
PURE = ("src.methods", "src.models", "src.augmentation", "src.criteria", "src.probes", "src.stats")
KNOW_HYDRA = STAGES | {"src.app", "src.build", "src.definitions", "src.sweep", "src.conditional"}
FILES = sorted((ROOT / "src").rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def within(imported: set[str], *packages: str) -> set[str]:
    return {name for name in imported if any(name == p or name.startswith(p + ".") for p in packages)}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_layers(path: Path) -> None:
    name, imported = name_of(path), imports(path)
    if name != "src.tracking":
        assert not within(imported, "mlflow")
    if name not in KNOW_HYDRA:
        assert not within(imported, "hydra", "omegaconf")
    if name not in ("src.samplers", "src.sweep", "src.conditional"):
        assert not within(imported, "optuna")
    assert not within(imported, *STAGES)
    assert not within(imported, "lightly", "pytest", "tests", "bench")
    if name.startswith(PURE):
        own = (name.rpartition(".")[0], "src.check", "src.rng", "src.epps_pulley")
        assert not within(imported, "src") - within(imported, *own, "src.probes") - {"src"}
        assert not within(imported, "pathlib", "os", "json", "yaml", "random")
    if name.startswith("src.methods"):
        assert not within(imported, "src.criteria", "src.data", "src.models")


@pytest.mark.parametrize(
    "path", [p for p in FILES if name_of(p).startswith(("src.criteria", "src.probes"))], ids=name_of
)
def test_pure_functions_leave_the_global_generator_alone(path: Path) -> None:
    text = path.read_text()
    assert not any(call in text for call in ("manual_seed(", "np.random.seed", "torch.rand(", "torch.randn("))


@pytest.mark.parametrize("stage", ["train", "selection", "confirm", "budget"])
def test_what_may_see_no_labels_imports_nothing_that_reads_them(stage: str) -> None:
    from src.source import imported_modules

    reachable = imported_modules(f"src.{stage}")
    allowed = {"src.probes.label_budget"} if stage == "budget" else set()
    assert "src.features" not in reachable and {name for name in reachable if name.startswith("src.probes.")} <= allowed
    readers = {name for name, path in reachable.items() if "read_labels(" in path.read_text()} - {"src.data.pack"}
    assert readers == set()
