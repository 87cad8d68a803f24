from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from src.runtime import check
from src.runtime.epps_pulley import epps_pulley
from src.runtime.rng import generator

AT_ONCE = 16  # directions: the angles of all of them would not fit in memory


def sigreg(z: Float[Tensor, "n d"], *, directions: int, knots: int, seed: int) -> float:
    """Epps-Pulley distance from N(0, 1), averaged over random unit directions; in [0, 7.5 n], lower is closer.

    Not standardised: the target is N(0, I) itself, so scale and mean count. It grows with n; 1.0594 is expected of
    normal samples of any n. On ``knots`` points of the half axis the rule is exact for projections within
    pi (knots - 1) / 5 of each other, and finer than in training. In the precision of z.
    Source: LeJEPA (Balestriero & LeCun, arXiv 2511.08544), SIGReg.
    """
    check.number("criterion.score.directions of sigreg", directions, at_least=1, whole=True)
    check.number("criterion.score.knots of sigreg", knots, at_least=2, whole=True)
    drawn = torch.empty(z.shape[1], directions, dtype=torch.float64)
    drawn.normal_(generator=generator(seed, "sigreg directions"))
    projections = z @ (drawn / drawn.norm(dim=0)).to(z.dtype)
    return float(torch.cat([epps_pulley(x, knots=knots) for x in projections.split(AT_ONCE, dim=1)]).mean())
