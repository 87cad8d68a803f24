from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from src.augmentation.affine import draw_affine, prefilter, resample, sampling_grid
from src.augmentation.colour import apply_colour, draw_colour
from src.augmentation.views import Augmentation
from src.rng import generator
from tests.project import ROOT

STILL: dict[str, Any] = {
    "strength": 1.0,
    "crop": 1.0,
    "scale": [1.0, 1.0],
    "rotate": 0.0,
    "translate": 0.0,
    "flip": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "grayscale": 0.0,
    "noise": 0.0,
    "padding": "zeros",
    "local": {"crop": [1.0, 1.0], "size": 0.5},
}


def images(n: int = 6, c: int = 3, size: int = 16) -> Tensor:
    return torch.randint(0, 256, (n, c, size, size), dtype=torch.uint8, generator=generator(0, "images"))


def still_map(n: int, **changes: float) -> Tensor:
    arguments: dict[str, Any] = {"crop": (1.0, 1.0), "scale": (1.0, 1.0), "rotate": 0.0, "translate": 0.0, "flip": 0.0}
    return draw_affine(n, **(arguments | changes), generator=generator(0, "affine"))


def test_a_recipe_of_nothing_leaves_images_alone() -> None:
    x = images()
    out = Augmentation(**STILL)(x, generator(0, "views"), views=2)
    assert torch.allclose(out, x.repeat(2, 1, 1, 1) / 255, atol=1e-5)


def test_strength_zero_leaves_images_alone() -> None:
    recipe = yaml.safe_load((ROOT / "conf" / "augmentation" / "natural.yaml").read_text())
    del recipe["name"], recipe["_target_"]
    x = images()
    out = Augmentation(**(recipe | {"strength": 0.0}))(x, generator(0, "views"), views=1)
    assert torch.allclose(out, x / 255, atol=1e-5)


def test_the_same_generator_gives_the_same_views_and_another_gives_others() -> None:
    recipe = Augmentation(**(STILL | {"rotate": 0.5, "noise": 0.1, "contrast": 0.3}))
    a, b, c = (recipe(images(), generator(0, "views", step), views=2) for step in (1, 1, 2))
    assert torch.equal(a, b) and not torch.allclose(a, c, atol=0.05)


def test_each_image_and_each_view_has_its_own_parameters() -> None:
    x = images(n=1).repeat(4, 1, 1, 1)
    out = Augmentation(**(STILL | {"rotate": 1.0}))(x, generator(0, "views"), views=2)
    assert all(not torch.allclose(out[i], out[j], atol=0.01) for i in range(8) for j in range(i))


def test_flip_is_torchvisions() -> None:
    x = images() / 255
    flipped = resample(x, still_map(len(x), flip=1.0), size=(16, 16), padding="zeros")
    assert torch.allclose(flipped, tv.horizontal_flip(x), atol=1e-5)


@pytest.mark.parametrize("angle", [0.3, -1.1])
def test_rotation_is_torchvisions(angle: float) -> None:
    cos, sin = torch.tensor(angle).cos(), torch.tensor(angle).sin()
    theta = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]])[None].repeat(6, 1, 1)
    x = images() / 255
    degrees = -float(torch.rad2deg(torch.tensor(angle)))
    expected = tv.rotate(x, -degrees, interpolation=tv.InterpolationMode.BILINEAR)
    ours = resample(x, theta, size=(16, 16), padding="zeros")
    inside = (slice(None), slice(None), slice(4, 12), slice(4, 12))
    assert torch.allclose(ours[inside], expected[inside], atol=1e-3)


def test_the_sampling_grid_is_torchs() -> None:
    theta = torch.randn(5, 2, 3, generator=generator(0, "theta"))
    expected = torch.nn.functional.affine_grid(theta, [5, 1, 9, 14], align_corners=False)
    assert torch.allclose(sampling_grid(theta, 9, 14), expected, atol=1e-6)


def test_translation_moves_by_whole_pixels() -> None:
    x = images() / 255
    theta = torch.tensor([[1.0, 0.0, -2 * 3 / 16], [0.0, 1.0, 0.0]])[None].repeat(len(x), 1, 1)
    moved = resample(x, theta, size=(16, 16), padding="zeros")
    assert torch.allclose(moved[..., 3:], x[..., :-3], atol=1e-5)
    assert float(moved[..., :3].abs().max()) < 1e-5


