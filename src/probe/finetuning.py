"""Full fine-tuning with labels: how good a start the weights are. Frozen probes ask what the features already hold."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from src.probe.settings import Finetuning
from src.probes.labelled import Score
from src.runtime import check
from src.runtime.rng import global_generator
from src.trial.loop import batch_indices
from src.trial.optim import layered_groups, layers, schedule_factor

CHUNK = 512


def check_enough(images: int, how: Finetuning) -> None:
    """Raise ValueError unless that many labelled images fill a batch."""
    check.number("finetune.batch_size", how.batch_size, at_most=images, whole=True)


def finetune(
    encoder: nn.Module,
    normalise: Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n c h w"]],
    images: UInt8[Tensor, "n c h w"],
    classes: Int[Tensor, "n"],
    scored_images: UInt8[Tensor, "m c h w"],
    scored_classes: Int[Tensor, "m"],
    how: Finetuning,
) -> Score:
    """Accuracy after training a copy of ``encoder`` and a linear head that starts at 0; no augmentation.

    AdamW with a cosine schedule; each layer further from the head learns at ``layer_decay`` times the next one's rate.
    An epoch's incomplete last batch is dropped. The encoder itself stays as it is.
    """
    check_enough(len(images), how)
    encoder = copy.deepcopy(encoder).requires_grad_()
    device = next(encoder.parameters()).device
    # The head has an output for each class that occurs: class numbers may have gaps.
    known, truth = classes.unique(return_inverse=True)
    features = encoder.features
    assert isinstance(features, int)
    # It starts at 0, so nothing is drawn from the global generator.
    head = nn.utils.skip_init(nn.Linear, features, len(known), device=device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)

    def logits(batch: Tensor) -> Tensor:
        x = normalise(batch.to(device).float().div_(255))
        scores: Tensor = head(encoder(x.contiguous(memory_format=torch.channels_last)))
        return scores

    encoder.train()
    _train(logits, [*layers(encoder), head], images, truth.to(device), how)
    encoder.eval()
    with torch.no_grad():
        scores = torch.cat([logits(chunk) for chunk in scored_images.split(CHUNK)]).cpu()
    # argmax gives a class for NaN too: a diverged run would pass for a bad encoder.
    if not torch.isfinite(scores).all():
        raise ValueError(f"fine-tuning diverged: lower finetune.learning_rate, {how.learning_rate:g}")
    # A class that was never fitted can't be predicted: its images count as wrong.
    right = known[scores.argmax(1)] == scored_classes
    return Score({"top1": float(right.double().mean())}, right)


def _train(
    logits: Callable[[Tensor], Tensor],
    modules: list[nn.Module],
    images: UInt8[Tensor, "n c h w"],
    truth: Int[Tensor, "n"],
    how: Finetuning,
) -> None:
    """``modules`` are the layers from the input to the head, ``truth`` their classes from 0."""
    groups = [{**group} for group in layered_groups(modules, how.weight_decay, how.layer_decay)]
    optimizer = torch.optim.AdamW(groups, lr=how.learning_rate)
    steps = how.epochs * (len(images) // how.batch_size)
    for step in range(steps):
        rate = how.learning_rate * schedule_factor(step, steps=steps, warmup=0.0, decay="cosine")
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        index = batch_indices(step, count=len(images), batch_size=how.batch_size, seed=how.seed)
        # Dropout draws by step, so the result doesn't depend on what ran before.
        with global_generator(how.seed, "finetune dropout", step):
            loss = F.cross_entropy(logits(images[index]), truth[index.to(truth.device)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
