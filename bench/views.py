"""Views against torchvision's v2 transforms: how far apart, and how long each takes.

    python -m bench.views

Every transform is applied to the same random images (smoothed noise of full range) with the same drawn parameters, by
ours to the batch, by torchvision image by image. ``mean`` and ``largest`` are absolute differences of values in [0, 1].
In the chain of SimCLR's colours torchvision clamps after every step, ours once before hue: that is what is shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from bench.train import CONF
from src.augmentation.affine import draw_affine, resample
from src.augmentation.colour import apply_colour, draw_colour, shift_hue, turn_yiq
from src.augmentation.pixels import draw_boxes, erase, gaussian_blur, posterize, solarize
from src.augmentation.views import Augmentation
from src.runtime.rng import generator

N, SIDE, ROUNDS = 512, 32, 15
RECIPES = ("identity", "weak", "simclr", "byol", "digits", "shapes")


def settings_of(recipe: str, *overrides: str) -> dict[str, Any]:
    with initialize_config_dir(CONF, version_base="1.3"):
        config = compose("train", [f"augmentation={recipe}", *overrides]).augmentation
    plain: Any = OmegaConf.to_container(config, resolve=True)
    return {key: value for key, value in plain.items() if key not in ("name", "_target_")}


def photographs() -> Tensor:
    x = tv.gaussian_blur(torch.rand(N, 3, SIDE, SIDE, generator=generator(0, "bench")), [9, 9], [2.0, 2.0])
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    return (x - low) / (high - low)


def pairs(x: Tensor) -> dict[str, tuple[Tensor, list[Tensor]]]:
    """Transform -> ours, and torchvision's image by image."""
    still = settings_of("identity")

    def moved(name: str, **settings: Any) -> Tensor:
        geometry = {part: still[part] for part in ("crop", "scale", "rotate", "shear", "translate", "flip")}
        geometry[name] = geometry[name] | settings
        return draw_affine(N, **geometry, generator=generator(0, name))

    def affine(theta: Tensor, parameters: Callable[[Tensor], dict[str, Any]]) -> tuple[Tensor, list[Tensor]]:
        plain: dict[str, Any] = {"angle": 0.0, "translate": [0.0, 0.0], "scale": 1.0, "shear": [0.0, 0.0]}
        mode = v2.InterpolationMode.BILINEAR
        theirs = [tv.affine(a, **(plain | parameters(t)), interpolation=mode) for a, t in zip(x, theta, strict=True)]
        return resample(x, theta, size=(SIDE, SIDE), padding="zeros"), theirs

    def degrees(y: Tensor, over: Tensor) -> float:
        return float(torch.rad2deg(torch.atan2(y, over)))

    def jittered(name: str, function: Callable[[Tensor, float], Tensor]) -> tuple[Tensor, list[Tensor]]:
        matrix, pivot, _ = draw_colour(
            N, 3, jitter=still["jitter"] | {name: 0.4}, grayscale=still["grayscale"], generator=generator(0, name)
        )
        factors = 1 + 0.4 * (2 * torch.rand(3 * N, generator=generator(0, name)) - 1)
        own = factors.view(3, N)[("brightness", "contrast", "saturation").index(name)]
        return apply_colour(x, matrix, pivot), [function(a, float(f)) for a, f in zip(x, own, strict=True)]

    turns = torch.rand(N, generator=generator(0, "hue")) * 0.2 - 0.1
    sigma = torch.rand(N, generator=generator(0, "blur")) * 1.9 + 0.1
    boxes = draw_boxes(N, SIDE, SIDE, area=[0.02, 0.33], ratio=[0.3, 3.3], generator=generator(0, "erase"))
    yiq = torch.einsum("ncd,ndhw->nchw", turn_yiq(turns), x).clamp(0, 1)
    hues = [tv.adjust_hue(a, float(t)) for a, t in zip(x, turns, strict=True)]
    return {
        "rotate": affine(moved("rotate", radians=0.5), lambda t: {"angle": -degrees(t[1, 0], t[1, 1])}),
        "shear": affine(moved("shear", radians=0.4), lambda t: {"shear": [degrees(t[0, 1], t[0, 0]), 0.0]}),
        "translate": affine(
            moved("translate", fraction=0.15), lambda t: {"translate": [float(v) for v in -SIDE / 2 * t[:, 2]]}
        ),
        "enlarge": affine(moved("scale", factor=[1.0, 1.4]), lambda t: {"scale": 1 / float(t[0, 0])}),
        "shrink (ours prefilters)": affine(moved("scale", factor=[0.7, 1.0]), lambda t: {"scale": 1 / float(t[0, 0])}),
        "brightness": jittered("brightness", tv.adjust_brightness),
        "contrast": jittered("contrast", tv.adjust_contrast),
        "saturation": jittered("saturation", tv.adjust_saturation),
        "hue, hsv": (shift_hue(x, turns), hues),
        "hue, yiq": (yiq, hues),
        "blur": (
            gaussian_blur(x, sigma, 6),
            [tv.gaussian_blur(a, [13, 13], [float(s)] * 2) for a, s in zip(x, sigma, strict=True)],
        ),
        "solarize": (solarize(x, 0.5), [tv.solarize(a, 0.5) for a in x]),
        "posterize": (posterize(x, 4), [tv.posterize(a, 4) for a in x]),
        "erase": (
            erase(x, boxes),
            [tv.erase(a, *box, a.mean((1, 2), keepdim=True)) for a, box in zip(x, boxes.tolist(), strict=True)],
        ),
        "chain of SimCLR's colours": _chain(x, turns),
    }


