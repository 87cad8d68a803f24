from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from src.methods.method import Method
from src.methods.prototypes import Prototypes, cross_prediction, entropy
from src.runtime import check


@torch.no_grad()
def sinkhorn(scores: Float[Tensor, "n k"], *, epsilon: float, iterations: int) -> Float[Tensor, "n k"]:
    """Codes, one distribution over prototypes for each image, that use all prototypes equally.

    Source: Caron et al., NeurIPS 2020 (arXiv 2006.09882), eq. 3-5: rows and columns of exp(scores / epsilon) scaled in
    turn, in logarithms, so that a small epsilon can't overflow.
    """
    logs = (scores / epsilon).double()
    for _ in range(iterations):
        logs = logs - logs.logsumexp(0, keepdim=True)  # every prototype gets the same share of the batch
        logs = logs - logs.logsumexp(1, keepdim=True)  # every image's code sums to 1
    return logs.exp().to(scores.dtype)


class SwAV(Method):
    """SwAV: views predict each other's assignment to learned prototypes; multi-crop.

    The prototypes, unit vectors, stay fixed for the fraction ``freeze`` of the training.
    Source: Caron et al., NeurIPS 2020 (arXiv 2006.09882).
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector: Callable[[int], nn.Module],
        local_views: int,
        prototypes: int,
        temperature: float,
        epsilon: float,
        iterations: int,
        freeze: float,
    ) -> None:
        check.number("method.local_views", local_views, at_least=0, whole=True)
        check.number("method.temperature", temperature, above=0)
        check.number("method.epsilon", epsilon, above=0)
        check.number("method.iterations", iterations, at_least=1, whole=True)
        super().__init__(encoder, projector)
        self.prototypes = Prototypes(self.projector.dimension, count=prototypes, freeze=freeze)  # type: ignore[arg-type]
        self.local_views = local_views
        self.temperature, self.epsilon, self.iterations = temperature, epsilon, iterations

    def scores(self, views: Tensor) -> Float[Tensor, "n k"]:
        return self.prototypes(self.projector(self.encoder(views)))

    def forward(
        self, views: Float[Tensor, "views c h w"], local: Float[Tensor, "local c s s"] | None = None
    ) -> Float[Tensor, ""]:
        scores = list(self.scores(views).chunk(self.views))
        codes = [sinkhorn(score, epsilon=self.epsilon, iterations=self.iterations) for score in scores]
        with torch.no_grad():
            assigned = torch.cat(codes)
            share = F.one_hot(assigned.argmax(1), assigned.shape[1]).float().mean(0)
            self.diagnostics = {"code_entropy": entropy(assigned).mean(), "prototypes_used": entropy(share).exp()}
        if local is not None:
            scores += self.scores(local).chunk(self.local_views)
        return cross_prediction(scores, codes, temperature=self.temperature)

    def after_step(self, progress: float) -> None:
        self.prototypes.progress.fill_(progress)
