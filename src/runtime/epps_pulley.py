"""The Epps-Pulley distance of samples from a standard normal, behind LeJEPA's regulariser and the SIGReg criterion."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

END = 5.0  # the integrand's weight exp(-t^2 / 2) is 4e-6 there


def epps_pulley(x: Float[Tensor, "n m"], *, knots: int) -> Float[Tensor, "m"]:
    """n times the integral of |phi(t) - exp(-t^2/2)|^2 exp(-t^2/2) over [-5, 5], phi the empirical characteristic
    function of each column, by the trapezoidal rule on ``knots`` points of the half axis (the integrand is even).

    The expectation for standard normal samples is sqrt(2 pi) (1 - 1/sqrt 3) = 1.0594. Source: Epps & Pulley,
    Biometrika 1983; as in LeJEPA (Balestriero & LeCun, arXiv 2511.08544).
    """
    t = torch.linspace(0, END, knots, dtype=x.dtype, device=x.device)
    normal = torch.exp(-t.square() / 2)
    # twice, for the negative half axis; the trapezoidal rule takes half of each end
    weight = normal * 2 * END / (knots - 1)
    weight[[0, -1]] /= 2
    angle = x[..., None] * t  # (n, m, knots)
    distance = (angle.cos().mean(0) - normal).square() + angle.sin().mean(0).square()
    return len(x) * distance @ weight
