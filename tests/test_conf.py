"""Every key of conf/ has a type and is read by some code: what nobody reads is no setting."""

from __future__ import annotations

import ast
import copy
import inspect
import textwrap
import typing
from collections.abc import Iterator
from dataclasses import is_dataclass, make_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from src.models.cnn import SmallCNN
from src.models.vit import ViT
from src.runtime.build import build, resolve
from src.runtime.settings import hold
from src.trial.code_checksum import imported_modules
from src.trial.identity import DETERMINES_WEIGHTS
from tests.project import ROOT
from tests.runtime.test_settings import SHAPES

CONF, SRC = ROOT / "conf", ROOT / "src"
NEEDED = {"adopt": ["weights=a.pt"], "compare": ["trials=[0,1]"]}
PLAIN_GROUPS = ("optimizer", "schedule", "sweep", "space", "space/method", "space/model", "space/optimizer", "pool")
BUILT = {  # a group of what is built -> where that stands in an option
    **{"model": "", "method": "", "augmentation": ""},
    **{"data": "source", "criterion": "score", "optimizer": "factory", "probe": "score"},
}
NOBODYS = "colour_of_the_shed"
RELEASED = "name"  # of optimizers and schedules, which records of release 0.1.0 hold


@cache
def composed(stage: str, *overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        plain: Any = OmegaConf.to_container(compose(stage, [*NEEDED.get(stage, []), *overrides]), resolve=True)
    return plain | ({"study": "digits"} if plain.get("study") == "???" else {})


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml") if path.stem != "finetune")


def components(group: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each option of a group, and the part of it that is built: a copy."""
    for option in options(group):
        whole = yaml.safe_load((CONF / group / f"{option}.yaml").read_text())
        if "defaults" in whole:
            whole = composed("train", f"{group}={option}")[group]
        yield option, copy.deepcopy(whole[BUILT[group]] if BUILT[group] else whole)


@pytest.mark.parametrize("stage", sorted(SHAPES))
def test_every_default_has_its_type(stage: str) -> None:
    hold("", composed(stage), SHAPES[stage])


@pytest.mark.parametrize("group", sorted({*BUILT, *PLAIN_GROUPS, "experiment"} - {"probe"}))
def test_every_option_composes_and_has_its_type(group: str) -> None:
    for option in options(group):
        hold("", composed("train", f"{group}={option}"), SHAPES["train"])


def test_every_round_composes_and_has_its_type() -> None:
    for option in options("round"):
        hold("", composed("evidence", f"round={option}"), SHAPES["evidence"])


def groups_of(shape: Any) -> Iterator[Any]:
    """The types of the groups in settings, however deep."""
    for hint in typing.get_type_hints(shape).values():
        for part in (hint, *typing.get_args(hint)):
            if is_dataclass(part):
                yield part
                yield from groups_of(part)


@cache
def reads(module: str) -> frozenset[str]:
    """The attributes that a module asks for, and the keys by which it takes something from a mapping."""
    nodes = [*ast.walk(ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text()))]
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}
    keys = {str(node.slice.value) for node in nodes if isinstance(node, ast.Subscript) and is_text(node.slice)}
    asked = [node.args[0] for node in nodes if isinstance(node, ast.Call) and _is_get(node.func) and node.args]
    return frozenset(attributes | keys | {str(key.value) for key in asked if is_text(key)})


def _is_get(called: ast.expr) -> bool:
    return isinstance(called, ast.Attribute) and called.attr == "get"


def is_text(node: ast.expr) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


@cache
def read_by(stage: str) -> frozenset[str]:
    """By the command and all that it imports; what is a trial's is read as a whole where the trial gets its name."""
    module = f"src.{stage}.__main__" if (SRC / stage).is_dir() else f"src.{stage}"
    return frozenset(DETERMINES_WEIGHTS).union(*(reads(name) for name in imported_modules(module)))


def unread(shape: Any, stage: str) -> set[str]:
    """Keys that the command doesn't read, and those of its groups, which stages share, that no command reads."""
    anywhere = frozenset().union(*(read_by(other) for other in SHAPES))
    inside = {key for group in groups_of(shape) for key in typing.get_type_hints(group)}
    return (typing.get_type_hints(shape).keys() - read_by(stage)) | (inside - anywhere - {RELEASED})


@pytest.mark.parametrize("stage", sorted(SHAPES))
def test_every_key_is_read_by_some_code(stage: str) -> None:
    assert unread(SHAPES[stage], stage) == set()


def test_a_key_that_nobody_reads_is_found() -> None:
    inside = make_dataclass("Data", [("name", str), (f"{NOBODYS}_too", str)])
    longer = make_dataclass("Settings", [("study", str), ("data", inside), (NOBODYS, str)])
    assert unread(longer, "train") == {NOBODYS, f"{NOBODYS}_too"}


def groups_in(config: Any, *place: str) -> Iterator[tuple[str, ...]]:
    if isinstance(config, dict):
        yield place
        for key, value in config.items():
            yield from groups_in(value, *place, key)


def encoder_for(method: str) -> torch.nn.Module:
    if method in ("mae", "ijepa"):
        sizes: dict[str, Any] = {"patch": 4, "width": 16, "depth": 2, "heads": 2, "mlp_ratio": 2.0}
        return ViT((1, 12, 12), **sizes, activation="gelu", dropout=0.0, drop_path=0.0)
    return SmallCNN((1, 12, 12), width=4, depth=3, features=12, activation="relu", norm="batch", dropout=0.0)


@pytest.mark.parametrize("group", BUILT)
def test_beside_and_below_a_target_a_key_that_it_does_not_take_is_refused(group: str, tmp_path: Path) -> None:
    for option, config in components(group):
        if option == "folder":
            config["root"] = str(tmp_path)
        given: dict[str, Any] = {"method": encoder_for(option), "model": (3, 32, 32)}
        for place in groups_in(config):
            changed = copy.deepcopy(config)
            inside = changed
            for key in place:
                inside = inside[key]
            inside[NOBODYS] = 1
            with torch.device("meta"), pytest.raises(ValueError, match=NOBODYS):
                build(group, changed, *[given[group]] if group in given else [])


@pytest.mark.parametrize("group", sorted(BUILT.keys() - {"optimizer"}))  # those are torch's and timm's
def test_a_target_uses_what_it_takes(group: str) -> None:
    for option, config in components(group):
        for made in made_in(config):
            found = resolve("head" if made["_target_"].startswith("src.models.projector.") else group, made["_target_"])
            function = found.__init__ if inspect.isclass(found) else found
            nodes = ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function))))
            used = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
            assert made.keys() & inspect.signature(function).parameters.keys() <= used, option


def made_in(config: Any) -> Iterator[dict[str, Any]]:
    """Every part that has a ``_target_``."""
    if isinstance(config, dict):
        yield from [config] if "_target_" in config else []
        for value in config.values():
            yield from made_in(value)
