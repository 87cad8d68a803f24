"""Full fine-tuning with labels: how good a start the weights are, where frozen probes ask what they already tell."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from src.probes.labelled import Score
from src.runtime import check
from src.runtime.rng import global_generator
from src.trial.loop import batch_indices
from src.trial.optim import layered_groups, layers, schedule_factor

CHUNK = 512


def check_settings(
    images: int,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    layer_decay: float,
    weight_decay: float,
    seed: int,
) -> None:
    """Raise ValueError unless that many labelled images can be fine-tuned on with these settings."""
    check.number("finetune.epochs", epochs, at_least=1, whole=True)
    check.number("finetune.batch_size", batch_size, at_least=2, at_most=images, whole=True)
    check.number("finetune.learning_rate", learning_rate, above=0)
    check.number("finetune.layer_decay", layer_decay, above=0, at_most=1)
    check.number("finetune.weight_decay", weight_decay, at_least=0)
    check.number("finetune.seed", seed, at_least=0, whole=True)


def finetune(
    encoder: nn.Module,
    normalise: Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n c h w"]],
    images: UInt8[Tensor, "n c h w"],
    classes: Int[Tensor, "n"],
    scored_images: UInt8[Tensor, "m c h w"],
    scored_classes: Int[Tensor, "m"],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    layer_decay: float,
    weight_decay: float,
    seed: int,
) -> Score:
    """Accuracy after training a copy of ``encoder`` and a linear head that starts at 0; no augmentation.

    AdamW with a cosine schedule; each layer further from the head learns at ``layer_decay`` times the next one's rate.
    An epoch's incomplete last batch is dropped. The encoder itself stays as it is.
    """
    check_settings(
        len(images),
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        layer_decay=layer_decay,
        weight_decay=weight_decay,
        seed=seed,
    )
    encoder = copy.deepcopy(encoder).requires_grad_()
    device = next(encoder.parameters()).device
    known, truth = classes.unique(return_inverse=True)
    features = encoder.features
    assert isinstance(features, int)
    head = nn.utils.skip_init(nn.Linear, features, len(known), device=device)  # no draw from the global generator
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)

    def prepared(batch: Tensor) -> Tensor:
        x = normalise(batch.to(device).float().div_(255))
        return x.contiguous(memory_format=torch.channels_last)

    groups = layered_groups([*layers(encoder), head], weight_decay, layer_decay)
    optimizer = torch.optim.AdamW(groups, lr=learning_rate)
    encoder.train()
    steps = epochs * (len(images) // batch_size)
    for step in range(steps):
        rate = learning_rate * schedule_factor(step, steps=steps, warmup=0.0, decay="cosine")
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        index = batch_indices(step, count=len(images), batch_size=batch_size, seed=seed)
        with global_generator(seed, "finetune dropout", step):
            loss = F.cross_entropy(head(encoder(prepared(images[index]))), truth[index].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    encoder.eval()
    with torch.no_grad():
        scores = torch.cat([head(encoder(prepared(chunk))) for chunk in scored_images.split(CHUNK)]).cpu()
    if not torch.isfinite(scores).all():
        raise ValueError(f"fine-tuning diverged: lower finetune.learning_rate, {learning_rate:g}")
    right = known[scores.argmax(1)] == scored_classes
    return Score({"top1": float(right.double().mean())}, right)
