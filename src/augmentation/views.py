from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from pydantic import JsonValue
from torch import Generator, Tensor

from src.augmentation.recipe import Recipe, merge
from src.runtime import check

PADDINGS = ("zeros", "border", "reflection")


class Augmentation:
    """Random views of whole batches on the batch's device, each image with its own parameters.

    ``transforms`` are those of conf/augmentation/identity.yaml; ``second`` changes some of their settings for every
    second view, ``local`` for the smaller views of multi-crop, whose side is ``local.size`` of the image's.
    ``strength`` scales a whole recipe: 0 leaves the images as they are, 1 is the recipe as written.
    """

    def __init__(
        self,
        *,
        strength: float,
        padding: str,
        second: dict[str, JsonValue],
        local: dict[str, JsonValue],
        **transforms: JsonValue,
    ) -> None:
        check.number("augmentation.strength", strength, at_least=0)
        check.choice("augmentation.padding", padding, PADDINGS)
        for name, changes in (("second", second), ("local", local)):
            if not isinstance(changes, dict):
                raise ValueError(f"augmentation.{name} must name transforms, got {changes!r}")
        if "size" not in local:
            raise ValueError("augmentation.local.size is missing")
        size = local["size"]
        check.number("augmentation.local.size", size, above=0, at_most=1)
        assert isinstance(size, int | float)
        self.local_size = float(size)

        def recipe(part: str, size: float, changes: dict[str, JsonValue]) -> Recipe:
            where = f"augmentation{part}"
            changed = merge(where, transforms, changes)
            return Recipe(where, strength=strength, padding=padding, size=size, transforms=changed)

        self.first = recipe("", 1.0, {})
        self.second = recipe(".second", 1.0, second) if second else self.first
        smaller = {name: changes for name, changes in local.items() if name != "size"}
        self.smaller = recipe(".local", self.local_size, smaller)

    @property
    def turns(self) -> bool:
        """Whether a view may show an image turned or upside down."""
        return any(recipe.turns for recipe in (self.first, self.second))

    def __call__(
        self, images: UInt8[Tensor, "n c h w"], generator: Generator, *, views: int
    ) -> Float[Tensor, "views c h w"]:
        """``views`` views of every image, the first view of all images first, in [0, 1] but for the noise."""
        x, size = images.float().div_(255), (images.shape[2], images.shape[3])
        if self.second is self.first:
            return self.first(x.repeat(views, 1, 1, 1), generator, size)
        return torch.cat([(self.first, self.second)[view % 2](x, generator, size) for view in range(views)])

    def local(
        self, images: UInt8[Tensor, "n c h w"], generator: Generator, *, views: int
    ) -> Float[Tensor, "views c a b"]:
        """The same of smaller parts at a smaller size, the local views of multi-crop (SwAV, arXiv 2006.09882)."""
        x = images.float().div_(255).repeat(views, 1, 1, 1)
        return self.smaller(x, generator, self.local_shape(*images.shape[2:]))

    def local_shape(self, height: int, width: int) -> tuple[int, int]:
        """The size of local views of images of this size, in pixels."""
        return max(1, round(height * self.local_size)), max(1, round(width * self.local_size))
