"""The transforms of one kind of view, in their order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from jaxtyping import Float
from pydantic import JsonValue
from torch import Generator, Tensor

from src.augmentation import pixels
from src.augmentation.affine import MOST_SHRINKING, Geometry, draw_affine, resample
from src.augmentation.colour import Grayscale, Jitter, apply_colour, draw_colour, shift_hue
from src.augmentation.draws import taken, uniform
from src.runtime import check

GEOMETRY = ("crop", "scale", "rotate", "shear", "translate", "flip")
RANGES: dict[str, dict[str, tuple[float, float]]] = {  # a pair of values in PAIRS, else one
    "crop": {"area": (0.001, 1)},
    "scale": {"factor": (0.1, 10)},
    "rotate": {"radians": (0, math.pi)},
    "shear": {"radians": (0, 1)},
    "translate": {"fraction": (0, 1)},
    "flip": {"horizontal": (0, 1), "vertical": (0, 1)},
    "jitter": {"brightness": (0, 10), "contrast": (0, 10), "saturation": (0, 10), "hue": (0, 0.5)},
    "grayscale": {},
    "blur": {"sigma": (0, 0.2)},
    "solarize": {"threshold": (0, 1)},
    "posterize": {"bits": (1, 8)},
    "erase": {"area": (0, 1), "ratio": (0.01, 100)},
    "mask": {"grid": (1, 64), "share": (0, 1)},
    "noise": {"deviation": (0, 10)},
}
PAIRS = ("area", "factor", "sigma", "ratio")
WHOLE = ("bits", "grid")
HUE_SPACES = ("yiq", "hsv")
Settings = dict[str, Any]  # of one transform: its keys stand in RANGES, which _check holds them against
POWERS = {"crop": "area", "scale": "factor"}  # strength is their exponent
BY_PROBABILITY = ("grayscale", "solarize", "posterize")  # strength multiplies how often, not how much


class Recipe:
    """Makes one view of each image; settings as in conf/augmentation/identity.yaml. Raises ValueError on a bad one."""

    def __init__(
        self, where: str, *, strength: float, padding: str, size: float, transforms: dict[str, Settings]
    ) -> None:
        _check(where, transforms)
        self.padding = padding
        self.of = of = {name: _scaled(name, settings, strength) for name, settings in transforms.items()}
        if 1 / of["scale"]["factor"][0] > MOST_SHRINKING:
            raise ValueError(
                f"{where}.scale.factor must not shrink an image more than {MOST_SHRINKING} times, "
                f"got {transforms['scale']['factor'][0]} at strength {strength}"
            )
        widest = of["crop"]["area"][1] if of["crop"]["probability"] >= 1 else 1.0
        if widest**0.5 / size / of["scale"]["factor"][0] > MOST_SHRINKING:
            raise ValueError(
                f"{where}.size must not shrink a crop more than {MOST_SHRINKING} times, got {size} "
                f"for crops of up to {widest:g} of the image"
            )

    @property
    def turns(self) -> bool:
        """Whether a view may show an image turned or upside down."""
        rotate, flip = self.of["rotate"], self.of["flip"]
        return bool(rotate["radians"] * rotate["probability"] > 0 or flip["vertical"] > 0)

    def __call__(
        self, images: Float[Tensor, "n c h w"], generator: Generator, size: tuple[int, int]
    ) -> Float[Tensor, "n c a b"]:
        """In [0, 1] but for the noise, which comes last."""
        geometry = cast(Geometry, {name: self.of[name] for name in GEOMETRY})
        theta = draw_affine(len(images), **geometry, generator=generator)
        x = self._colour(resample(images, theta, size=size, padding=self.padding), generator)
        for name, transform in (
            ("blur", _blur),
            ("solarize", _solarize),
            ("posterize", _posterize),
            ("erase", _erase),
            ("mask", _mask),
            ("noise", _noise),
        ):
            settings = dict(self.of[name])
            probability = settings.pop("probability")
            if probability >= 1:
                x = transform(x, generator, **settings)
            elif probability > 0:
                rows = taken(generator, len(x), probability).nonzero()[:, 0]
                x[rows] = transform(x[rows], generator, **settings)
        return x

    def _colour(self, x: Tensor, generator: Generator) -> Tensor:
        jitter, grayscale = cast(Jitter, self.of["jitter"]), cast(Grayscale, self.of["grayscale"])
        matrix, pivot, turns = draw_colour(*x.shape[:2], jitter=jitter, grayscale=grayscale, generator=generator)
        x = apply_colour(x, matrix, pivot)
        if jitter["hue_space"] == "hsv" and x.shape[1] == 3:
            rows = turns.nonzero()[:, 0]
            x[rows] = shift_hue(x.index_select(0, rows.to(x.device)), turns[rows])
        return x


def merge(where: str, transforms: Mapping[str, JsonValue], changes: Mapping[str, JsonValue]) -> dict[str, Settings]:
    """Transforms with some settings changed. Raises ValueError where a change names what isn't there."""
    check.keyed("augmentation", transforms, list(RANGES))
    for name in changes:
        check.choice(f"a transform of {where}", name, list(RANGES))
    return {name: _group("augmentation", name, transforms) | _group(where, name, changes) for name in transforms}


