from __future__ import annotations

from torch import nn

from src.runtime import check


class Projector(nn.Sequential):
    """The head between representation h (n, features) and projection z (n, dimension): ``depth`` linear layers.

    Batch norm and ReLU after each layer but the last, as in SimCLR v2 (arXiv 2006.10029) and VICReg (arXiv 2105.04906).
    """

    def __init__(self, features: int, *, width: int, depth: int, dimension: int) -> None:
        check.number("projector.width", width, at_least=1, whole=True)
        check.number("projector.depth", depth, at_least=1, whole=True)
        check.number("projector.dimension", dimension, at_least=2, whole=True)
        layers: list[nn.Module] = []
        for _ in range(depth - 1):
            # batch norm brings a bias of its own
            layers += [nn.Linear(features, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
            features = width
        super().__init__(*layers, nn.Linear(features, dimension))
        self.dimension = dimension
