"""Composed settings and small packed data for tests inside one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from src.data.pack import Manifest, write_pack
from src.runtime import files
from src.runtime.build import build
from src.runtime.records import Config
from src.runtime.settings import hold
from src.train.settings import Settings
from src.trial.given_weights import read_start
from src.trial.identity import Trial, identify
from tests.project import ROOT, TINY_TRIAL


def plain_of(*overrides: str, stage: str = "train") -> dict[str, Any]:
    """A stage's configuration as Hydra composes it; a tiny one for train."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose(stage, overrides=[*(TINY_TRIAL if stage == "train" else []), *overrides])
    plain: Any = OmegaConf.to_container(config, resolve=True)
    return dict(plain)


def settings_of(*overrides: str) -> Settings:
    return hold("", plain_of(*overrides), Settings)


def chosen_of(settings: Settings) -> Config:
    """What ``identify`` takes of settings."""
    return cast(Config, files.plain(settings)) | {"start": files.plain(read_start(settings.start))}


def method_settings(name: str) -> dict[str, Any]:
    """conf/method/<name>.yaml with what it takes in from conf/shared/."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        plain: Any = OmegaConf.to_container(compose(f"method/{name}"), resolve=True)
    return dict(plain["method"])


def packed(folder: Path) -> Manifest:
    config = yaml.safe_load((ROOT / "conf" / "data" / "digits.yaml").read_text())["source"]
    config |= {
        "sources": {"pretrain": 160, "probe": 80, "val": 60, "test": 60},
        "copies": {"pretrain": 2, "probe": 2, "val": 2, "test": 2},
    }
    return write_pack(folder / "digits", "digits", build("data", config), config)


def trial_of(manifest: Manifest, store: Path, *overrides: str) -> Trial:
    return identify(chosen_of(settings_of(*overrides)), manifest, store, device="cpu", threads=1)
