from __future__ import annotations

import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from src.methods.method import Method
from src.runtime import check

CANDIDATES = 5000  # permutations that distant ones are chosen from, where there are too many to list


def distant_permutations(tiles: int, count: int) -> list[list[int]]:
    """``count`` permutations, each the one of largest least Hamming distance to those before (arXiv 1603.09246,
    algorithm 1); the same on every machine."""
    if math.factorial(tiles) <= CANDIDATES:
        candidates = np.array(list(itertools.permutations(range(tiles))))
    else:
        # named, since numpy may change what default_rng is
        draw = np.random.Generator(np.random.PCG64(0))
        candidates = np.unique([range(tiles), *(draw.permutation(tiles) for _ in range(CANDIDATES))], axis=0)
    # the candidates are sorted, so that the first leaves the tiles in order
    chosen, distance = [0], np.full(len(candidates), tiles + 1)
    while len(chosen) < count:
        distance = np.minimum(distance, (candidates != candidates[chosen[-1]]).sum(1))
        chosen.append(int(distance.argmax()))
    found: list[list[int]] = candidates[chosen].tolist()
    return found


def tiles_of(images: Float[Tensor, "n c h w"], grid: int, gap: int) -> Float[Tensor, "n t c a b"]:
    """``grid`` x ``grid`` tiles, row by row, each a random crop ``gap`` pixels smaller than its cell, normalised by its
    own mean and deviation, so that edges and colours don't give the order away (arXiv 1603.09246, section 4.2)."""
    n, c, h, w = images.shape
    height, width = h // grid, w // grid
    cells = images[:, :, : grid * height, : grid * width].unflatten(3, (grid, width)).unflatten(2, (grid, height))
    cells = cells.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    top, left = torch.randint(gap + 1, (2, n, grid * grid)).to(images.device)
    rows = (top[:, :, None] + torch.arange(height - gap, device=images.device))[:, :, None, :, None]
    columns = (left[:, :, None] + torch.arange(width - gap, device=images.device))[:, :, None, None, :]
    crops = cells.gather(3, rows.expand(-1, -1, c, -1, width))
    crops = crops.gather(4, columns.expand(-1, -1, c, height - gap, -1))
    std, mean = torch.std_mean(crops, dim=(2, 3, 4), keepdim=True)
    # a flat tile has no deviation
    return (crops - mean) / (std + 1e-3)


class Jigsaw(Method):
    """Jigsaw: which permutation shuffled an image's tiles, each of which the encoder sees alone.

    Source: Noroozi & Favaro, ECCV 2016 (arXiv 1603.09246).
    """

    views = 1
    permutations: Int[Tensor, "count tiles"]

    def __init__(self, encoder: nn.Module, *, grid: int, permutations: int, gap: int, width: int) -> None:
        check.number("method.grid", grid, at_least=2, at_most=4, whole=True)
        most = min(CANDIDATES, math.factorial(grid**2))
        check.number("method.permutations", permutations, at_least=2, at_most=most, whole=True)
        check.number("method.gap", gap, at_least=0, whole=True)
        check.number("method.width", width, at_least=1, whole=True)
        super().__init__(encoder, projector=None)
        self.grid, self.gap = grid, gap
        self.register_buffer("permutations", torch.tensor(distant_permutations(grid * grid, permutations)))
        self.head = nn.Sequential(
            nn.Linear(grid * grid * encoder.features, width, bias=False),  # type: ignore[operator, arg-type]
            nn.BatchNorm1d(width),
            nn.ReLU(inplace=True),
            nn.Linear(width, permutations),
        )

    def forward(self, views: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
        tiles = tiles_of(views, self.grid, self.gap)
        truth = torch.randint(len(self.permutations), (len(views),)).to(views.device)
        order = self.permutations[truth][:, :, None, None, None]
        shuffled = tiles.gather(1, order.expand(-1, -1, *tiles.shape[2:]))
        h = self.encoder(shuffled.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        logits = self.head(h.unflatten(0, shuffled.shape[:2]).flatten(1))
        self.diagnostics = {"accuracy": (logits.argmax(1) == truth).float().mean()}
        return F.cross_entropy(logits, truth)