def _chain(x: Tensor, turns: Tensor) -> tuple[Tensor, list[Tensor]]:
    jitter = settings_of("simclr")["jitter"] | {"probability": 1.0, "hue": 0.0}
    draw = generator(0, "chain")
    matrix, pivot, _ = draw_colour(N, 3, jitter=jitter, grayscale={"probability": 0.0}, generator=draw)
    factors = 1 + 0.4 * (2 * torch.rand(3, N, generator=generator(0, "chain")) - 1)
    functions = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation)
    theirs = []
    for i, image in enumerate(x):
        for function, factor in zip(functions, factors[:, i].tolist(), strict=True):
            image = function(image, factor)
        theirs.append(tv.adjust_hue(image, float(turns[i])))
    return shift_hue(apply_colour(x, matrix, pivot), turns), theirs


def torchvisions() -> Callable[[Tensor], Tensor]:
    """SimCLR's views as torchvision's documentation composes them, on one uint8 image."""
    return v2.Compose(
        [
            v2.ToDtype(torch.float32, scale=True),
            v2.RandomResizedCrop(SIDE, scale=(0.08, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            v2.RandomGrayscale(0.2),
        ]
    )


def main() -> None:
    torch.set_num_threads(1)
    x = photographs()
    print(f"{'the same parameters':<28} {'mean':>9} {'largest':>9}")
    for name, (ours, theirs) in pairs(x).items():
        apart = (ours - torch.stack(theirs)).abs()
        print(f"{name:<28} {float(apart.mean()):9.1e} {float(apart.max()):9.1e}")
    images = (x * 255).to(torch.uint8)
    made: dict[str, Callable[[int], Any]] = {}
    for name in RECIPES:
        made[name] = _batch(Augmentation(**settings_of(name)), images)
    made["simclr, hue yiq"] = _batch(Augmentation(**settings_of("simclr", "augmentation.jitter.hue_space=yiq")), images)
    transform = torchvisions()
    made["simclr, torchvision"] = lambda _: [transform(image) for image in images]
    times: dict[str, list[float]] = {name: [] for name in made}
    for i in range(ROUNDS):
        for name, make in made.items():
            started = time.perf_counter()
            make(i)
            times[name].append(time.perf_counter() - started)
    print(f"\n{N} views of 3 x {SIDE} x {SIDE}, one thread, torch {torch.__version__}: ms, median (fastest)")
    for name, values in times.items():
        print(f"{name:<28} {1e3 * sorted(values)[ROUNDS // 2]:9.1f} ({1e3 * min(values):.1f})")


def _batch(augmentation: Augmentation, images: Tensor) -> Callable[[int], Any]:
    return lambda i: augmentation(images, generator(0, "bench", i), views=1)


if __name__ == "__main__":
    main()
