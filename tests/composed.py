"""Composed settings and small packed data for tests inside one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from src.data.pack import Manifest, write_pack
from src.runtime.build import build
from src.trial.identity import Trial, identify
from tests.project import ROOT, TINY_TRIAL


def settings_of(*overrides: str, stage: str = "train") -> dict[str, Any]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose(stage, overrides=[*(TINY_TRIAL if stage == "train" else []), *overrides])
    plain: Any = OmegaConf.to_container(config, resolve=True)
    return dict(plain)


def packed(folder: Path) -> Manifest:
    config = yaml.safe_load((ROOT / "conf" / "data" / "digits.yaml").read_text())["source"]
    config |= {
        "sources": {"pretrain": 160, "probe": 80, "val": 60, "test": 60},
        "copies": {"pretrain": 2, "probe": 2, "val": 2, "test": 2},
    }
    return write_pack(folder / "digits", "digits", build("data", config), config)


def trial_of(manifest: Manifest, store: Path, *overrides: str) -> Trial:
    return identify(settings_of(*overrides), manifest, store, device="cpu", threads=1)
