from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from src.methods.method import Method
from src.methods.prototypes import Prototypes, cross_prediction, entropy
from src.methods.teacher import follow, rising, teacher_of
from src.runtime import check


class DINO(Method):
    """DINO: the student matches a slowly following teacher's centred and sharpened distribution; multi-crop.

    The prototypes stay fixed for the fraction ``freeze`` of the training. Source: Caron et al., ICCV 2021
    (arXiv 2104.14294), eq. 1-4 and section 3; the teacher's momentum rises to 1 along a cosine.
    """

    centre: Float[Tensor, "k"]

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector: Callable[[int], nn.Module],
        local_views: int,
        prototypes: int,
        temperature: float,
        teacher_temperature: float,
        momentum: float,
        centre_momentum: float,
        freeze: float,
    ) -> None:
        check.number("method.local_views", local_views, at_least=0, whole=True)
        check.number("method.temperature", temperature, above=0)
        check.number("method.teacher_temperature", teacher_temperature, above=0)
        check.number("method.momentum", momentum, at_least=0, at_most=1)
        check.number("method.centre_momentum", centre_momentum, at_least=0, at_most=1)
        super().__init__(encoder, projector)
        self.prototypes = Prototypes(self.projector.dimension, count=prototypes, freeze=freeze)  # type: ignore[arg-type]
        self.teacher = teacher_of(self.encoder, self.projector, self.prototypes)
        self.register_buffer("centre", torch.zeros(prototypes))
        self.local_views = local_views
        self.temperature, self.teacher_temperature = temperature, teacher_temperature
        self.momentum, self.centre_momentum = momentum, centre_momentum

    def student(self, views: Tensor) -> Float[Tensor, "n k"]:
        return self.prototypes(self.projector(self.encoder(views)))

    def forward(
        self, views: Float[Tensor, "views c h w"], local: Float[Tensor, "local c s s"] | None = None
    ) -> Float[Tensor, ""]:
        with torch.no_grad():
            outputs = self.teacher(views)
            # centred by the batches before this one
            targets = F.softmax((outputs - self.centre) / self.teacher_temperature, dim=1)
            self.diagnostics = {"teacher_entropy": entropy(targets).mean(), "centre_norm": self.centre.norm()}
            # measuring a held-out loss must not move it; outputs are bf16 under autocast
            if self.training:
                self.centre.lerp_(outputs.mean(0).to(self.centre.dtype), 1 - self.centre_momentum)
        student = list(self.student(views).chunk(self.views))
        if local is not None:
            student += self.student(local).chunk(self.local_views)
        return cross_prediction(student, list(targets.chunk(self.views)), temperature=self.temperature)

    def after_step(self, progress: float) -> None:
        self.prototypes.progress.fill_(progress)
        online = (self.encoder, self.projector, self.prototypes)
        follow(self.teacher, *online, momentum=rising(self.momentum, progress))
