"""What methods that mask patches of a vision transformer share."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


@runtime_checkable
class TokenEncoder(Protocol):
    """An encoder of patches: ``tokens`` of all of them or of those kept, the grid they form and a patch's pixels."""

    features: int
    grid: tuple[int, int]
    patch: int

    def tokens(
        self, images: Float[Tensor, "n c h w"], kept: Int[Tensor, "n k"] | None = None
    ) -> Float[Tensor, "n t d"]: ...


def check_tokens(encoder: nn.Module, name: str) -> TokenEncoder:
    """The encoder, if it encodes patches. Raises ValueError otherwise."""
    if not hasattr(encoder, "tokens"):
        raise ValueError(f"method={name} masks patches and needs a transformer: choose model=vit")
    return encoder  # type: ignore[return-value]


class TokenTransformer(nn.Module):
    """A narrow transformer on some tokens of a grid: embeds them, adds positions, and maps the result out."""

    def __init__(self, tokens: int, *, features_in: int, width: int, depth: int, heads: int, features_out: int) -> None:
        super().__init__()
        self.embed = nn.Linear(features_in, width)
        self.unknown = nn.Parameter(0.02 * torch.randn(width))  # stands for a token that has to be predicted
        self.positions = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, features_out)

    def forward(
        self, known: Float[Tensor, "n k d"], places: Int[Tensor, "n k"], wanted: Int[Tensor, "n m"]
    ) -> Float[Tensor, "n m o"]:
        """What stands at the places ``wanted``, given the tokens that are known at ``places``."""
        x = torch.cat([self.embed(known) + self.positions[places], self.unknown + self.positions[wanted]], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x[:, places.shape[1] :]))
