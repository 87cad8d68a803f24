from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn


class Method(nn.Module):
    """What every method of conf/method/ is: a module that maps views of a batch to its loss.

    ``encoder`` gives the representation h (n, encoder.features), ``projector`` on top of it the projection z
    (n, projector.dimension), which is h itself for methods without one. ``views`` is how many views of each image the
    loss takes, all first views first; ``local_views`` how many smaller ones it takes besides, as a second argument.
    ``labelled`` says that the images' classes (n,) follow the views: only of the reference that isn't self-supervised.
    ``meaningless`` says which inputs of criteria say nothing of the method, and why: its own pretext, an unknown loss.
    ``diagnostics`` are numbers of the last loss that the history keeps beside it.
    """

    views = 2
    local_views = 0
    labelled = False
    meaningless: ClassVar[dict[str, str]] = {}

    def __init__(self, encoder: nn.Module, projector: Callable[[int], nn.Module] | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector: nn.Module = NoProjector(encoder.features) if projector is None else projector(encoder.features)  # type: ignore[arg-type]
        self.diagnostics: dict[str, Float[Tensor, ""]] = {}

    @property
    def has_projector(self) -> bool:
        """Whether z is other than h."""
        return not isinstance(self.projector, NoProjector)

    def encoders(self) -> list[nn.Module]:
        """The encoder and, where a teacher follows it, the teacher's."""
        teacher = getattr(self, "teacher", None)
        return [self.encoder] if teacher is None else [self.encoder, teacher[0]]

    def after_step(self, progress: float) -> None:
        """What follows the weights, such as a teacher, after each step; ``progress`` in (0, 1] of the training."""


class NoProjector(nn.Identity):
    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.dimension = dimension
