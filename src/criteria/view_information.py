from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from src.criteria.scatter import signal_to_noise
from src.runtime import check


def view_information(h: Float[Tensor, "n v d"], *, ridge: float) -> float:
    """What a view's embedding tells of the image it came from: mutual information in nats, for Gaussians; >= 0.

    1/2 sum ln(1 + s_i) over the signal-to-noise ratios s of images over views, which is 1/2 ln det(S_between +
    S_within) / det(S_within), minus the logarithm of Wilks' lambda over 2. Like a linear probe, and unlike a rank, it
    doesn't care for any invertible linear map of the features (up to ``ridge``). Raises ValueError unless n > d, v > 1.
    Source: Cover & Thomas, Elements of Information Theory, section 9.4; Wilks, Biometrika 1932. Ours as a criterion.
    """
    check.number("criterion.score.ridge of view_information", ridge, above=0)
    return float(torch.log1p(signal_to_noise("view_information", h, ridge=ridge)).sum() / 2)
