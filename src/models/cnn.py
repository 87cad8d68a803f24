from __future__ import annotations

import math
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from src.runtime import check

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "group": lambda channels: nn.GroupNorm(num_groups=math.gcd(8, channels), num_channels=channels),
    "none": nn.Identity,
}
STRIDE_EVERY = 2


class SmallCNN(nn.Module):
    """``depth`` 3x3 convolutions and an average pool: images (n, channels, height, width) -> h (n, features).

    The first convolution and every second one after it halve the resolution and, from the second halving on, double
    the width. The last convolution always has ``features`` channels, so that trials of different width and depth
    share the dimension that rank criteria are bounded by.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        width: int,
        depth: int,
        features: int,
        activation: str,
        norm: str,
        dropout: float,
    ) -> None:
        check.number("model.width", width, at_least=1, whole=True)
        check.number("model.depth", depth, at_least=2, at_most=12, whole=True)
        check.number("model.features", features, at_least=2, whole=True)
        check.choice("model.activation", activation, tuple(ACTIVATIONS))
        check.choice("model.norm", norm, tuple(NORMS))
        check.number("model.dropout", dropout, at_least=0, below=1)
        if norm == "group" and width > 8 and width % 8:
            raise ValueError(f"model.width must be a multiple of 8 with model.norm=group, got {width}")
        super().__init__()
        channels, layers = shape[0], list[nn.Module]()
        for index in range(depth):
            halve = index % STRIDE_EVERY == 0
            out = features if index == depth - 1 else width * 2 ** (index // STRIDE_EVERY)
            layers += [
                # a norm brings a bias of its own
                nn.Conv2d(channels, out, kernel_size=3, stride=2 if halve else 1, padding=1, bias=norm == "none"),
                NORMS[norm](out),
                ACTIVATIONS[activation](),
            ]
            channels = out
        self.layers = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.features = features

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        return self.dropout(self.pool(self.layers(images)).flatten(1))
