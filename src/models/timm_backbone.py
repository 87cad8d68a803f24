from __future__ import annotations

import difflib
from typing import Any

import timm
from jaxtyping import Float
from torch import Tensor, nn

FROM_FILES = ("pretrained", "checkpoint_path", "cache_dir")  # beginnings of arguments that would load or fetch weights


class TimmBackbone(nn.Module):
    """Any backbone of timm by its name, pooled and without its classifier: images (n, c, height, width) -> h (n, d).

    ``arguments`` are the architecture's own hyperparameters, such as depths, dims, drop_path_rate or patch_size.
    Weights are random: nothing is downloaded or read from files. Raises ValueError on a name that timm doesn't have,
    and on arguments that the architecture or the images' size don't allow.
    """

    def __init__(self, shape: tuple[int, int, int], *, architecture: str, arguments: dict[str, Any]) -> None:
        known = timm.list_models()
        if architecture not in known:
            near = ", ".join(difflib.get_close_matches(str(architecture), known, n=5, cutoff=0.0))
            raise ValueError(f"model.architecture must be a name of timm, such as {near}, got {architecture!r}")
        loading = [key for key in arguments if key.startswith(FROM_FILES)]
        if loading:
            raise ValueError(f"model.arguments.{loading[0]} isn't taken: start.weights begins from a file of weights")
        super().__init__()
        what = {"pretrained": False, "num_classes": 0, "in_chans": shape[0], **arguments}
        try:
            try:  # what has positions needs the images' size, and nothing else takes it
                self.backbone = timm.create_model(architecture, **{"img_size": shape[1:], **what})
            except TypeError:
                self.backbone = timm.create_model(architecture, **what)
        except (TypeError, AssertionError, RuntimeError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(f"model.architecture={architecture} with model.arguments={arguments}: {reason}") from error
        self.features: int = self.backbone.head_hidden_size  # type: ignore[assignment]

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        return self.backbone(images)
