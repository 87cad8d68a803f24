from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from src.methods.masked import TokenTransformer, check_tokens
from src.methods.method import Method
from src.runtime import check


def patches_of(images: Float[Tensor, "n c h w"], size: int) -> Float[Tensor, "n t p"]:
    """The pixels of each patch, row by row."""
    return F.unfold(images, kernel_size=size, stride=size).transpose(1, 2)


def standardised(patches: Float[Tensor, "n t p"]) -> Float[Tensor, "n t p"]:
    """Each patch by its own mean and deviation, the target of MAE's best variant on photographs (section 4.1)."""
    var, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    # 1e-6 as in the authors' code: a flat patch has no deviation
    return (patches - mean) / (var + 1e-6).sqrt()


def random_split(n: int, tokens: int, masked: int) -> tuple[Int[Tensor, "n k"], Int[Tensor, "n m"]]:
    """Which tokens of each image are kept and which are masked, by torch's global generator, on the CPU."""
    order = torch.rand(n, tokens, device="cpu").argsort(dim=1)
    return order[:, masked:], order[:, :masked]


class MAE(Method):
    """Masked autoencoder: a small decoder predicts the pixels of masked patches from the encoded visible ones.

    The loss is the mean squared error on masked patches alone. Source: He et al., CVPR 2022 (arXiv 2111.06377).
    """

    views = 1

    def __init__(
        self, encoder: nn.Module, *, masked: float, standardise: bool, width: int, depth: int, heads: int
    ) -> None:
        check.number("method.masked", masked, above=0, below=1)
        check.flag("method.standardise", standardise)
        check.number("method.width", width, at_least=1, whole=True)
        check.number("method.depth", depth, at_least=1, whole=True)
        check.number("method.heads", heads, at_least=1, whole=True)
        vit = check_tokens(encoder, "mae")
        super().__init__(encoder, projector=None)
        self.standardise = standardise
        self.tokens = vit.grid[0] * vit.grid[1]
        # at least one token is masked and one is left
        self.masked = min(self.tokens - 1, max(1, round(masked * self.tokens)))
        channels: int = encoder.patch_embed.proj.in_channels  # type: ignore[union-attr, assignment]
        self.decoder = TokenTransformer(
            self.tokens,
            features_in=vit.features,
            width=width,
            depth=depth,
            heads=heads,
            features_out=channels * vit.patch**2,
        )

    def forward(self, views: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
        vit = check_tokens(self.encoder, "mae")
        kept, masked = (x.to(views.device) for x in random_split(len(views), self.tokens, self.masked))
        predicted = self.decoder(vit.tokens(views, kept), kept, masked)
        truth = patches_of(views, vit.patch)
        if self.standardise:
            truth = standardised(truth)
        truth = truth.gather(1, masked[:, :, None].expand(-1, -1, truth.shape[2]))
        return F.mse_loss(predicted, truth)
