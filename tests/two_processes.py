"""Run by torchrun: every method's losses and gradients in two processes against one process with the joint batch."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from src.methods.method import Method
from src.models.cnn import SmallCNN
from src.runtime.build import build
from src.runtime.distributed import join, rank, world
from src.runtime.rng import global_generator
from src.trial.sharing import share
from tests.methods.test_methods import CONFIGS, MASKED, SIZE, config_of, encoder_of, inputs_of

STEPS, IMAGES = 3, 16
SAME: dict[str, Any] = {"rtol": 1e-7, "atol": 1e-10}
ENCODER: dict[str, Any] = {"width": 4, "depth": 3, "features": 12, "activation": "relu", "norm": "group"}


def made(path: Path) -> Method:
    with global_generator(0, "test"):
        encoder = encoder_of(path) if path.stem in MASKED else SmallCNN((1, SIZE, SIZE), dropout=0.0, **ENCODER)
        method: Method = build("method", config_of(path), encoder)
    return method.double().train()


def named(name: str, message: str) -> str:
    return f"{name}: {message}"


def noted(count: list[int], module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
    count.append(len(inputs[0]))


def compare(path: Path) -> None:
    methods = [made(path), made(path)]
    seen: list[list[int]] = [[], []]
    for method, count in zip(methods, seen, strict=True):
        hook = partial(noted, count)
        next(method.encoder.children()).register_forward_hook(hook)
    losses_of = [methods[0], share(methods[1])]
    optimizers = [torch.optim.SGD(method.parameters(), lr=0.05) for method in methods]
    for step in range(STEPS):
        losses = []
        for loss_of, method, optimizer in zip(losses_of, methods, optimizers, strict=True):
            with global_generator(step, "step"):
                losses.append(loss_of(*(x.double() for x in inputs_of(method, IMAGES, step))))
            optimizer.zero_grad()
            losses[-1].backward()
            optimizer.step()
            method.after_step((step + 1) / STEPS)
        torch.testing.assert_close(losses[1], losses[0], **SAME, msg=partial(named, path.stem))
        expected = dict(methods[0].named_parameters())
        for name, parameter in methods[1].named_parameters():
            if parameter.requires_grad:
                about = partial(named, f"{path.stem} {name}")
                torch.testing.assert_close(parameter.grad, expected[name].grad, **SAME, msg=about)
    kept = methods[0].state_dict()
    for name, value in methods[1].state_dict().items():
        torch.testing.assert_close(value, kept[name], **SAME, msg=partial(named, f"{path.stem} {name}"))
    assert seen[0] == [2 * images for images in seen[1]], (path.stem, seen)
    assert seen[0] or path.stem == "untrained"


if __name__ == "__main__":
    torch.set_num_threads(1)
    join("cpu")
    assert world() == 2
    for config in CONFIGS:
        compare(config)
    if rank() == 0:
        print(f"{len(CONFIGS)} methods agree")
    torch.distributed.destroy_process_group()
