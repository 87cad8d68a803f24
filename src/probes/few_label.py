from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from src.probes.labelled import Labelled, Score, check_splits, top1
from src.probes.linear import fit_logistic, moments, predict_logistic
from src.runtime import check
from src.runtime.rng import generator


def few_label(
    fitted: Labelled, scored: Labelled, *, per_class: Sequence[int], draws: int, strength: float, seed: int
) -> Score:
    """Accuracy from k labels per class, mean and standard deviation over ``draws`` of the labelled images.

    Logistic regression of one strength, since so few labels leave none to choose with, on features standardised by
    all of ``fitted``, which needs no label: on trained encoders as good as class means at k = 1 and better from 5 on.
    A k that some class hasn't as many groups for is left out.
    """
    check_splits("few_label", fitted, scored)
    check.number("probe.few_label.score.draws", draws, at_least=2, whole=True)
    check.number("probe.few_label.score.strength", strength, above=0)
    check.listed("probe.few_label.score.per_class", per_class)
    smallest = min(len(fitted.groups[fitted.classes == c].unique()) for c in fitted.classes.unique())
    for k in per_class:
        check.number("probe.few_label.score.per_class", k, at_least=1, whole=True)
    standard = moments(fitted.features)
    numbers: dict[str, float] = {}
    for k in [k for k in per_class if k <= smallest]:
        accuracies = torch.zeros(draws, dtype=torch.float64)
        for draw in range(draws):
            drawn = fitted.where(draw_images(fitted, k, seed=seed, draw=draw))
            fit = fit_logistic(drawn.features, drawn.classes, standard, strength=strength)
            accuracies[draw], _ = top1(predict_logistic(fit, scored.features), scored)
        numbers |= {f"top1_{k}": float(accuracies.mean()), f"top1_{k}_error": float(accuracies.std())}
    return Score(numbers, None)


def draw_images(fitted: Labelled, k: int, *, seed: int, draw: int) -> Int[Tensor, "m"]:
    """k images of each class, of distinct groups; those of a smaller k are among those of a larger one."""
    chosen: list[int] = []
    taken: dict[int, set[int]] = {}  # class -> groups
    for image in torch.randperm(len(fitted.classes), generator=generator(seed, "few labels", draw)).tolist():
        groups = taken.setdefault(int(fitted.classes[image]), set())
        group = int(fitted.groups[image])
        if len(groups) < k and group not in groups:
            groups.add(group)
            chosen.append(image)
    return torch.tensor(chosen)
