"""Encoders trained elsewhere as finished trials of the store."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from src.data.pack import Manifest
from src.runtime import files
from src.runtime.records import Config
from src.trial.config import GivenEncoder
from src.trial.identity import RECORD, Trial, TrialRecord, numerics, trained_on, unnamed
from src.trial.method import build_method
from src.trial.state_dicts import check_fit, read_weights, sorted_out

STEP = 1  # an adopted trial has one snapshot


def adopt_weights(path: Path, given: GivenEncoder, manifest: Manifest, store: Path) -> Trial:
    """Keep a weight file as a finished trial. Raises ValueError where it doesn't fit the model, entry by entry."""
    prefixes = {"encoder": given.encoder_prefix}
    if given.projector is not None:
        prefixes["projector"] = given.projector_prefix
    weights = sorted_out(read_weights(path), prefixes, given.ignore)
    recorded: Config = {
        "model": unnamed(given.model),
        "method": {"_target_": "src.methods.imported.Imported", "projector": given.projector},
        "augmentation": unnamed(given.augmentation),
        "optimizer": {},
        "schedule": {"images": given.images},
        "batch_size": given.images,  # one step that saw them all
        "seed": 0,
        "start": {"weights": None, "frozen": 0},
        "compile": False,
        "precision": "fp32",
        "data": trained_on(manifest),
        "weights": {"file": path.name, "checksum": files.checksum(path)},
        "device": "cpu",
        "threads": given.threads,
        "processes": 1,
    }
    recorded |= numerics(recorded)
    trial = Trial.of(recorded, store)
    check_fit(path, weights, build_method(trial.config, manifest.shape).state_dict())
    if trial.record() is None:
        _write(trial, weights, given.flops)
    return trial


def _write(trial: Trial, weights: dict[str, Tensor], flops: float) -> None:
    """The trial's folder, its record last."""
    with files.locked(trial.folder / ".lock"):
        files.remove_partials(trial.folder)
        # Copies, since safetensors refuses entries that share memory, as tied weights do.
        whole = {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in weights.items()}
        files.write_json(trial.folder / "config.json", trial.recorded)
        row = {"step": STEP, "images": trial.config.batch_size, "flops": flops}
        files.write_json(trial.folder / "history.json", [row])
        files.write_atomically(trial.snapshot_path(STEP), save(whole))
        names = ["config.json", "history.json", str(trial.snapshot_path(STEP).relative_to(trial.folder))]
        checksums = {name: files.checksum(trial.folder / name) for name in names}
        files.write_json(trial.folder / RECORD, TrialRecord(trial.key, "complete", STEP, flops, checksums))
