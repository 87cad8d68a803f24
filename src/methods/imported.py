from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn


class Imported(nn.Module):
    """An encoder that was trained elsewhere, with its projector where one came along; its loss is unknown."""

    views = 2

    def __init__(self, encoder: nn.Module, *, projector: Callable[[int], nn.Module] | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = nn.Identity() if projector is None else projector(encoder.features)  # type: ignore[arg-type]
        if projector is None:
            self.projector.dimension = encoder.features

    def forward(self, views: Float[Tensor, "views c h w"]) -> Float[Tensor, ""]:
        """Stands for a loss where FLOPs are counted; nothing trains an imported encoder."""
        return self.projector(self.encoder(views)).square().mean()

    def after_step(self, progress: float) -> None:
        """Nothing follows the weights."""
