from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from src.augmentation.affine import draw_affine, prefilter, resample, sampling_grid
from src.augmentation.colour import apply_colour, draw_colour, shift_hue, turn_yiq
from src.augmentation.draws import taken
from src.augmentation.pixels import (
    draw_boxes,
    draw_hidden,
    erase,
    gaussian_blur,
    mask_patches,
    posterize,
    solarize,
)
from src.augmentation.views import Augmentation
from src.runtime.rng import generator
from tests.composed import settings_of
from tests.project import ROOT

RECIPES = sorted(path.stem for path in (ROOT / "conf" / "augmentation").glob("*.yaml"))
BILINEAR = tv.InterpolationMode.BILINEAR


@cache
def composed(name: str) -> dict[str, Any]:
    settings = settings_of(f"augmentation={name}").augmentation
    return {key: value for key, value in settings.items() if key not in ("name", "_target_")}


def changed(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return settings | {key: {**settings[key], **new} if isinstance(new, dict) else new for key, new in changes.items()}


def recipe(name: str = "identity", **changes: Any) -> Augmentation:
    """A recipe with some settings changed: rotate={"radians": 1.0}, strength=0.5."""
    return Augmentation(**changed(composed(name), changes))


def images(n: int = 6, c: int = 3, size: int = 16) -> Tensor:
    return torch.randint(0, 256, (n, c, size, size), dtype=torch.uint8, generator=generator(0, "images"))


def smooth(n: int = 6, size: int = 33) -> Tensor:
    """Images without fine detail, whose resampling doesn't depend on float rounding."""
    return tv.gaussian_blur(images(n, size=size) / 255, [9, 9], [2.0, 2.0])


def geometry(n: int, **changes: Any) -> Tensor:
    settings = changed(composed("identity"), changes)
    names = ("crop", "scale", "rotate", "shear", "translate", "flip")
    return draw_affine(n, **{name: settings[name] for name in names}, generator=generator(0, "affine"))


def colour(n: int, channels: int = 3, **changes: Any) -> tuple[Tensor, Tensor, Tensor]:
    settings = changed(composed("identity"), changes)
    return draw_colour(
        n, channels, jitter=settings["jitter"], grayscale=settings["grayscale"], generator=generator(0, "colour")
    )


@pytest.mark.parametrize("name", RECIPES)
def test_strength_zero_leaves_images_alone(name: str) -> None:
    x = images()
    out = recipe(name, strength=0.0)(x, generator(0, "views"), views=2)
    assert torch.allclose(out, x.repeat(2, 1, 1, 1) / 255, atol=1e-5)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_recipe_gives_other_views_of_colour_and_of_gray_images_in_range(name: str, channels: int) -> None:
    x = images(c=channels, size=24)
    made = recipe(name)
    for out in (made(x, generator(0, "views"), views=3), made.local(x, generator(0, "views"), views=2)):
        assert bool(out.isfinite().all())
        if composed(name)["noise"]["deviation"] == 0:
            assert float(out.min()) >= -1e-5 and float(out.max()) <= 1 + 1e-5
    assert made(x, generator(0, "views"), views=3).shape == (18, channels, 24, 24)


def test_the_same_generator_gives_the_same_views_and_another_gives_others() -> None:
    made = recipe("byol", noise={"deviation": 0.1}, erase={"probability": 0.5}, mask={"probability": 0.5})
    a, b, c = (made(images(), generator(0, "views", step), views=2) for step in (1, 1, 2))
    assert torch.equal(a, b) and not torch.allclose(a, c, atol=0.05)


def test_each_image_and_each_view_has_its_own_parameters() -> None:
    x = images(n=1).repeat(4, 1, 1, 1)
    out = recipe(rotate={"radians": 1.0})(x, generator(0, "views"), views=2)
    assert all(not torch.allclose(out[i], out[j], atol=0.01) for i in range(8) for j in range(i))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("crop", {"area": [0.1, 0.5]}),
        ("scale", {"factor": [1.5, 2.0]}),
        ("rotate", {"radians": 1.0}),
        ("shear", {"radians": 1.0}),
        ("translate", {"fraction": 0.5}),
        ("jitter", {"contrast": 0.9}),
        ("blur", {"sigma": [0.1, 0.1]}),
        ("posterize", {"bits": 1}),
        ("solarize", {}),
        ("erase", {}),
        ("mask", {}),
        ("noise", {"deviation": 0.2}),
    ],
)
def test_a_transform_takes_the_stated_share_of_images(name: str, settings: dict[str, Any]) -> None:
    x = images(n=4000, c=1, size=8)
    change: dict[str, Any] = {name: {**settings, "probability": 0.3}}
    out = recipe(**change)(x, generator(0, "share"), views=1)
    touched = (out - x / 255).abs().amax((1, 2, 3)) > 1e-4
    assert float(touched.float().mean()) == pytest.approx(0.3, abs=0.03)
    assert not bool(taken(generator(0, "never"), 1000, 0.0).any())


