from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from src.criteria.scatter import signal_to_noise
from src.runtime import check


def pillai(h: Float[Tensor, "n v d"], *, ridge: float) -> float:
    """Number of directions that tell images apart whatever the view: sum s_i / (1 + s_i) over the signal-to-noise
    ratios s of images over views; in [0, d].

    Each term is the share of a direction's variance that lies between images, its intraclass correlation. Like a linear
    probe it doesn't care for any invertible linear map of the features (up to ``ridge``). Raises ValueError unless
    n > d and v > 1. Source: Pillai's trace, Annals of Mathematical Statistics 1955. Ours as a criterion.
    """
    check.number("criterion.score.ridge of pillai", ridge, above=0)
    ratio = signal_to_noise("pillai", h, ridge=ridge)
    return float((ratio / (1 + ratio)).sum())
