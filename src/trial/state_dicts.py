"""Weights from files: read without executing anything, sorted by prefix, and held against a model entry by entry."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

SHOWN = 4  # entries of a kind named in a refusal


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of a state dict saved by torch, nothing in it executed.

    Raises ValueError on any other file, and on an entry that can't be a weight, by its name.
    """
    if not path.is_file():
        raise ValueError(f"weights={path} is not a file")
    found: object = _read(path)
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not found:
        what = "an empty one" if found == {} else type(found).__name__
        raise ValueError(f"{path} must hold a state dict, names to tensors, got {what}: save model.state_dict() alone")
    for name, value in found.items():
        why = _why_no_weight(value) if isinstance(name, str) else "isn't named by text"
        if why:
            raise ValueError(f"{path} has an entry that can't be a weight, {name!r}: it {why}")
    return found


def _read(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other pickle protocols, which are refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on a file of another kind the readers raise anything, struct.error too
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.filename):
            raise
        raise ValueError(
            f"{path} is neither a safetensors file nor a plain state dict of tensors: save model.state_dict() alone"
        ) from None


def _why_no_weight(value: object) -> str:
    """Empty where it may be one."""
    if not isinstance(value, Tensor):
        return f"is no tensor but {type(value).__name__}: save model.state_dict() alone"
    if value.is_meta:
        return "has a shape and no values, as on torch's meta device: save the model once it has its weights"
    if value.is_nested or value.is_quantized or value.layout != torch.strided:
        return "is sparse, nested or quantised: save it as a plain tensor"
    if value.is_complex():
        return "is complex: no model here has such weights"
    if value.is_floating_point() and not value.float().isfinite().all():
        return "holds values that are NaN, infinite or beyond float32: no encoder can begin from these"
    return ""


def sorted_out(weights: dict[str, Tensor], prefixes: Mapping[str, str], ignore: list[str]) -> dict[str, Tensor]:
    """Entries under a method's names: ``prefixes`` says what those of encoder (and projector) begin with in the file.

    Entries that begin with one of ``ignore`` are left out, others keep their name. Raises ValueError where no entry
    begins with the encoder's prefix, or two get the same name.
    """
    if not any(name.startswith(prefixes["encoder"]) for name in weights):
        entries = ", ".join(sorted(weights)[:SHOWN])
        raise ValueError(f"encoder_prefix={prefixes['encoder']} begins no entry of {entries}, ...: fix or drop it")
    kept: dict[str, Tensor] = {}
    for name, value in weights.items():
        if name.startswith(tuple(ignore)):
            continue
        # projector first, since the encoder's prefix may be empty; no name begins with \0
        part = next((part for part in ("projector", "encoder") if name.startswith(prefixes.get(part, "\0"))), "")
        sorted_name = f"{part}.{name.removeprefix(prefixes[part])}" if part else name
        if sorted_name in kept:
            raise ValueError(f"two entries become {sorted_name}, one of them {name}: leave it out by ignore=[{name}]")
        kept[sorted_name] = value
    return kept


def check_fit(path: Path | str, weights: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Raise ValueError unless the weights have every wanted entry in its shape, counters of batches apart, no other.

    Whole numbers aren't taken for weights, nor weights for whole numbers.
    """
    shapes = {
        f"{name} {tuple(weights[name].shape)} for {tuple(wanted[name].shape)}"
        for name in weights.keys() & wanted.keys()
        if weights[name].shape != wanted[name].shape
    }
    kinds = {
        f"{name} {weights[name].dtype} for {wanted[name].dtype}"
        for name in weights.keys() & wanted.keys()
        if weights[name].is_floating_point() != wanted[name].is_floating_point()
    }
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    problems = [
        f"{kind} {', '.join(sorted(found)[:SHOWN])}{f' and {len(found) - SHOWN} more' if len(found) > SHOWN else ''}"
        for kind, found in (
            ("lacks", wanted.keys() - weights.keys() - counters),
            ("has besides", weights.keys() - wanted.keys()),
            ("has other shapes in", shapes),
            ("has other kinds of numbers in", kinds),
        )
        if found
    ]
    if problems:
        raise ValueError(
            f"{path} doesn't fit the model: it {'; it '.join(problems)}: choose another model, a setting of it "
            "(model.stem=standard for torchvision's own ResNets), encoder_prefix or ignore"
        )