# geometry: torchvision's affine takes what draw_affine drew, image by image; ours maps from output to input


def affine_of_torchvision(x: Tensor, **parameters: Any) -> Tensor:
    still: dict[str, Any] = {"angle": 0.0, "translate": [0.0, 0.0], "scale": 1.0, "shear": [0.0, 0.0]}
    return tv.affine(x, **(still | parameters), interpolation=BILINEAR)


def test_rotation_is_torchvisions() -> None:
    x = smooth()
    theta = geometry(len(x), rotate={"radians": 1.5})
    ours = resample(x, theta, size=(33, 33), padding="zeros")
    for i in range(len(x)):
        angle = math.degrees(math.atan2(theta[i, 1, 0], theta[i, 1, 1]))
        assert torch.allclose(ours[i], affine_of_torchvision(x[i], angle=-angle), atol=1e-3)


def test_shear_is_torchvisions() -> None:
    x = smooth()
    theta = geometry(len(x), shear={"radians": 0.8})
    ours = resample(x, theta, size=(33, 33), padding="zeros")
    for i in range(len(x)):
        angle = math.degrees(math.atan(theta[i, 0, 1]))
        assert torch.allclose(ours[i], affine_of_torchvision(x[i], shear=[angle, 0.0]), atol=1e-3)


def test_enlarging_is_torchvisions() -> None:
    x = smooth()
    theta = geometry(len(x), scale={"factor": [1.0, 2.5]})
    ours = resample(x, theta, size=(33, 33), padding="zeros")
    for i in range(len(x)):
        assert torch.allclose(ours[i], affine_of_torchvision(x[i], scale=1 / float(theta[i, 0, 0])), atol=1e-3)


def test_translation_is_torchvisions() -> None:
    x = smooth()
    theta = geometry(len(x), translate={"fraction": 0.3})
    ours = resample(x, theta, size=(33, 33), padding="zeros")
    for i in range(len(x)):
        shift = [-33 / 2 * float(value) for value in theta[i, :, 2]]
        assert torch.allclose(ours[i], affine_of_torchvision(x[i], translate=shift), atol=1e-3)


def test_flips_are_torchvisions() -> None:
    x = images() / 255
    for flip, expected in (("horizontal", tv.horizontal_flip(x)), ("vertical", tv.vertical_flip(x))):
        theta = geometry(len(x), flip={flip: 1.0})
        assert torch.allclose(resample(x, theta, size=(16, 16), padding="zeros"), expected, atol=1e-5)


def test_a_crop_is_torchvisions() -> None:
    x = smooth(size=32)
    for top, left, height, width in ((3, 5, 20, 16), (0, 0, 32, 24), (12, 16, 20, 16)):
        row = [[width / 32, 0.0, (2 * left + width) / 32 - 1], [0.0, height / 32, (2 * top + height) / 32 - 1]]
        ours = resample(x, torch.tensor(row)[None].expand(len(x), -1, -1), size=(32, 32), padding="border")
        inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))  # torchvision repeats the crop's own border
        expected = tv.resized_crop(x, top, left, height, width, [32, 32], antialias=False)
        assert torch.allclose(ours[inner], expected[inner], atol=1e-4)


