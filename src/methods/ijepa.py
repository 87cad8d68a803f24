from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from src.methods.masked import TokenTransformer, check_tokens
from src.methods.method import Method
from src.methods.teacher import follow, rising, teacher_of
from src.runtime import check


def block_size(grid: tuple[int, int], scale: Sequence[float], ratio: Sequence[float]) -> tuple[int, int]:
    """Rows and columns of a block of a random share of the grid and a random aspect ratio, by the global generator."""
    share, shape = torch.rand(2, device="cpu").tolist()
    area = (scale[0] + share * (scale[1] - scale[0])) * grid[0] * grid[1]
    aspect = ratio[0] + shape * (ratio[1] - ratio[0])
    rows, columns = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    return min(max(rows, 1), grid[0]), min(max(columns, 1), grid[1])


def placed_blocks(n: int, grid: tuple[int, int], size: tuple[int, int]) -> Int[Tensor, "n k"]:
    """The tokens of one block of that size at a random place of each of ``n`` grids."""
    top = torch.randint(grid[0] - size[0] + 1, (n, 1, 1), device="cpu")
    left = torch.randint(grid[1] - size[1] + 1, (n, 1, 1), device="cpu")
    rows, columns = torch.arange(size[0], device="cpu")[:, None], torch.arange(size[1], device="cpu")
    return ((top + rows) * grid[1] + left + columns).flatten(1)


def without(context: Int[Tensor, "n k"], targets: list[Int[Tensor, "n m"]], tokens: int) -> Int[Tensor, "n c"]:
    """What the context has beside the targets, cut to the fewest that any image has left, at least one."""
    free = torch.zeros(len(context), tokens, dtype=torch.bool, device="cpu").scatter_(1, context, True)
    for target in targets:
        free.scatter_(1, target, False)
    lost = ~free.any(1)
    # where targets cover the whole context, one token stays
    free[lost, context[lost, 0]] = True
    # stable: free tokens first, in their order
    order = free.to(torch.int8).argsort(dim=1, descending=True, stable=True)
    return order[:, : int(free.sum(1).min())]


class IJEPA(Method):
    """I-JEPA: from a context block, predict what a slowly following encoder makes of other blocks of the image.

    Targets are that encoder's normalised tokens of the whole image; the distance is the smooth L1 of the authors' code.
    The size of blocks is drawn for each batch, their place for each image. Source: Assran et al., CVPR 2023
    (arXiv 2301.08243), section 3.
    """

    views = 1

    def __init__(
        self,
        encoder: nn.Module,
        *,
        targets: int,
        target_scale: Sequence[float],
        target_ratio: Sequence[float],
        context_scale: Sequence[float],
        width: int,
        depth: int,
        heads: int,
        momentum: float,
    ) -> None:
        check.number("method.targets", targets, at_least=1, whole=True)
        check.interval("method.target_scale", target_scale, at_least=0.01, at_most=0.9)
        check.interval("method.target_ratio", target_ratio, at_least=0.1, at_most=10)
        check.interval("method.context_scale", context_scale, at_least=0.1, at_most=1)
        check.number("method.width", width, at_least=1, whole=True)
        check.number("method.depth", depth, at_least=1, whole=True)
        check.number("method.heads", heads, at_least=1, whole=True)
        check.number("method.momentum", momentum, at_least=0, at_most=1)
        vit = check_tokens(encoder, "ijepa")
        super().__init__(encoder, projector=None)
        self.teacher = teacher_of(encoder)
        self.predictor = TokenTransformer(
            vit.grid[0] * vit.grid[1],
            features_in=vit.features,
            width=width,
            depth=depth,
            heads=heads,
            features_out=vit.features,
        )
        self.targets, self.momentum = targets, momentum
        self.target_scale, self.target_ratio, self.context_scale = target_scale, target_ratio, context_scale

    def blocks(self, n: int) -> tuple[Int[Tensor, "n c"], list[Int[Tensor, "n m"]]]:
        """The context's tokens and those of each target."""
        grid = check_tokens(self.encoder, "ijepa").grid
        size = block_size(grid, self.target_scale, self.target_ratio)
        targets = [placed_blocks(n, grid, size) for _ in range(self.targets)]
        # square, as in the paper
        context = placed_blocks(n, grid, block_size(grid, self.context_scale, (1, 1)))
        return without(context, targets, grid[0] * grid[1]), targets

    def forward(self, views: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
        context, targets = self.blocks(len(views))
        context, targets = context.to(views.device), [target.to(views.device) for target in targets]
        with torch.no_grad():
            whole = check_tokens(self.teacher[0], "ijepa").tokens(views)
            whole = F.layer_norm(whole, whole.shape[-1:])
            self.diagnostics = {"target_spread": whole.mean(1).std(0).mean()}
        known = check_tokens(self.encoder, "ijepa").tokens(views, context)
        losses = [
            F.smooth_l1_loss(
                self.predictor(known, context, target),
                whole.gather(1, target[:, :, None].expand(-1, -1, whole.shape[2])),
            )
            for target in targets
        ]
        return torch.stack(losses).mean()

    def after_step(self, progress: float) -> None:
        follow(self.teacher, self.encoder, momentum=rising(self.momentum, progress))
