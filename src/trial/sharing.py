"""Several processes train one trial: each encodes its share of every batch, and all see the whole batch's loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from src.runtime.distributed import rank, world

if TYPE_CHECKING:
    from torch import Tensor, nn

    from src.methods.method import Method


def check_shares(method: Method, batch_size: int, device: str) -> None:
    """Raise ValueError where a batch can't be shared, or its statistics can't."""
    if world() == 1:
        return
    if batch_size % world():
        raise ValueError(f"batch_size must be a multiple of the {world()} processes, got {batch_size}")
    from torch import nn

    norms = (nn.BatchNorm1d, nn.BatchNorm2d)
    if device == "cpu" and any(isinstance(module, norms) for module in method.encoder.modules()):
        raise ValueError(
            "torch shares batch norm's statistics between GPUs only: on several CPU processes choose model.norm=group, "
            "or a transformer"
        )


def share_statistics(method: Method) -> None:
    """Make the encoders' batch norms see the whole batch; before any is frozen or trained."""
    if world() == 1:
        return
    from timm.layers.norm_act import convert_sync_batchnorm  # torch's own would lose the activation in timm's norms

    for encoder in method.encoders():
        convert_sync_batchnorm(encoder)  # type: ignore[no-untyped-call]


def share(method: Method) -> nn.Module:
    """What every process calls for the loss of a whole batch, and whose gradients are those of one process.

    An encoder is given this process's share of the batch, and its output is gathered, so that projector and loss see
    the whole batch in every process. The gradients of all parameters are averaged: those of projector and loss are the
    same everywhere, and the encoder's, each of one share, count as many times as there are shares. Dropout within an
    encoder draws other numbers in each process than one process would.
    """
    if world() == 1:
        return method
    from torch.nn.parallel import DistributedDataParallel

    for encoder in method.encoders():
        name = "tokens" if hasattr(encoder, "tokens") else "forward"
        setattr(encoder, name, partial(_gathered, encoder, getattr(encoder, name)))
    # buffers are alike already, since every process sees the whole batch
    return DistributedDataParallel(method, forward_sync_buffers=False)


def _gathered(encoder: nn.Module, encode: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
    # only the first process measures: gathering would wait for the others for ever
    if not encoder.training:
        return encode(*inputs)
    import torch
    import torch.distributed as dist

    with _own_draws(encoder):
        own = encode(*(None if x is None else x.chunk(world())[rank()] for x in inputs)).contiguous()
    if own.requires_grad:
        # the processes' gradients are averaged, and the others know nothing of this share
        own.register_hook(lambda gradient: gradient * world())
    parts = [torch.empty_like(own) for _ in range(world())]
    dist.all_gather(parts, own.detach())
    # all_gather passes no gradient on: this process's part is put back with its own
    parts[rank()] = own
    return torch.cat(parts)


@contextmanager
def _own_draws(encoder: nn.Module) -> Iterator[None]:
    """Random numbers of this process's own where the encoder drops out: its share isn't another's."""
    import torch
    from torch import nn

    dropping = (
        getattr(module, "drop_prob", module.p if isinstance(module, nn.Dropout) else 0) for module in encoder.modules()
    )
    if not any(dropping):
        yield
        return
    seed = int(torch.randint(2**62, (), device="cpu"))  # the same everywhere, another for each call
    with torch.random.fork_rng():
        torch.manual_seed(seed + rank())
        yield