def test_transforms_compose_as_shear_turn_enlarge_flip_crop() -> None:
    drawn: dict[str, Any] = {
        "crop": {"area": [0.5, 0.5]},
        "scale": {"factor": [1.3, 1.3]},
        "rotate": {"radians": 0.4},
        "shear": {"radians": 0.3},
        "flip": {"horizontal": 1.0},
    }
    x = smooth()
    all_at_once = geometry(6, **drawn)
    # the same draws one at a time: those of one transform don't depend on the others' ranges
    parts = {name: geometry(6, **{name: settings}) for name, settings in drawn.items() if name != "shear"}
    skew = (
        torch.linalg.inv(parts["rotate"][:, :, :2])
        @ geometry(6, rotate=drawn["rotate"], shear=drawn["shear"])[:, :, :2]
    )
    linear = parts["crop"][:, :, :2] @ parts["flip"][:, :, :2] @ parts["scale"][:, :, :2] @ parts["rotate"][:, :, :2]
    assert torch.allclose(all_at_once[:, :, :2], linear @ skew, atol=1e-5)
    assert torch.allclose(all_at_once[:, :, 2], parts["crop"][:, :, 2], atol=1e-6)
    assert resample(x, all_at_once, size=(33, 33), padding="zeros").shape == x.shape


def test_the_sampling_grid_is_torchs() -> None:
    theta = torch.randn(5, 2, 3, generator=generator(0, "theta"))
    expected = torch.nn.functional.affine_grid(theta, [5, 1, 9, 14], align_corners=False)
    assert torch.allclose(sampling_grid(theta, 9, 14), expected, atol=1e-6)


def uniform_p(values: Tensor, low: float, high: float) -> float:
    """Kolmogorov and Smirnov's test that values are uniform."""
    return float(kstest(((values - low) / (high - low)).double().numpy(), "uniform").pvalue)


