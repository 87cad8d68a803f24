"""Objects from configs: ``_target_`` names one of the few that may stand in its slot, whoever wrote the config.

A record may come from anywhere. So a target is resolved before anything is called, and what it resolves to must be
defined in the module that names it, in our own package of that slot, or be on a short list of torch's and timm's
classes. Hydra's own instantiate would call whatever a dotted path leads to, through any module's imports.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from collections.abc import Mapping
from functools import partial
from typing import Any, get_type_hints

from pydantic import JsonValue

from src.runtime.settings import hold

PACKAGES = {
    "model": "src.models",
    "method": "src.methods",
    "head": "src.models.projector",  # of a method: its projector, its predictor
    "augmentation": "src.augmentation",
    "criterion": "src.criteria",
    "probe": "src.probes",
    "data": "src.prepare",
}
OPTIMIZERS = (
    *(f"torch.optim.{name}" for name in ("Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "SGD")),
    *(f"timm.optim.{name}" for name in ("Lamb", "Lars", "Lion", "MADGRAD")),
)
TYPED = {"data": "data.source", "probe": "probe", "criterion": "criterion"}  # slots of functions -> their key
INSIDE = {"method": "head"}  # the slot of what is built inside another
PLAIN = re.compile(r"[A-Za-z]\w*")
ABOUT = ("_target_", "_partial_", "name")  # records of release 0.1.0 hold a ``name``, which isn't passed on


def resolve(slot: str, target: object) -> Any:
    """The class or function that ``target`` names. Raises ValueError where it isn't one that may stand in ``slot``."""
    wanted = _wanted(slot)
    if not isinstance(target, str):
        raise ValueError(f"{slot}._target_ must be {wanted}, got {target!r}")
    module, _, name = target.rpartition(".")
    if not (_in_list(target) if slot == "optimizer" else _in_package(slot, module, name)):
        raise ValueError(f"{slot}._target_ must be {wanted}, got {target!r}")
    found = getattr(importlib.import_module(module), name, None)
    own = slot == "optimizer" or getattr(found, "__module__", None) == module  # else it came in by an import
    if not own or not (inspect.isclass(found) or inspect.isfunction(found)):
        raise ValueError(f"{slot}._target_ must be {wanted}, got {target!r}")
    return found


def _wanted(slot: str) -> str:
    if slot == "optimizer":
        return f"one of {', '.join(OPTIMIZERS)}"
    return f"a class or function defined in {PACKAGES[slot]}"


def _in_list(target: str) -> bool:
    return target in OPTIMIZERS


def _in_package(slot: str, module: str, name: str) -> bool:
    """Whether the module is the slot's own, or directly in the slot's package, and the name a public one."""
    package = PACKAGES[slot]
    parent, _, last = module.rpartition(".")
    if PLAIN.fullmatch(name) is None or not (module == package or (parent == package and PLAIN.fullmatch(last))):
        return False
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the slot's package is a single module
        return False


def check_targets(slot: str, config: object) -> None:
    """Raise ValueError where a ``_target_`` of a config, however deep, isn't one that may stand there."""
    if isinstance(config, Mapping):
        if "_target_" in config:
            resolve(slot, config["_target_"])
            slot = INSIDE.get(slot, slot)
        for value in config.values():
            check_targets(slot, value)
    elif isinstance(config, list | tuple):
        for value in config:
            check_targets(slot, value)


def build(slot: str, config: Mapping[str, JsonValue], *args: object) -> Any:
    """The object of a config, those inside it first; ``_partial_`` leaves a function or class to be called later.

    Raises ValueError on a target that may not stand in ``slot``, and on an unknown or a missing argument.
    """
    if not isinstance(config, Mapping) or "_target_" not in config:
        raise ValueError(f"{slot} must be a group with a _target_, got {config!r}")
    target = resolve(slot, config["_target_"])
    if slot != "optimizer":  # torch's and timm's state no such types
        _check_types(slot, target, config)
    keywords = {key: _built(INSIDE.get(slot, slot), value) for key, value in config.items() if key not in ABOUT}
    # apart from the call: a TypeError here is the config's fault, one inside the call a defect of this project
    signature = inspect.signature(target)
    try:
        signature.bind_partial(*args, **keywords) if config.get("_partial_") else signature.bind(*args, **keywords)
    except TypeError as error:
        raise ValueError(f"{config['_target_']}: {error}") from None
    return partial(target, *args, **keywords) if config.get("_partial_") else target(*args, **keywords)


def _check_types(slot: str, target: Any, config: Mapping[str, JsonValue]) -> None:
    """Raise ValueError where a value isn't of the type that the function or constructor states.

    Plain values of a method or model are left to its constructor, which knows their ranges too.
    """
    hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    for key, value in config.items():
        if key in ABOUT or key not in hints:
            continue
        if "Callable" in str(hints[key]):
            optional = value is None and "None" in str(hints[key])
            if not optional and not (isinstance(value, Mapping) and "_target_" in value):
                raise ValueError(f"{slot}.{key} must be a group with a _target_, got {value!r}")
        elif slot in TYPED:
            hold(f"{TYPED[slot]}.{key}", value, hints[key])


def _built(slot: str, value: object) -> object:
    if isinstance(value, Mapping):
        if "_target_" in value:
            return build(slot, value)
        return {key: _built(slot, inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_built(slot, inner) for inner in value]
    return value
