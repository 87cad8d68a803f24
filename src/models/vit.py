from __future__ import annotations

from jaxtyping import Float, Int
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from src.runtime import check

ACTIVATIONS = ("gelu", "relu", "silu")


class ViT(VisionTransformer):
    """A vision transformer whose patch fits small images: images (n, channels, height, width) -> h (n, width).

    h is the mean of the last layer's normalised tokens, there is no class token. Images of another size than it was
    made for are embedded at interpolated positions. Source: Dosovitskiy et al., ICLR 2021 (arXiv 2010.11929), by timm.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        activation: str,
        dropout: float,
        drop_path: float,
    ) -> None:
        check.number("model.patch", patch, at_least=1, whole=True)
        check.number("model.width", width, at_least=1, whole=True)
        check.number("model.depth", depth, at_least=1, whole=True)
        check.number("model.heads", heads, at_least=1, whole=True)
        check.number("model.mlp_ratio", mlp_ratio, above=0)
        check.choice("model.activation", activation, ACTIVATIONS)
        check.number("model.dropout", dropout, at_least=0, below=1)
        check.number("model.drop_path", drop_path, at_least=0, below=1)
        channels, height, width_in_pixels = shape
        if height % patch or width_in_pixels % patch:
            raise ValueError(f"model.patch must divide the images' {height} x {width_in_pixels} pixels, got {patch}")
        if width % heads:
            raise ValueError(f"model.width must be a multiple of model.heads={heads}, got {width}")
        super().__init__(
            img_size=(height, width_in_pixels),
            patch_size=patch,
            in_chans=channels,
            num_classes=0,
            global_pool="avg",
            class_token=False,
            # normalised before pooling, so that methods that mask get normalised tokens
            fc_norm=False,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            mlp_ratio=mlp_ratio,
            act_layer=activation,
            proj_drop_rate=dropout,
            attn_drop_rate=dropout,
            drop_path_rate=drop_path,
            # multi-crop's local views are smaller and needn't be a multiple of the patch
            dynamic_img_size=True,
            dynamic_img_pad=True,
        )
        self.features = width
        self.grid = (height // patch, width_in_pixels // patch)
        self.patch = patch

    def tokens(
        self, images: Float[Tensor, "n c h w"], kept: Int[Tensor, "n k"] | None = None
    ) -> Float[Tensor, "n t d"]:
        """The last layer's tokens, row by row, of all patches or of those with the indices ``kept`` alone."""
        x = self._pos_embed(self.patch_embed(images))
        if kept is not None:
            x = x.gather(1, kept[:, :, None].expand(-1, -1, x.shape[2]))
        return self.norm(self.blocks(x))

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:  # type: ignore[override]
        return self.tokens(images).mean(1)
