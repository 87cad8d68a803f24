"""The documented SimCLR loops of lightly and stable-pretraining, on our model, images, transforms and optimizer.

Each function trains for ``warm + steps`` batches and returns the seconds that the last ``steps`` took. They need
pip install -e '.[bench]'.
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}  # of conf/augmentation/simclr.yaml


class Setting(NamedTuple):
    encoder: nn.Module
    projector: nn.Module
    images: np.ndarray  # uint8 (n, 3, size, size)
    batch_size: int
    temperature: float
    learning_rate: float
    device: str
    precision: str  # fp32, bf16
    workers: int


class _Pictures(Dataset[tuple[Any, int]]):
    """What torchvision's CIFAR10 is: an array of images, each handed out as a PIL image with a label."""

    def __init__(self, images: np.ndarray, transform: Any = None) -> None:
        self.images, self.transform = np.ascontiguousarray(images.transpose(0, 2, 3, 1)), transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = Image.fromarray(self.images[index])
        return (self.transform(image) if self.transform else image), 0


def lightly_loop(setting: Setting, warm: int, steps: int) -> float:
    """docs.lightly.ai's SimCLR example: SimCLRTransform in worker processes, NTXentLoss, a plain loop."""
    from lightly.loss import NTXentLoss
    from lightly.transforms.simclr_transform import SimCLRTransform

    side, device = setting.images.shape[2], setting.device
    transform = SimCLRTransform(input_size=side, cj_strength=0.5, gaussian_blur=0.0)
    loader = DataLoader(
        _Pictures(setting.images, transform),
        batch_size=setting.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=setting.workers,
        pin_memory=device == "cuda",
    )
    model = nn.Sequential(setting.encoder, setting.projector).to(device)
    criterion = NTXentLoss(temperature=setting.temperature)
    optimizer = torch.optim.AdamW(model.parameters(), lr=setting.learning_rate)
    model.train()
    started, batches = 0.0, iter(loader)
    for step in range(warm + steps):
        if step == warm:
            _wait(device)
            started = time.perf_counter()
        (x0, x1), _ = next(batches)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=setting.precision == "bf16"):
            z0, z1 = model(x0.to(device)), model(x1.to(device))
            loss = criterion(z0, z1)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.detach().item()  # the example adds it up for its mean
    _wait(device)
    return time.perf_counter() - started


def stable_pretraining_loop(setting: Setting, warm: int, steps: int) -> float:
    """stable-pretraining's README: dict data, MultiViewTransform, Module with forward.simclr, Lightning's Trainer."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    import lightning
    import stable_pretraining as spt
    from loguru import logger
    from stable_pretraining.data import transforms
    from stable_pretraining.forward import simclr

    logger.remove()
    sys.excepthook = sys.__excepthook__  # it puts its own there, which says nothing now
    side = setting.images.shape[2]
    view = transforms.Compose(
        transforms.RandomResizedCrop((side, side), scale=(0.08, 1.0)),
        transforms.RandomHorizontalFlip(),
        transforms.ColorJitter(**JITTER, p=0.8),
        transforms.RandomGrayscale(p=0.2),
        transforms.ToImage(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
    )
    data = spt.data.FromTorchDataset(
        _Pictures(setting.images), names=["image", "label"], transform=transforms.MultiViewTransform([view, view])
    )
    loader = DataLoader(data, batch_size=setting.batch_size, shuffle=True, drop_last=True, num_workers=setting.workers)
    module = spt.Module(
        backbone=setting.encoder,
        projector=setting.projector,
        forward=simclr,
        simclr_loss=spt.losses.NTXEntLoss(temperature=setting.temperature),
        optim={"optimizer": {"type": "AdamW", "lr": setting.learning_rate}},
    )
    clock = _clock(lightning, warm, setting.device)
    trainer = lightning.Trainer(
        max_steps=warm + steps,
        accelerator="gpu" if setting.device == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed" if setting.precision == "bf16" else "32-true",
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, loader)
    return float(clock.ended - clock.started)


def _clock(lightning: Any, warm: int, device: str) -> Any:
    class Clock(lightning.Callback):  # type: ignore[misc]  # lightning is there only where peers are
        started = ended = 0.0

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step in (warm, trainer.max_steps):
                _wait(device)
                now = time.perf_counter()
                self.started, self.ended = (now, 0.0) if trainer.global_step == warm else (self.started, now)

    return Clock()


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
