"""Weights from files: read without executing anything, sorted by prefix, and held against a model entry by entry."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

SHOWN = 4  # entries of a kind named in a refusal


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of a state dict saved by torch, nothing in it executed."""
    if not path.is_file():
        raise ValueError(f"weights={path} is not a file")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other pickle protocols, which are refused below
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError):
        raise ValueError(
            f"{path} is neither a safetensors file nor a plain state dict of tensors: save model.state_dict() alone"
        ) from None
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"{path} must hold a state dict, names to tensors, got {type(found).__name__}")
    return found


def sorted_out(weights: dict[str, Tensor], prefixes: Mapping[str, str], ignore: list[str]) -> dict[str, Tensor]:
    """Entries under a method's names: ``prefixes`` says what those of encoder (and projector) begin with in the file.

    Entries that begin with one of ``ignore`` are left out, others keep their name. Raises ValueError where no entry
    begins with the encoder's prefix.
    """
    if not any(name.startswith(prefixes["encoder"]) for name in weights):
        entries = ", ".join(sorted(weights)[:SHOWN])
        raise ValueError(f"encoder_prefix={prefixes['encoder']} begins no entry of {entries}, ...: mend or drop it")
    kept: dict[str, Tensor] = {}
    for name, value in weights.items():
        if name.startswith(tuple(ignore)):
            continue
        part = next((part for part in ("projector", "encoder") if name.startswith(prefixes.get(part, "\0"))), "")
        kept[f"{part}.{name.removeprefix(prefixes[part])}" if part else name] = value
    return kept


def check_fit(path: Path | str, weights: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Raise ValueError unless the weights have every wanted entry in its shape, counters of batches apart, no other."""
    shapes = {
        f"{name} {tuple(weights[name].shape)} for {tuple(wanted[name].shape)}"
        for name in weights.keys() & wanted.keys()
        if weights[name].shape != wanted[name].shape
    }
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    problems = [
        f"{kind} {', '.join(sorted(found)[:SHOWN])}{f' and {len(found) - SHOWN} more' if len(found) > SHOWN else ''}"
        for kind, found in (
            ("lacks", wanted.keys() - weights.keys() - counters),
            ("has besides", weights.keys() - wanted.keys()),
            ("has other shapes in", shapes),
        )
        if found
    ]
    if problems:
        raise ValueError(
            f"{path} doesn't fit the model: it {'; it '.join(problems)}: choose another model, a setting of it "
            "(model.stem=standard for torchvision's own ResNets), encoder_prefix or ignore"
        )
