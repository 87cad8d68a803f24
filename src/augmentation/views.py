from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Generator, Tensor

from src import check
from src.augmentation.affine import MOST_SHRINKING, draw_affine, resample
from src.augmentation.colour import apply_colour, draw_colour


class Augmentation:
    """A recipe of random views, made for a whole batch at once, each image with its own parameters.

    Geometry is one affine map and one resampling, colour one affine map, then noise. ``strength`` scales every range
    of the recipe, crop and scale as exponents: 0 leaves the images as they are, 1 is the recipe as written.
    """

    def __init__(
        self,
        *,
        strength: float,
        crop: float,
        scale: Sequence[float],
        rotate: float,
        translate: float,
        flip: float,
        brightness: float,
        contrast: float,
        saturation: float,
        grayscale: float,
        noise: float,
        padding: str,
        local: dict[str, Any],
    ) -> None:
        check.number("augmentation.strength", strength, at_least=0)
        check.number("augmentation.crop", crop, above=0, at_most=1)
        check.interval("augmentation.scale", scale, at_least=0.1, at_most=10)
        check.number("augmentation.rotate", rotate, at_least=0, at_most=torch.pi)
        check.number("augmentation.translate", translate, at_least=0, at_most=1)
        check.number("augmentation.brightness", brightness, at_least=0)
        check.number("augmentation.contrast", contrast, at_least=0)
        check.number("augmentation.saturation", saturation, at_least=0)
        check.number("augmentation.noise", noise, at_least=0)
        for name, probability in (("flip", flip), ("grayscale", grayscale)):
            check.number(f"augmentation.{name}", probability, at_least=0, at_most=1)
        check.choice("augmentation.padding", padding, ("zeros", "border", "reflection"))
        check.interval("augmentation.local.crop", local["crop"], at_least=0.01, at_most=1)
        check.number("augmentation.local.size", local["size"], above=0, at_most=1)
        self.crop = (float(crop**strength), 1.0)
        self.local_crop = tuple(float(bound**strength) for bound in local["crop"])
        self.local_size = float(local["size"])
        self.scale = [float(bound**strength) for bound in scale]
        if 1 / self.scale[0] > MOST_SHRINKING:
            raise ValueError(
                f"augmentation.scale must not shrink an image more than {MOST_SHRINKING} times, "
                f"got {scale[0]} at strength {strength}"
            )
        if self.local_crop[1] ** 0.5 / self.local_size / self.scale[0] > MOST_SHRINKING:
            raise ValueError(
                f"augmentation.local.size must not shrink a crop more than {MOST_SHRINKING} times, got {local['size']} "
                f"for crops of up to {self.local_crop[1]:g} of the image"
            )
        self.rotate, self.translate = strength * rotate, strength * translate
        self.flip, self.grayscale = min(1.0, strength * flip), min(1.0, strength * grayscale)
        self.brightness, self.contrast = strength * brightness, strength * contrast
        self.saturation, self.noise = strength * saturation, strength * noise
        self.padding = padding

    def __call__(
        self, images: UInt8[Tensor, "n c h w"], generator: Generator, *, views: int
    ) -> Float[Tensor, "views c h w"]:
        """``views`` views of every image, the first view of all images first, in [0, 1] but for the noise."""
        return self._views(images, generator, views, self.crop, (images.shape[2], images.shape[3]))

    def local(
        self, images: UInt8[Tensor, "n c h w"], generator: Generator, *, views: int
    ) -> Float[Tensor, "views c a b"]:
        """The same of smaller parts at a smaller size, the local views of multi-crop (SwAV, arXiv 2006.09882)."""
        return self._views(images, generator, views, self.local_crop, self.local_shape(*images.shape[2:]))

    def local_shape(self, height: int, width: int) -> tuple[int, int]:
        """The size of local views of images of this size, in pixels."""
        return max(1, round(height * self.local_size)), max(1, round(width * self.local_size))

    def _views(
        self, images: Tensor, generator: Generator, views: int, crop: Sequence[float], size: tuple[int, int]
    ) -> Tensor:
        x = images.float().div_(255).repeat(views, 1, 1, 1)
        theta = draw_affine(
            len(x),
            crop=crop,
            scale=self.scale,
            rotate=self.rotate,
            translate=self.translate,
            flip=self.flip,
            generator=generator,
        )
        x = resample(x, theta, size=size, padding=self.padding)
        matrix, offset = draw_colour(
            x.mean((2, 3)).cpu(),
            brightness=self.brightness,
            contrast=self.contrast,
            saturation=self.saturation,
            grayscale=self.grayscale,
            generator=generator,
        )
        x = apply_colour(x, matrix, offset)
        if self.noise > 0:
            x.add_(torch.randn(x.shape, generator=generator).to(x.device), alpha=self.noise)
        return x
