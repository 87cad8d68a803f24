from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from src.methods.method import Method
from src.methods.queue import Queue
from src.methods.teacher import follow, rising, teacher_of
from src.runtime import check


def info_nce(
    q: Float[Tensor, "n d"], k: Float[Tensor, "n d"], negatives: Float[Tensor, "m d"], *, temperature: float
) -> Float[Tensor, ""]:
    """Cross entropy of finding a query's own key among ``negatives``; unit vectors (arXiv 1911.05722, eq. 1)."""
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ negatives.T], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long, device=q.device))


def batch_info_nce(q: Float[Tensor, "n d"], k: Float[Tensor, "n d"], *, temperature: float) -> Float[Tensor, ""]:
    """The same among the batch's own keys, times twice the temperature (MoCo v3, arXiv 2104.02057, algorithm 1)."""
    logits = q @ k.T / temperature
    return 2 * temperature * F.cross_entropy(logits, torch.arange(len(q), device=q.device))


class MoCo(Method):
    """Momentum contrast: queries find the keys that a slowly following encoder gives the other view of their image.

    With ``queue`` > 0 the first view's queries meet the keys of that many earlier images (He et al., CVPR 2020,
    arXiv 1911.05722; with a projector it is v2, arXiv 2003.04297). With 0, each view's meet the batch's own keys, the
    momentum rises to 1 and queries pass a ``predictor`` (v3: Chen, Xie & He, ICCV 2021, arXiv 2104.02057).
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector: Callable[[int], nn.Module],
        predictor: Callable[[int], nn.Module] | None,
        queue: int,
        momentum: float,
        temperature: float,
    ) -> None:
        check.number("method.queue", queue, at_least=0, whole=True)
        check.number("method.momentum", momentum, at_least=0, at_most=1)
        check.number("method.temperature", temperature, above=0)
        super().__init__(encoder, projector)
        dimension: int = self.projector.dimension  # type: ignore[assignment]
        self.predictor = nn.Identity() if predictor is None else predictor(dimension)
        self.teacher = teacher_of(self.encoder, self.projector)
        self.queue = Queue(queue, dimension) if queue else None
        self.momentum = momentum
        self.temperature = temperature

    def queries(self, views: Tensor) -> Float[Tensor, "n d"]:
        return F.normalize(self.predictor(self.projector(self.encoder(views))), dim=-1)

    @torch.no_grad()
    def keys(self, views: Tensor) -> Float[Tensor, "n d"]:
        return F.normalize(self.teacher(views), dim=-1)

    def forward(self, views: Float[Tensor, "views c h w"]) -> Float[Tensor, ""]:
        if self.queue is None:
            (q_a, q_b), (k_a, k_b) = self.queries(views).chunk(2), self.keys(views).chunk(2)
            self._diagnose(q_a, k_b, k_b)
            losses = [batch_info_nce(q, k, temperature=self.temperature) for q, k in ((q_a, k_b), (q_b, k_a))]
            return losses[0] + losses[1]
        first, second = views.chunk(2)
        q, k = self.queries(first), self.keys(second)
        negatives = self.queue.entries.clone()  # autograd keeps them while the queue moves on
        self._diagnose(q, k, negatives)
        self.diagnostics["queue_age"] = self.queue.age.mean()
        if self.training:
            self.queue.add(k)
        return info_nce(q, k, negatives, temperature=self.temperature)

    @torch.no_grad()
    def _diagnose(self, q: Tensor, k: Tensor, negatives: Tensor) -> None:
        self.diagnostics = {
            "positive_similarity": (q * k).sum(1).mean(),
            # the mean over all pairs, without their n x m matrix
            "negative_similarity": q.mean(0) @ negatives.mean(0),
        }

    def after_step(self, progress: float) -> None:
        momentum = self.momentum if self.queue is not None else rising(self.momentum, progress)
        follow(self.teacher, self.encoder, self.projector, momentum=momentum)
