from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from src.probes.linear import fit_logistic, moments, predict_logistic
from src.runtime import check
from src.runtime.rng import generator


def rotation_probe(h: Float[Tensor, "4 n d"], *, strength: float, seed: int) -> float:
    """Accuracy in [0, 1] of a linear head telling by how much an image was turned; chance is 0.25.

    Logistic regression on standardised features, L2 penalty ``strength``, fitted on one half of the images and scored
    on the other: all four rotations of an image lie on one side. Says nothing where rotation is an augmentation or
    images have no upright position. Raises ValueError for fewer than 2 images.
    Source: Reed et al., SelfAugment, CVPR 2021 (arXiv 2009.07724).
    """
    check.number("criterion.score.strength of rotation_probe", strength, above=0)
    n = h.shape[1]
    if n < 2:
        raise ValueError(f"rotation_probe needs 2 images, to fit and to score, got {n}: raise evaluation.images")
    fitted, scored = torch.randperm(n, generator=generator(seed, "rotation probe")).tensor_split(2)
    turn = torch.arange(4)
    bank = h[:, fitted].flatten(0, 1)
    head = fit_logistic(bank, turn.repeat_interleave(len(fitted)), moments(bank), strength=strength)
    predicted = predict_logistic(head, h[:, scored].flatten(0, 1))
    return float((predicted == turn.repeat_interleave(len(scored))).double().mean())
