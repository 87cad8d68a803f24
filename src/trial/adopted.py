"""Encoders trained elsewhere as finished trials of the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from src.data.pack import Manifest
from src.runtime import check, files
from src.trial.identity import RECORD, Trial, build_method, numerics, unnamed
from src.trial.state_dicts import check_fit, read_weights, sorted_out

STEP = 1  # an adopted trial has one snapshot


def adopt_weights(path: Path, settings: dict[str, Any], manifest: Manifest, store: Path) -> Trial:
    """Keep a weight file as a finished trial. Raises ValueError where it doesn't fit the model, entry by entry."""
    check.number("images", settings["images"], at_least=1, whole=True)
    check.number("flops", settings["flops"], at_least=0)
    prefixes = {"encoder": settings["encoder_prefix"]}
    if settings["projector"] is not None:
        prefixes["projector"] = settings["projector_prefix"]
    weights = sorted_out(read_weights(path), prefixes, settings["ignore"])
    config: dict[str, Any] = {
        "model": unnamed(settings["model"]),
        "method": {
            "_target_": "src.methods.imported.Imported",
            "projector": settings["projector"],
        },
        "augmentation": unnamed(settings["augmentation"]),
        "optimizer": {},
        "schedule": {"images": settings["images"]},
        "batch_size": settings["images"],  # one step that saw them all
        "seed": 0,
        "start": {"weights": None, "frozen": 0},
        "compile": False,
        "precision": "fp32",
        "data": {
            "pretrain": manifest.splits["pretrain"]["checksum"],
            "mean": list(manifest.mean),
            "std": list(manifest.std),
        },
        "weights": {"file": path.name, "checksum": files.checksum(path)},
        "device": "cpu",
        "threads": settings["threads"],
        "processes": 1,
    }
    config |= numerics(config)
    check_fit(path, weights, build_method(config, manifest.shape).state_dict())
    trial = Trial(config, store / files.fingerprint(config))
    if trial.record() is None:
        _write(trial, weights, settings["flops"])
    return trial


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
