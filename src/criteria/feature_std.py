from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def feature_std(z: Float[Tensor, "n d"]) -> float:
    """Mean over features of the standard deviation of z / |z|: 1/sqrt(d) when isotropic, 0 when collapsed.

    Blind to dimensional collapse: read it beside a rank. Source: Chen & He, SimSiam, CVPR 2021, section 4.1.
    """
    return float(F.normalize(z.double(), dim=-1).std(0, unbiased=False).mean())
