"""Every key of every stage: null, of a wrong type, out of range, misspelt: one line that names it, or it is meant."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from src.data.pack import Manifest
from src.evaluation.protocol import check_guide, check_protocol
from src.probes.labelled import Labelled
from src.runtime.build import build
from src.runtime.settings import hold
from src.train.settings import Settings as TrainSettings
from src.trial.identity import DETERMINES_WEIGHTS, identify
from tests.composed import chosen_of, packed, plain_of
from tests.project import ROOT


def shape_of(stage: str) -> type[Any]:
    """The settings of a stage, which stand beside it."""
    beside = f"src.{stage}.settings" if (ROOT / "src" / stage).is_dir() else f"src.{stage}"
    shape: type[Any] = importlib.import_module(beside).Settings
    return shape


SHAPES = {path.stem: shape_of(path.stem) for path in sorted((ROOT / "conf").glob("*.yaml"))}
SMALL = [f"data.source.sources.{split}=20" for split in ("pretrain", "probe", "val", "test")]
OF_A_STUDY = ("selection", "confirm", "probe", "budget", "report", "compare", "supervised")
NEEDED = {stage: ["study=digits"] for stage in OF_A_STUDY} | {"prepare": SMALL, "adopt": ["weights=a.safetensors"]}
NEEDED["compare"] += ["trials=[0,1]"]
MEANT: dict[str, dict[str, list[Any]]] = {  # what of the values below is no mistake
    "adopt": {"weights": [["x"]], "projector": [None], "criterion.worst": [-1e30]},
    "budget": {"file": [None, "x"]},
    "compare": {"column": [None, "x"], "table": [None, "x"]},
    "confirm": {"trials": [None, [1]], "max_hours": [None, 5]},
    "evidence": {"rule.table": [None, "x"], "rule.tuned_on": [None]},
    "report": {"study": [None], "table": [None, "x"]},
    "selection": {"rule": [["x"]], "table": [None, "x"]},
    "train": {
        "study": [None, "x"],
        "max_hours": [None, 5],
        "forecast": [None, "x"],
        "start.weights": [None, "x"],
        "criterion.worst": [-1e30],
        "optimizer.factory.eps": [True],
    },
}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return packed(tmp_path_factory.mktemp("data"))


def composed(stage: str) -> dict[str, Any]:
    return plain_of(*NEEDED.get(stage, []), stage=stage)


def leaves(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key that has a value, and every group."""
    if path:
        yield path
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, (*path, key))


def changed(plain: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    found = copy.deepcopy(plain)
    group = found
    for key in path[:-1]:
        group = group[key]
    group[path[-1]] = value
    return found


def at(plain: dict[str, Any], path: tuple[str, ...]) -> Any:
    for key in path:
        plain = plain[key]
    return plain


def wrong(value: Any) -> list[Any]:
    """Values of other types, and beyond any range."""
    if isinstance(value, bool):
        return ["maybe", 7, [True]]
    if isinstance(value, int | float):
        return ["x", [value], {"a": 1}, True, -1e30, float("nan"), float("inf")]
    if isinstance(value, str):
        return [5, ["x"], {"a": 1}, True]
    if isinstance(value, list):
        return [5, "x", {"a": 1}, [{"b": []}], [None]]
    return [5, "x", [1]]


def check(stage: str, part: str, plain: dict[str, Any], manifest: Manifest, store: Path) -> None:
    """What a stage checks of a part of its settings before any work, and what probes say when they are called."""
    settings = hold("", plain, SHAPES[stage])
    if isinstance(settings, TrainSettings) and part in DETERMINES_WEIGHTS:
        chosen = chosen_of(replace(settings, start=replace(settings.start, weights=None)))
        identify(chosen, manifest, store, device="cpu", threads=1)
    if part == "evaluation":
        check_protocol(settings.evaluation, manifest)
    if part == "criterion":
        check_guide(settings.criterion, settings.evaluation, {"h": 16, "z": 8})
    if part in ("model", "augmentation"):
        build(part, plain[part], *([manifest.shape] if part == "model" else []))
    if part == "probe":
        draw = torch.Generator().manual_seed(0)
        few = Labelled(torch.randn(60, 4, generator=draw), torch.arange(60) % 3, torch.arange(60), {})
        for probe in plain["probe"].values():
            build("probe", probe["score"])(few, few)
    if stage == "prepare" and part == "data":
        build("data", plain["data"]["source"])


def refusal(call: Callable[[], None]) -> str | None:
    try:
        call()
    except ValueError as error:
        line = str(error)
        assert line and "\n" not in line, line
        return line
    return None


@pytest.mark.parametrize("stage", SHAPES)
def test_null_and_wrong_types_are_one_line_that_names_the_key(stage: str, manifest: Manifest, tmp_path: Path) -> None:
    plain = composed(stage)
    accepted: dict[str, list[Any]] = {}
    for path in leaves(plain):
        name = ".".join(path)
        if path[-1] == "_partial_":
            continue  # how an object is made
        if path[:2] == ("data", "source") and stage != "prepare":
            continue  # prepare's alone
        mine = plain
        if path[0] == "probe" and len(path) > 1:
            mine = plain | {"probe": {path[1]: plain["probe"][path[1]]}}
        for value in (None, *wrong(at(plain, path))):
            line = refusal(partial(check, stage, path[0], changed(mine, path, value), manifest, tmp_path))
            if line is None:
                accepted.setdefault(name, []).append(value)
            else:
                assert any(part in line for part in path), (name, value, line)
    assert accepted == MEANT.get(stage, {})


@pytest.mark.parametrize("stage", SHAPES)
def test_a_misspelt_and_a_missing_key_are_one_line(stage: str) -> None:
    plain = composed(stage)
    for key in plain:
        misspelt = {**{name: value for name, value in plain.items() if name != key}, f"{key}x": plain[key]}
        with pytest.raises(ValueError, match=f"^({key} is missing|{key}x isn't a key)"):
            hold("", misspelt, SHAPES[stage])
