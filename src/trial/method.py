"""The method of a trial's config: built around its encoder, its sizes and its counted cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from src.augmentation.views import Augmentation
from src.data.pack import Manifest, Shape
from src.runtime.build import build
from src.runtime.rng import global_generator
from src.trial.config import Optimizer, Space, TrialConfig
from src.trial.loop import step_flops
from src.trial.optim import make_optimizer

if TYPE_CHECKING:
    from torch.optim import Optimizer as TorchOptimizer

    from src.methods.method import Method


def build_method(config: TrialConfig, shape: Shape) -> Method:
    """The method of a trial's config around its encoder, initialised from the trial's seed."""
    # torch's and timm's initialisers draw from the global generator alone
    with global_generator(config.seed, "initialise"):
        encoder = build("model", config.model, shape)
        method: Method = build("method", config.method, encoder)
    method.to(memory_format=torch.channels_last)
    return method


def outline(config: TrialConfig, shape: Shape) -> Method:
    """The same without values, on torch's meta device: to ask for sizes and count operations."""
    with torch.device("meta"):
        return build_method(config, shape)


def optimizer_of(method: Method, how: Optimizer) -> TorchOptimizer:
    """An optimizer over the method's parameters. Raises ValueError on an argument that the factory doesn't take."""
    factory = build("optimizer", how.factory)
    return make_optimizer(method, factory, weight_decay=how.weight_decay, layer_decay=how.layer_decay)


def dimensions(config: TrialConfig, shape: Shape) -> dict[Space, int]:
    """The number of features of h and of z."""
    method = outline(config, shape)
    return {"h": int(method.encoder.features), "z": int(method.projector.dimension)}  # type: ignore[arg-type]


def trial_flops(config: TrialConfig, manifest: Manifest) -> int:
    """Counted floating-point operations of one step of the trial."""
    augmentation: Augmentation = build("augmentation", config.augmentation)
    return step_flops(outline(config, manifest.shape), augmentation, manifest.shape, config.batch_size)
