"""What can only be checked of a trial's settings together with its data: each value's own range stands in its type."""

from __future__ import annotations

from pathlib import Path

import torch

from src.data.pack import Manifest
from src.runtime.build import build
from src.trial.config import TrialConfig
from src.trial.initial_weights import check_compiler, check_start
from src.trial.method import optimizer_of, outline
from src.trial.sharing import check_shares


def check_trial(config: TrialConfig, manifest: Manifest, store: Path, device: str) -> None:
    """Raise ValueError where a trial's parts can't be built, or don't fit its data or each other."""
    optimizer, schedule = config.training()
    count = manifest.splits["pretrain"].count
    if config.batch_size > count:
        raise ValueError(f"batch_size must be at most the {count} pretrain images, got {config.batch_size}")
    rows = schedule.rows * schedule.evaluations
    if schedule.images < rows * config.batch_size:
        raise ValueError(
            f"schedule.images must be at least schedule.evaluations x schedule.rows x batch_size = "
            f"{rows * config.batch_size}, got {schedule.images}: raise it, or lower one of these"
        )
    build("augmentation", config.augmentation)
    method = outline(config, manifest.shape)
    try:
        with torch.device("meta"):
            optimizer_of(method, optimizer)
    except Exception as error:  # of any kind: torch's and timm's optimizers check little
        raise ValueError(f"optimizer.factory={optimizer.factory} can't be made: {error}") from None
    check_start(method, config.start, store)
    check_shares(method, config.batch_size, device)
    check_compiler(config.compile)
