from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from src.methods.method import Method
from src.runtime import check


def nt_xent(z_a: Float[Tensor, "n d"], z_b: Float[Tensor, "n d"], *, temperature: float) -> Float[Tensor, ""]:
    """Normalised temperature-scaled cross entropy: each of the 2n views must find its partner among the other 2n - 1.

    Source: Chen et al., SimCLR, ICML 2020 (arXiv 2002.05709), eq. 1.
    """
    n = len(z_a)
    z = F.normalize(torch.cat([z_a, z_b]), dim=-1)
    similarity = z @ z.T / temperature
    # a view is no candidate for its own partner
    similarity.fill_diagonal_(float("-inf"))
    partner = torch.arange(2 * n, device=z.device).roll(n)
    return F.cross_entropy(similarity, partner)


class SimCLR(Method):
    """SimCLR: an encoder and a projector trained so that two views of an image agree and differ from the batch."""

    def __init__(self, encoder: nn.Module, *, projector: Callable[[int], nn.Module], temperature: float) -> None:
        check.number("method.temperature", temperature, above=0)
        super().__init__(encoder, projector)
        self.temperature = temperature

    def forward(self, views: Float[Tensor, "views c h w"]) -> Float[Tensor, ""]:
        z_a, z_b = self.projector(self.encoder(views)).chunk(2)
        return nt_xent(z_a, z_b, temperature=self.temperature)
