"""Encoders trained elsewhere as finished trials of the store."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from src import check, files
from src.data.pack import Manifest
from src.trial import RECORD, Trial, build_method, numerics

STEP = 1  # an adopted trial has one snapshot
SHOWN = 4  # entries of a kind named in a refusal


def adopt_weights(path: Path, settings: dict[str, Any], manifest: Manifest, store: Path) -> Trial:
    """Keep a weight file as a finished trial. Raises ValueError where it doesn't fit the model, entry by entry."""
    check.number("images", settings["images"], at_least=1, whole=True)
    check.number("flops", settings["flops"], at_least=0)
    weights = _sorted_out(read_weights(path), settings)
    config: dict[str, Any] = {
        "model": settings["model"],
        "method": {
            "name": "imported",
            "_target_": "src.methods.imported.Imported",
            "projector": settings["projector"],
        },
        "augmentation": settings["augmentation"],
        "optimizer": {},
        "schedule": {"images": settings["images"]},
        "batch_size": settings["images"],  # one step that saw them all
        "seed": 0,
        "precision": "fp32",
        "data": {
            "pretrain": manifest.splits["pretrain"]["checksum"],
            "mean": list(manifest.mean),
            "std": list(manifest.std),
        },
        "weights": {"file": path.name, "checksum": files.checksum(path)},
        "device": "cpu",
        "threads": settings["threads"],
    }
    config |= numerics(config)
    _check_fit(path, weights, build_method(config, manifest.shape).state_dict())
    trial = Trial(config, store / files.fingerprint(config))
    if trial.record() is None:
        _write(trial, weights, settings["flops"])
    return trial


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


def _sorted_out(weights: dict[str, Tensor], settings: dict[str, Any]) -> dict[str, Tensor]:
    """Entries under the method's names: encoder.*, projector.*."""
    kept: dict[str, Tensor] = {}
    encoder, projector = settings["encoder_prefix"], settings["projector_prefix"]
    if not any(name.startswith(encoder) for name in weights):
        entries = ", ".join(sorted(weights)[:SHOWN])
        raise ValueError(f"encoder_prefix={encoder} begins no entry of {entries}, ...: mend or drop it")
    for name, value in weights.items():
        if name.startswith(tuple(settings["ignore"])):
            continue
        if settings["projector"] is not None and name.startswith(projector):
            kept[f"projector.{name.removeprefix(projector)}"] = value
        elif name.startswith(encoder):
            kept[f"encoder.{name.removeprefix(encoder)}"] = value
        else:
            kept[name] = value
    return kept


def _check_fit(path: Path, weights: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
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


def _write(trial: Trial, weights: dict[str, Tensor], flops: float) -> None:
    """The trial's folder, its record last."""
    with files.locked(trial.folder / ".lock"):
        files.remove_partials(trial.folder)
        whole = {name: value.detach().contiguous() for name, value in weights.items()}
        files.write_json(trial.folder / "config.json", trial.config)
        row = {"step": STEP, "images": trial.config["batch_size"], "flops": flops}
        files.write_json(trial.folder / "history.json", [row])
        files.write_atomically(trial.snapshot_path(STEP), save(whole))
        names = ["config.json", "history.json", str(trial.snapshot_path(STEP).relative_to(trial.folder))]
        record = {
            "trial": trial.key,
            "status": "complete",
            "steps": STEP,
            "flops": flops,
            "files": {name: files.checksum(trial.folder / name) for name in names},
        }
        files.write_json(trial.folder / RECORD, record)
