from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from src.methods.method import Method
from src.runtime import check
from src.runtime.epps_pulley import epps_pulley

KNOTS = 9  # on the half axis: 17 points over [-5, 5], as in the paper


def prediction(z: Float[Tensor, "v n d"]) -> Float[Tensor, ""]:
    """Mean squared distance of each view's projection to the mean of its image's (arXiv 2511.08544, section 5)."""
    return (z - z.mean(0)).square().mean()


def sigreg(z: Float[Tensor, "v n d"], directions: Float[Tensor, "d m"]) -> Float[Tensor, ""]:
    """Mean distance from a standard normal of each view's projections on unit directions (arXiv 2511.08544, eq. 6)."""
    return torch.stack([epps_pulley(view @ directions, knots=KNOTS) for view in z]).mean()


class LeJEPA(Method):
    """LeJEPA: views predict their common mean while SIGReg keeps the projections an isotropic Gaussian.

    Fresh random directions at each step. Source: Balestriero & LeCun, arXiv 2511.08544.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector: Callable[[int], nn.Module],
        views: int,
        sigreg_weight: float,
        directions: int,
    ) -> None:
        check.number("method.views", views, at_least=2, whole=True)
        check.number("method.sigreg_weight", sigreg_weight, at_least=0, at_most=1)
        check.number("method.directions", directions, at_least=1, whole=True)
        super().__init__(encoder, projector)
        self.views = views
        self.sigreg_weight = sigreg_weight
        self.directions = directions

    def forward(self, views: Float[Tensor, "views c h w"]) -> Float[Tensor, ""]:
        z = self.projector(self.encoder(views)).unflatten(0, (self.views, -1))
        # drawn on the CPU: the same on every device
        directions = F.normalize(torch.randn(z.shape[-1], self.directions), dim=0).to(z)
        return (1 - self.sigreg_weight) * prediction(z) + self.sigreg_weight * sigreg(z, directions)
