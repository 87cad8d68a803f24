from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from src.methods.method import Method
from src.methods.queue import Queue
from src.runtime import check


def nearest(z: Float[Tensor, "n d"], support: Float[Tensor, "m d"]) -> Float[Tensor, "n d"]:
    """The support vector nearest to each unit vector (arXiv 2104.14548, eq. 2)."""
    return support[(z @ support.T).argmax(1)]


def nearest_neighbour_loss(
    neighbours: Float[Tensor, "n d"], p: Float[Tensor, "n d"], *, temperature: float
) -> Float[Tensor, ""]:
    """Cross entropy of finding an image's own prediction from the neighbour of its other view, and the reverse
    (arXiv 2104.14548, eq. 3 and section 3.2)."""
    logits = neighbours @ F.normalize(p, dim=-1).T / temperature
    own = torch.arange(len(p), device=p.device)
    return F.cross_entropy(logits, own) / 2 + F.cross_entropy(logits.T, own) / 2


class NNCLR(Method):
    """NNCLR: the positive of a view is its other view's nearest neighbour among earlier images.

    Source: Dwibedi et al., ICCV 2021 (arXiv 2104.14548).
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector: Callable[[int], nn.Module],
        predictor: Callable[[int], nn.Module],
        queue: int,
        temperature: float,
    ) -> None:
        check.number("method.temperature", temperature, above=0)
        super().__init__(encoder, projector)
        self.predictor = predictor(self.projector.dimension)  # type: ignore[arg-type]
        self.queue = Queue(queue, self.projector.dimension)  # type: ignore[arg-type]
        self.temperature = temperature

    def forward(self, views: Float[Tensor, "views c h w"]) -> Float[Tensor, ""]:
        z = self.projector(self.encoder(views))
        p_a, p_b = self.predictor(z).chunk(2)
        unit = F.normalize(z.detach(), dim=-1)
        near_a, near_b = nearest(unit, self.queue.entries).chunk(2)
        z_a, z_b = unit.chunk(2)
        self.diagnostics = {
            "positive_similarity": (z_a * z_b).sum(1).mean(),
            "neighbour_similarity": (z_a * near_a).sum(1).mean(),
            "queue_age": self.queue.age.mean(),
        }
        # after the search: an image would find itself
        if self.training:
            self.queue.add(z_a)
        losses = [nearest_neighbour_loss(n, p, temperature=self.temperature) for n, p in ((near_a, p_b), (near_b, p_a))]
        return losses[0] / 2 + losses[1] / 2