def test_drawn_geometry_has_the_stated_distribution() -> None:
    n = 20_000
    theta = draw_affine(
        n, crop=(1.0, 1.0), scale=(0.5, 2.0), rotate=0.5, translate=0.2, flip=0.25, generator=generator(0, "statistics")
    )
    det = torch.linalg.det(theta[:, :, :2])
    log_zoom = -0.5 * det.abs().log()
    assert float((det < 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float(log_zoom.mean()) == pytest.approx(0, abs=0.01)
    assert float(log_zoom.std()) == pytest.approx(2 * math.log(2) / 12**0.5, rel=0.02)
    angle = torch.atan2(theta[:, 1, 0], theta[:, 1, 1])
    assert float(angle.abs().max()) <= 0.5 + 1e-6 and float(angle.std()) == pytest.approx(1 / 12**0.5, rel=0.02)
    assert float(theta[:, 0, 2].abs().max()) <= 0.4 + 1e-6


def test_crops_stay_inside_the_image_and_keep_their_area() -> None:
    theta = draw_affine(
        5_000, crop=(0.2, 1.0), scale=(1.0, 1.0), rotate=0.0, translate=0.0, flip=0.5, generator=generator(0, "crops")
    )
    reach = theta[:, :, :2].abs().sum(-1) + theta[:, :, 2].abs()
    assert float(reach.max()) <= 1 + 1e-5
    area = torch.linalg.det(theta[:, :, :2]).abs()
    assert float(area.min()) > 0.19 and float(area.mean()) == pytest.approx(0.6, abs=0.02)


def test_local_views_are_smaller_parts_at_a_smaller_size() -> None:
    x = images(size=16)
    halved = Augmentation(**STILL).local(x, generator(0, "views"), views=3)
    assert halved.shape == (18, 3, 8, 8)
    smooth = x.float().mean((2, 3), keepdim=True).expand(-1, -1, 16, 16).to(torch.uint8)
    recipe = STILL | {"local": {"crop": [0.25, 0.25], "size": 0.5}}
    part = Augmentation(**recipe).local(smooth, generator(0, "views"), views=1)
    assert torch.allclose(part, smooth[..., :8, :8] / 255, atol=1e-5)
    ramp = torch.arange(16, dtype=torch.uint8).mul(8).expand(1, 1, 16, 16).contiguous()
    seen = Augmentation(**recipe).local(ramp, generator(0, "views"), views=200)
    share = (seen.amax((1, 2, 3)) - seen.amin((1, 2, 3))) / (float(ramp.max()) / 255)
    assert float(share.max()) < 0.65 and float(share.min()) > 0.35  # half a side, its aspect ratio 3/4 to 4/3


def test_local_views_that_would_alias_are_refused() -> None:
    with pytest.raises(ValueError, match=r"local\.size must not shrink a crop more than 2\.2 times, got 0\.3"):
        Augmentation(**(STILL | {"local": {"crop": [0.5, 1.0], "size": 0.3}}))


def test_prefilter_acts_only_where_an_image_shrinks() -> None:
    x = torch.rand(3, 1, 16, 16, generator=generator(0, "noise"))
    out = prefilter(x, torch.tensor([0.5, 1.0, 2.0]))
    assert torch.equal(out[:2], x[:2])
    assert float(out[2].std()) < 0.6 * float(x[2].std())


def test_shrinking_does_not_alias() -> None:
    checkers = ((torch.arange(32)[:, None] + torch.arange(32)) % 2).float()[None, None]
    half = torch.tensor([[[2.0, 0.0, 0.01], [0.0, 2.0, 0.01]]])
    inside = resample(checkers, half, size=(32, 32), padding="zeros")[..., 10:22, 10:22]
    assert float((inside - 0.5).abs().max()) < 0.15


def test_colour_is_torchvisions_chain_without_its_intermediate_clamps() -> None:
    x = (images() / 255) * 0.5 + 0.2  # stays in [0, 1], so that clamping doesn't enter
    matrix, offset = draw_colour(
        x.mean((2, 3)), brightness=0.1, contrast=0.2, saturation=0.3, grayscale=0.0, generator=generator(0, "colour")
    )
    draw = generator(0, "colour")
    bright, sharp, vivid = (1 + spread * (2 * torch.rand(6, generator=draw) - 1) for spread in (0.1, 0.2, 0.3))
    for i in range(len(x)):
        expected = tv.adjust_brightness(x[i], float(bright[i]))
        expected = tv.adjust_contrast(expected, float(sharp[i]))
        expected = tv.adjust_saturation(expected, float(vivid[i]))
        assert torch.allclose(apply_colour(x, matrix, offset)[i], expected, atol=2e-3)


def test_grayscale_always() -> None:
    x = images() / 255
    matrix, offset = draw_colour(
        x.mean((2, 3)), brightness=0.0, contrast=0.0, saturation=0.0, grayscale=1.0, generator=generator(0, "gray")
    )
    assert torch.allclose(apply_colour(x, matrix, offset), tv.rgb_to_grayscale(x, 3), atol=1e-3)


def test_noise_has_the_stated_spread() -> None:
    x = torch.full((64, 1, 16, 16), 128, dtype=torch.uint8)
    out = Augmentation(**(STILL | {"noise": 0.1}))(x, generator(0, "noise"), views=1)
    assert float(out.std()) == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strength": -0.1}, r"augmentation\.strength must be >= 0, got -0\.1"),
        ({"crop": 0.0}, r"augmentation\.crop must be > 0 and <= 1, got 0\.0"),
        ({"scale": [2.0, 1.0]}, r"low <= high, got \[2\.0, 1\.0\]"),
        ({"scale": 1.0}, r"must be a pair"),
        ({"scale": [0.3, 1.0]}, r"must not shrink an image more than 2\.2 times"),
        ({"flip": 1.5}, r"augmentation\.flip must be >= 0 and <= 1"),
        ({"noise": "a"}, r"augmentation\.noise must be a number >= 0, got 'a'"),
        ({"padding": "mirror"}, r"one of zeros, border, reflection, got 'mirror'"),
        ({"rotate": float("inf")}, r"augmentation\.rotate must be"),
    ],
)
def test_bad_recipes_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation(**(STILL | change))