def _group(where: str, name: str, transforms: Mapping[str, JsonValue]) -> Settings:
    own = transforms.get(name, {})
    if not isinstance(own, dict):
        raise ValueError(f"{where}.{name} must have keys of its own, got {own!r}")
    return own


def _check(where: str, transforms: dict[str, Settings]) -> None:
    for name, ranges in RANGES.items():
        own = {"flip": [], "jitter": ["probability", "hue_space"]}.get(name, ["probability"])
        check.keyed(f"{where}.{name}", transforms[name], [*own, *ranges])
        if name != "flip":
            check.number(f"{where}.{name}.probability", transforms[name]["probability"], at_least=0, at_most=1)
        for key, (low, high) in ranges.items():
            value, label = transforms[name][key], f"{where}.{name}.{key}"
            if key in PAIRS:
                check.interval(label, value, at_least=low, at_most=high)
            else:
                check.number(label, value, at_least=low, at_most=high, whole=key in WHOLE)
    check.choice(f"{where}.jitter.hue_space", transforms["jitter"]["hue_space"], HUE_SPACES)


def _scaled(name: str, settings: Settings, strength: float) -> Settings:
    def multiplied(*keys: str) -> Settings:
        most = {key: RANGES[name].get(key, (0, 1))[1] for key in keys}
        return {
            key: [min(bound * strength, most[key]) for bound in settings[key]]
            if key in PAIRS
            else min(strength * settings[key], most[key])
            for key in keys
        }

    if name in POWERS:
        return settings | {POWERS[name]: [float(bound**strength) for bound in settings[POWERS[name]]]}
    if name in BY_PROBABILITY:
        return settings | multiplied("probability")
    fixed = ("ratio", "grid")
    return settings | multiplied(*(key for key in RANGES[name] if key not in fixed))


def _blur(x: Tensor, generator: Generator, *, sigma: list[float]) -> Tensor:
    side = min(x.shape[2:])
    reach = min(side - 1, math.ceil(3 * sigma[1] * side))
    return pixels.gaussian_blur(x, side * uniform(generator, len(x), *sigma), reach)


def _solarize(x: Tensor, generator: Generator, *, threshold: float) -> Tensor:
    return pixels.solarize(x, threshold)


def _posterize(x: Tensor, generator: Generator, *, bits: int) -> Tensor:
    return pixels.posterize(x, bits)


def _erase(x: Tensor, generator: Generator, *, area: list[float], ratio: list[float]) -> Tensor:
    return pixels.erase(x, pixels.draw_boxes(len(x), *x.shape[2:], area=area, ratio=ratio, generator=generator))


def _mask(x: Tensor, generator: Generator, *, grid: int, share: float) -> Tensor:
    return pixels.mask_patches(x, pixels.draw_hidden(len(x), grid=grid, share=share, generator=generator))


def _noise(x: Tensor, generator: Generator, *, deviation: float) -> Tensor:
    if deviation == 0:
        return x
    return x.add_(torch.randn(x.shape, generator=generator).to(x.device), alpha=deviation)
