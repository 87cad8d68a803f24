from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from jaxtyping import Float
from torch import Tensor, nn


class Method(Protocol):
    """What every method of conf/method/ offers: an nn.Module that maps views to its loss.

    ``encoder`` gives the representation h (n, encoder.features), ``projector`` on top of it the projection z
    (n, projector.dimension), ``views`` is how many views of each image the loss takes, first views first.
    """

    encoder: nn.Module
    projector: nn.Module
    views: int

    def __call__(self, views: Float[Tensor, "views c h w"]) -> Float[Tensor, ""]: ...

    def after_step(self, progress: float) -> None:
        """What follows the weights (a teacher, a queue) after each step; ``progress`` in (0, 1] of the training."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def modules(self) -> Iterator[nn.Module]: ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...

    def train(self) -> Any: ...

    def eval(self) -> Any: ...

    def to(self, *arguments: Any, **keywords: Any) -> Any: ...

    @property
    def training(self) -> bool: ...
