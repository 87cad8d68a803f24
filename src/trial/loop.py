"""The training loop: views -> loss -> backward -> step, written out once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.flop_counter import FlopCounterMode

from src.augmentation.views import Augmentation
from src.runtime.rng import generator, global_generator
from src.trial.optim import schedule_factor
from src.trial.sharing import share

if TYPE_CHECKING:
    from src.data.source import Rows
    from src.methods.method import Method
    from src.trial.config import Decay


class Normalise:
    """(x - mean) / std per channel, for images (n, c, h, w) in [0, 1]."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: str) -> None:
        self.mean = torch.tensor(mean, device=device)[:, None, None]
        # a channel that never varies is divided by this instead of 0
        self.scale = 1 / torch.tensor(std, device=device).clamp_min(1e-6)[:, None, None]

    def __call__(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        # in place: nothing else holds this batch of views
        return x.sub_(self.mean).mul_(self.scale)


class Step(NamedTuple):
    """What one step leaves behind; tensors stay on the device until somebody reads them."""

    number: int  # steps taken so far
    loss: Float[Tensor, ""]
    gradient_norm: Float[Tensor, ""]  # before clipping
    learning_rate: float
    diagnostics: dict[str, Float[Tensor, ""]]  # of the method


@lru_cache(maxsize=1)
def epoch_order(epoch: int, count: int, seed: int) -> Tensor:
    # kept for the steps of one epoch; from a seed of its own, so that nothing has to be saved to resume
    return torch.randperm(count, generator=generator(seed, "order", epoch))


def batch_indices(step: int, *, count: int, batch_size: int, seed: int) -> Tensor:
    """The images of a step: each epoch is a fresh permutation, its incomplete last batch dropped."""
    epoch, place = divmod(step, count // batch_size)
    return epoch_order(epoch, count, seed)[place * batch_size : (place + 1) * batch_size]


def train(
    method: Method,
    optimizer: Optimizer,
    images: UInt8[Tensor, "n c h w"] | Rows,
    augmentation: Augmentation,
    normalise: Normalise,
    *,
    learning_rate: float,
    warmup: float,
    decay: Decay,
    batch_size: int,
    steps: int,
    first_step: int,
    clip: float,
    seed: int,
    device: str,
    precision: str,
    classes: Int[Tensor, "n"] | None = None,
) -> Iterator[Step]:
    """Train in place from ``first_step`` to ``steps``, yielding after each step; the caller may stop at any.

    ``classes`` of the images are for the supervised reference alone.

    Every draw derives from (seed, purpose, step), so what a resumed run does equals what an unbroken one does.
    """
    method.train()
    loss_of = share(method)
    for step in range(first_step, steps):
        index = batch_indices(step, count=len(images), batch_size=batch_size, seed=seed)
        batch = fetch(images, index, device)
        inputs = make_views(method, augmentation, normalise, batch, generator(seed, "views", step))
        if classes is not None:
            inputs.append(classes[index].to(device))
        rate = learning_rate * schedule_factor(step, steps=steps, warmup=warmup, decay=decay)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)
        # the forward pass alone: each gradient takes the type of its operation
        with global_generator(seed, "dropout", step), autocast(device, precision):
            loss = loss_of(*inputs)
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(method.parameters(), clip)
        optimizer.step()
        # after the optimizer: a teacher follows the new weights
        method.after_step((step + 1) / steps)
        yield Step(step + 1, loss.detach(), norm, rate, method.diagnostics)


def make_views(
    method: Method, augmentation: Augmentation, normalise: Normalise, batch: Tensor, draw: torch.Generator
) -> list[Tensor]:
    """What a method's loss takes: its views of the batch and, where it asks for them, smaller ones."""
    # whole views first: both kinds draw from one generator
    views = [augmentation(batch, draw, views=method.views)]
    if method.local_views:
        views.append(augmentation.local(batch, draw, views=method.local_views))
    return [normalise(x).contiguous(memory_format=torch.channels_last) for x in views]


def fetch(images: Tensor | Rows, index: Tensor, device: str) -> UInt8[Tensor, "n c h w"]:
    """A batch from a resident tensor or from a file."""
    if isinstance(images, Tensor):
        return images.index_select(0, index.to(images.device))
    return torch.from_numpy(images[index.numpy()]).to(device)


def autocast(device: str, precision: str) -> torch.autocast:
    return torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16")


def step_flops(method: Method, augmentation: Augmentation, shape: Sequence[int], batch_size: int) -> int:
    """Counted floating-point operations of one forward and backward pass, nothing computed. Needs a meta module."""
    channels, *size = shape
    inputs = [torch.empty((method.views * batch_size, channels, *size), device="meta")]
    if method.local_views:
        local = augmentation.local_shape(*size)
        inputs.append(torch.empty((method.local_views * batch_size, channels, *local), device="meta"))
    if method.labelled:
        inputs.append(torch.empty(batch_size, device="meta", dtype=torch.int64))
    with global_generator(0, "count"), FlopCounterMode(display=False) as counter:
        method(*inputs).backward()
    return int(counter.get_total_flops())