def test_drawn_geometry_has_the_stated_distribution() -> None:
    n = 20_000
    turned = geometry(n, rotate={"radians": 0.5})
    assert uniform_p(torch.atan2(turned[:, 1, 0], turned[:, 1, 1]), -0.5, 0.5) > 0.01
    assert uniform_p(geometry(n, shear={"radians": 0.5})[:, 0, 1].atan(), -0.5, 0.5) > 0.01
    zoomed = geometry(n, scale={"factor": [0.5, 2.0]})
    assert uniform_p(-zoomed[:, 0, 0].log(), -math.log(2), math.log(2)) > 0.01
    moved = geometry(n, translate={"fraction": 0.2})
    for axis in range(2):
        assert uniform_p(moved[:, axis, 2], -0.4, 0.4) > 0.01
    cropped = geometry(n, crop={"area": [0.1, 0.4]})
    assert uniform_p(cropped[:, 0, 0] * cropped[:, 1, 1], 0.1, 0.4) > 0.01
    ratio = (cropped[:, 0, 0] / cropped[:, 1, 1]).log()
    assert uniform_p(ratio, -math.log(4 / 3), math.log(4 / 3)) > 0.01
    for axis in range(2):  # everywhere inside the image alike
        assert uniform_p(cropped[:, axis, 2] / (1 - cropped[:, axis, axis]), -1, 1) > 0.01
    flipped = geometry(n, flip={"horizontal": 0.25, "vertical": 0.4})
    assert float((flipped[:, 0, 0] < 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float((flipped[:, 1, 1] < 0).float().mean()) == pytest.approx(0.4, abs=0.01)


def test_crops_stay_inside_the_image() -> None:
    theta = geometry(5_000, crop={"area": [0.2, 1.0]}, flip={"horizontal": 0.5, "vertical": 0.5})
    reach = theta[:, :, :2].abs().sum(-1) + theta[:, :, 2].abs()
    assert float(reach.max()) <= 1 + 1e-5
    area = torch.linalg.det(theta[:, :, :2]).abs()
    assert float(area.min()) > 0.19 and float(area.mean()) == pytest.approx(0.6, abs=0.02)


def test_local_views_are_smaller_parts_at_a_smaller_size() -> None:
    x = images(size=16)
    halved = recipe(local={"size": 0.5, "crop": {"area": [1.0, 1.0]}}).local(x, generator(0, "views"), views=3)
    assert halved.shape == (18, 3, 8, 8)
    flat = x.float().mean((2, 3), keepdim=True).expand(-1, -1, 16, 16).to(torch.uint8)
    quarter = recipe(local={"size": 0.5, "crop": {"area": [0.25, 0.25]}})
    part = quarter.local(flat, generator(0, "views"), views=1)
    assert torch.allclose(part, flat[..., :8, :8] / 255, atol=1e-5)
    ramp = torch.arange(16, dtype=torch.uint8).mul(8).expand(1, 1, 16, 16).contiguous()
    seen = quarter.local(ramp, generator(0, "views"), views=200)
    share = (seen.amax((1, 2, 3)) - seen.amin((1, 2, 3))) / (float(ramp.max()) / 255)
    assert float(share.max()) < 0.65 and float(share.min()) > 0.35  # half a side, its aspect ratio 3/4 to 4/3


@pytest.mark.parametrize("factor", [2.0, 3.0, 4.0])
def test_shrinking_does_not_alias(factor: float) -> None:
    checkers = ((torch.arange(64)[:, None] + torch.arange(64)) % 2).float()[None, None]
    theta = torch.tensor([[[factor, 0.0, 0.01], [0.0, factor, 0.01]]])
    shrunk = resample(checkers, theta, size=(64, 64), padding="zeros")
    half = int(64 / factor / 2) - 3
    inside = shrunk[..., 32 - half : 32 + half, 32 - half : 32 + half]
    assert float((inside - 0.5).abs().max()) < 0.15


def test_prefilter_acts_only_where_an_image_shrinks_and_has_the_variance_of_its_factor() -> None:
    x = torch.zeros(4, 1, 31, 31)
    x[:, :, 15, 15] = 1
    out = prefilter(x, torch.tensor([0.5, 1.0, 2.0, 3.5]))
    assert torch.equal(out[:2], x[:2])
    place = torch.arange(31.0) - 15
    variance = (out.sum(2)[:, 0] * place.square()).sum(1)
    assert torch.allclose(variance, torch.tensor([0, 0, 3 / 4, 11.25 / 4]), atol=1e-4)


# colour


def test_colour_is_torchvisions_chain_without_its_intermediate_clamps() -> None:
    x = (images() / 255) * 0.5 + 0.2  # stays in [0, 1], so that clamping doesn't enter
    matrix, pivot, _ = colour(6, jitter={"brightness": 0.1, "contrast": 0.2, "saturation": 0.3})
    draw = generator(0, "colour")
    bright, sharp, vivid = (1 + spread * (2 * torch.rand(6, generator=draw) - 1) for spread in (0.1, 0.2, 0.3))
    for i in range(len(x)):
        expected = tv.adjust_brightness(x[i], float(bright[i]))
        expected = tv.adjust_contrast(expected, float(sharp[i]))
        expected = tv.adjust_saturation(expected, float(vivid[i]))
        assert torch.allclose(apply_colour(x, matrix, pivot)[i], expected, atol=2e-3)


@pytest.mark.parametrize(
    ("name", "function"),
    [("brightness", tv.adjust_brightness), ("contrast", tv.adjust_contrast), ("saturation", tv.adjust_saturation)],
)
@pytest.mark.parametrize("spread", [0.9, 2.0])
def test_each_change_of_colour_is_torchvisions_clamp_included(name: str, function: Any, spread: float) -> None:
    x = images() / 255
    matrix, pivot, _ = colour(6, jitter={name: spread})
    luma = torch.tensor([0.299, 0.587, 0.114])
    own = matrix[:, 0, 0]  # luma's share of it comes with saturation
    factor = (own - luma[0]) / (1 - luma[0]) if name == "saturation" else own
    assert float(factor.min()) >= -1e-6  # a factor below 0 would make negatives
    for i in range(len(x)):
        expected = function(x[i], float(factor[i].clamp_min(0)))
        assert torch.allclose(apply_colour(x, matrix, pivot)[i], expected, atol=2e-3)


def test_grayscale_always() -> None:
    x = images() / 255
    matrix, pivot, turns = colour(6, grayscale={"probability": 1.0}, jitter={"hue": 0.5})
    assert torch.allclose(apply_colour(x, matrix, pivot), tv.rgb_to_grayscale(x, 3), atol=1e-3)
    assert not bool(turns.any())


def test_hue_is_torchvisions() -> None:
    x = images() / 255
    x[0] = x[0, :1]  # grays have no hue
    turns = torch.tensor([0.3, -0.5, -0.1, 0.0, 0.25, 0.5])
    for i, turn in enumerate(turns.tolist()):
        assert torch.allclose(shift_hue(x, turns)[i], tv.adjust_hue(x[i], turn), atol=1e-5)


def test_yiq_keeps_luma_and_grays_and_turns_the_way_of_hsv() -> None:
    x = smooth()
    turns = torch.tensor([0.05, -0.05, 0.1, -0.1, 1.0, 0.02])
    turned = torch.einsum("ncd,ndhw->nchw", turn_yiq(turns), x)
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    assert torch.allclose((turned * luma).sum(1), (x * luma).sum(1), atol=1e-5)
    assert torch.allclose(turned[4], x[4], atol=1e-5)  # a whole turn
    gray = torch.full((6, 3, 2, 2), 0.4)
    assert torch.allclose(torch.einsum("ncd,ndhw->nchw", turn_yiq(turns), gray), gray, atol=1e-5)
    exact = shift_hue(x, turns)
    for i in (0, 1, 2, 3, 5):
        ours, theirs = (turned[i] - x[i]).flatten(), (exact[i] - x[i]).flatten()
        assert float(torch.corrcoef(torch.stack([ours, theirs]))[0, 1]) > 0.5


def test_both_kinds_of_hue_are_drawn_alike_and_only_one_is_applied() -> None:
    x = (smooth() * 255).to(torch.uint8)
    yiq, hsv = (
        recipe(jitter={"hue": 0.2, "hue_space": space})(x, generator(0, "hue"), views=1) for space in ("yiq", "hsv")
    )
    _, _, turns = colour(5000, jitter={"hue": 0.2})
    assert uniform_p(turns, -0.2, 0.2) > 0.01
    assert not torch.allclose(yiq, hsv, atol=1e-3) and float((yiq - hsv).abs().mean()) < 0.1
    assert torch.allclose(hsv.amax(1), x.amax(1) / 255, atol=1e-2)  # HSV's value stays, resampling aside


def test_jitter_and_grayscale_have_their_own_probabilities() -> None:
    jitter = {"probability": 0.4, "brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.2}
    matrix, pivot, turns = colour(20_000, jitter=jitter, grayscale={"probability": 0.25})
    still = (matrix - torch.eye(3)).abs().amax((1, 2)) < 1e-6
    gray = (matrix - matrix[:, :1]).abs().amax((1, 2)) < 1e-6
    assert float(still.float().mean()) == pytest.approx(0.6 * 0.75, abs=0.015)
    assert float(gray.float().mean()) == pytest.approx(0.25, abs=0.015)
    assert float((turns != 0).float().mean()) == pytest.approx(0.4 * 0.75, abs=0.015)
    assert bool((pivot[still] == 0).all())


# what follows colour


def test_blur_is_torchvisions() -> None:
    x = images(size=20) / 255
    sigma = torch.tensor([0.1, 0.5, 1.0, 1.7, 2.5, 3.0])
    for reach in (4, 9, 19):
        ours = gaussian_blur(x, sigma, reach)
        for i in range(len(x)):
            expected = tv.gaussian_blur(x[i], [2 * reach + 1] * 2, [float(sigma[i])] * 2)
            assert torch.allclose(ours[i], expected, atol=1e-5)


def test_a_blur_is_measured_in_sides_of_the_image() -> None:
    x = torch.zeros(2000, 1, 33, 33, dtype=torch.uint8)
    x[:, :, 16, 16] = 255
    out = recipe(blur={"probability": 1.0, "sigma": [0.02, 0.06]})(x, generator(0, "blur"), views=1)
    variance = (out.sum(2)[:, 0] * (torch.arange(33.0) - 16).square()).sum(1)
    assert uniform_p(variance.sqrt(), 33 * 0.02, 33 * 0.06) > 0.001


def test_solarize_and_posterize_are_torchvisions() -> None:
    x = images() / 255
    for threshold in (0.0, 0.3, 0.5, 1.0):
        assert torch.allclose(solarize(x, threshold), tv.solarize(x, threshold))
    for bits in (1, 3, 4, 8):
        assert torch.allclose(posterize(x, bits), tv.posterize(x, bits))


def test_erase_is_torchvisions_with_the_images_mean() -> None:
    x = images(n=50) / 255
    boxes = draw_boxes(50, 16, 16, area=[0.02, 0.9], ratio=[0.3, 3.3], generator=generator(0, "boxes"))
    ours = erase(x, boxes)
    for i, (top, left, height, width) in enumerate(boxes.tolist()):
        mean = x[i].mean((1, 2), keepdim=True).expand(3, height, width)
        assert torch.allclose(ours[i], tv.erase(x[i], top, left, height, width, mean), atol=1e-6)


def test_erased_boxes_have_the_stated_distribution_and_stay_inside() -> None:
    area, ratio = [0.05, 0.2], [0.5, 2.0]
    boxes = draw_boxes(20_000, 1000, 1000, area=area, ratio=ratio, generator=generator(0, "boxes")).double()
    top, left, height, width = boxes.unbind(1)
    assert float((top + height).max()) <= 1000 and float((left + width).max()) <= 1000
    assert uniform_p(height * width / 1e6, *area) > 0.01
    assert uniform_p((height / width).log(), math.log(ratio[0]), math.log(ratio[1])) > 0.01
    assert uniform_p(top / (1001 - height), 0, 1) > 0.01
    whole = draw_boxes(100, 8, 8, area=[1.0, 1.0], ratio=[0.3, 3.3], generator=generator(0, "boxes"))
    assert int((whole[:, 0] + whole[:, 2]).max()) <= 8 and int((whole[:, 1] + whole[:, 3]).max()) <= 8


@pytest.mark.parametrize("size", [16, 21])
def test_masked_patches_are_those_drawn(size: int) -> None:
    x = images(n=40, size=size) / 255
    hidden = draw_hidden(40, grid=4, share=0.3, generator=generator(0, "mask"))
    assert bool((hidden.flatten(1).sum(1) == 5).all())  # round(0.3 * 16)
    assert len({tuple(row) for row in hidden.flatten(1).tolist()}) > 30
    out = mask_patches(x, hidden)
    for i in range(40):
        for row in range(size):
            for column in range(size):
                expected = x[i].mean((1, 2)) if hidden[i, row * 4 // size, column * 4 // size] else x[i, :, row, column]
                assert torch.allclose(out[i, :, row, column], expected, atol=1e-6)


def test_noise_has_the_stated_spread() -> None:
    x = torch.full((64, 1, 16, 16), 128, dtype=torch.uint8)
    out = recipe(noise={"deviation": 0.1})(x, generator(0, "noise"), views=1)
    assert float(out.std()) == pytest.approx(0.1, rel=0.02)


# recipes


def test_every_second_view_of_byol_is_made_its_own_way() -> None:
    x = torch.full((3000, 1, 8, 8), 200, dtype=torch.uint8)
    views = (
        recipe("byol", jitter={"probability": 0.0})(x, generator(0, "byol"), views=4)
        .unflatten(0, (4, -1))
        .mean((2, 3, 4))
    )
    solarized = (views < 0.5).float().mean(1)
    assert solarized[0] == solarized[2] == 0
    assert solarized[[1, 3]].tolist() == pytest.approx([0.2, 0.2], abs=0.03)


def test_a_recipe_of_one_kind_of_view_is_one_batch() -> None:
    """As it was before views could differ: what was trained stays what it was."""
    x = images()
    out = recipe("simclr")(x, generator(0, "views"), views=2)
    assert torch.equal(out, recipe("simclr").first(x.repeat(2, 1, 1, 1) / 255, generator(0, "views"), (16, 16)))


def test_strength_scales_every_transform() -> None:
    full = recipe("byol", erase={"probability": 0.5}, mask={"probability": 0.5}, noise={"deviation": 0.1}).second.of
    half = recipe(
        "byol", strength=0.5, erase={"probability": 0.5}, mask={"probability": 0.5}, noise={"deviation": 0.1}
    ).second.of
    assert half["crop"]["area"] == [pytest.approx(0.08**0.5), 1.0]
    for name, key in (
        ("jitter", "hue"),
        ("jitter", "brightness"),
        ("grayscale", "probability"),
        ("solarize", "probability"),
        ("flip", "horizontal"),
        ("mask", "share"),
        ("noise", "deviation"),
    ):
        assert half[name][key] == pytest.approx(full[name][key] / 2)
    assert half["blur"]["sigma"] == [pytest.approx(bound / 2) for bound in full["blur"]["sigma"]]
    assert half["jitter"]["probability"] == full["jitter"]["probability"]


@pytest.mark.parametrize("name", RECIPES)
def test_nothing_is_read_back_from_the_device_and_nothing_mixes_devices(name: str) -> None:
    """The meta device has no values and refuses both; a GPU would wait at the first."""
    more = {part: {"probability": 0.5} for part in ("solarize", "posterize", "erase", "mask", "blur")}
    x = images(n=8, size=24).to("meta")
    for space in ("hsv", "yiq"):
        made = recipe(name, **more, jitter={"hue": 0.1, "hue_space": space}, noise={"deviation": 0.1})
        assert made(x, generator(0, "views"), views=2).shape == (16, 3, 24, 24)
        assert made.local(x, generator(0, "views"), views=2).is_meta


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", RECIPES)
def test_a_gpu_makes_the_same_views(name: str) -> None:
    x = images(n=64, size=32)
    more: dict[str, Any] = {"jitter": {"hue": 0.1, "hue_space": "yiq"}, "erase": {"probability": 0.5}}
    for changes in ({}, more):
        made = recipe(name, **changes)
        for views in (made, made.local):
            here = views(x, generator(0, "views"), views=2)
            there = views(x.cuda(), generator(0, "views"), views=2).cpu()
            assert float(((here - there).abs() > 1e-3).float().mean()) < 1e-3  # thresholds may fall on either side


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strength": -0.1}, r"augmentation\.strength must be >= 0, got -0\.1"),
        ({"crop": {"area": [0.0, 1.0]}}, r"augmentation\.crop\.area must be >= 0\.001 and <= 1, got 0\.0"),
        ({"scale": {"factor": [2.0, 1.0]}}, r"low <= high, got \[2\.0, 1\.0\]"),
        ({"scale": {"factor": 1.0}}, r"must be a pair"),
        ({"scale": {"factor": [0.2, 1.0]}}, r"must not shrink an image more than 4\.0 times"),
        ({"flip": {"horizontal": 1.5}}, r"augmentation\.flip\.horizontal must be >= 0 and <= 1"),
        ({"noise": {"deviation": "a"}}, r"augmentation\.noise\.deviation must be a number >= 0 and <= 10, got 'a'"),
        ({"padding": "mirror"}, r"one of zeros, border, reflection, got 'mirror'"),
        ({"rotate": {"radians": float("inf")}}, r"augmentation\.rotate\.radians must be"),
        ({"blur": {"probability": 2}}, r"augmentation\.blur\.probability must be >= 0 and <= 1, got 2"),
        ({"posterize": {"bits": 2.5}}, r"posterize\.bits must be a whole number"),
        ({"jitter": {"hue": 0.6}}, r"jitter\.hue must be >= 0 and <= 0\.5"),
        ({"jitter": {"hue_space": "lab"}}, r"hue_space must be one of yiq, hsv, got 'lab'"),
        ({"second": {"blurr": {"probability": 0.1}}}, r"a transform of augmentation\.second must be one of crop, "),
        (
            {"second": {"blur": {"chance": 0.1}}},
            r"a key of augmentation\.second\.blur must be one of probability, sigma",
        ),
        ({"second": {"blur": {"probability": 3}}}, r"augmentation\.second\.blur\.probability must be"),
        ({"local": {"size": 0.2, "crop": {"area": [0.5, 1.0]}}}, r"local\.size must not shrink a crop more than 4\.0"),
        ({"local": {"size": 0.0}}, r"augmentation\.local\.size must be > 0"),
        ({"local": None}, r"augmentation\.local must name transforms, got None"),
        ({"second": {"blur": 0.1}}, r"augmentation\.second\.blur must have keys of its own, got 0\.1"),
        ({"blur": None}, r"augmentation\.blur must have keys of its own, got None"),
        (
            {"flip": {"probability": 0.5}},
            r"a key of augmentation\.flip must be one of horizontal, vertical, got 'probab",
        ),
    ],
)
def test_bad_recipes_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(**change)
