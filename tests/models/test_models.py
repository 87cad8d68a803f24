from __future__ import annotations

from typing import Any

import pytest
import torch

from src.models.cnn import SmallCNN
from src.models.projector import Projector
from src.models.resnet import ResNet
from src.models.timm_backbone import TimmBackbone
from src.models.vit import ViT

CNN: dict[str, Any] = {
    "width": 8,
    "depth": 4,
    "features": 24,
    "activation": "relu",
    "norm": "batch",
    "dropout": 0.0,
}


@pytest.mark.parametrize("depth", [2, 3, 6])
@pytest.mark.parametrize("width", [4, 16])
@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_representation_has_one_size_at_every_width_and_depth(depth: int, width: int, norm: str) -> None:
    encoder = SmallCNN((3, 20, 20), **(CNN | {"depth": depth, "width": width, "norm": norm}))
    h = encoder(torch.randn(2, 3, 20, 20))
    assert h.shape == (2, 24) == (2, encoder.features)
    assert sum(isinstance(m, torch.nn.Conv2d) for m in encoder.modules()) == depth


def test_dropout_acts_in_training_only() -> None:
    encoder = SmallCNN((1, 20, 20), **(CNN | {"dropout": 0.5, "norm": "none"}))
    x = torch.randn(2, 1, 20, 20)
    assert not torch.equal(encoder(x), encoder(x))
    encoder.eval()
    assert torch.equal(encoder(x), encoder(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "model.width must be >= 1, got 0"),
        ({"width": 2.5}, "model.width must be a whole number"),
        ({"depth": 1}, "model.depth must be >= 2"),
        ({"features": 1}, "model.features must be >= 2"),
        ({"activation": "tanh"}, "one of relu, gelu, silu, got 'tanh'"),
        ({"norm": "layer"}, "one of batch, group, none, got 'layer'"),
        ({"dropout": 1.0}, "model.dropout must be >= 0 and < 1, got 1.0"),
        ({"norm": "group", "width": 12}, "multiple of 8"),
    ],
)
def test_bad_hyperparameters_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SmallCNN((1, 20, 20), **(CNN | change))


@pytest.mark.parametrize(
    ("depth", "stem", "size", "features"),
    [(18, "small", 20, 512), (18, "standard", 64, 512), (34, "small", 16, 512), (50, "small", 16, 2048)],
)
def test_resnet(depth: int, stem: str, size: int, features: int) -> None:
    shape = (1, size, size)
    encoder = ResNet(shape, depth=depth, stem=stem, zero_init_residual=False).eval()
    assert encoder(torch.randn(2, *shape)).shape == (2, encoder.features) == (2, features)
    convolutions = [m for m in encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    shortcuts = [m for name, m in encoder.named_modules() if name.endswith("downsample.0")]
    assert len(convolutions) - len(shortcuts) + 1 == depth  # the published count has the classifier


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stem": "tiny"}, "model.stem must be one of small, standard, got 'tiny'"),
        ({"depth": 20}, "model.depth must be one of 18, 34, 50, got 20"),
        ({"zero_init_residual": 1}, "model.zero_init_residual must be true or false, got 1"),
    ],
)
def test_bad_resnets_are_refused(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"depth": 18, "stem": "small", "zero_init_residual": False}
    with pytest.raises(ValueError, match=message):
        ResNet((1, 20, 20), **(given | change))


def test_a_residual_block_may_start_as_the_identity() -> None:
    torch.manual_seed(0)
    started, plain = (ResNet((1, 8, 8), depth=18, stem="small", zero_init_residual=z) for z in (True, False))
    assert not bool(started.layer1[0].bn2.weight.any()) and bool(plain.layer1[0].bn2.weight.all())


VIT: dict[str, Any] = {
    "patch": 4,
    "width": 24,
    "depth": 2,
    "heads": 3,
    "mlp_ratio": 2.0,
    "activation": "gelu",
    "dropout": 0.0,
    "drop_path": 0.0,
}


def test_vit_pools_its_tokens_and_takes_other_sizes() -> None:
    encoder = ViT((3, 20, 12), **VIT).eval()
    x = torch.randn(2, 3, 20, 12)
    assert encoder.grid == (5, 3) and encoder.tokens(x).shape == (2, 15, 24)
    assert torch.equal(encoder(x), encoder.tokens(x).mean(1)) and encoder(x).shape == (2, encoder.features)
    assert encoder(torch.randn(2, 3, 10, 6)).shape == (2, 24)  # a local view, padded to whole patches


def test_vit_sees_kept_patches_alone() -> None:
    encoder = ViT((1, 8, 8), **VIT).eval()
    x, kept = torch.randn(2, 1, 8, 8), torch.tensor([[0, 3], [2, 1]])
    other = x.clone()
    other[0, :, :4, 4:] += 1  # patch 1, which the first image doesn't keep
    assert torch.equal(encoder.tokens(x, kept)[0], encoder.tokens(other, kept)[0])
    assert not torch.allclose(encoder.tokens(x)[0], encoder.tokens(other)[0])
    everything = torch.arange(4).expand(2, -1)
    assert torch.allclose(encoder.tokens(x, everything), encoder.tokens(x), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch": 3}, "model.patch must divide the images' 20 x 20 pixels, got 3"),
        ({"heads": 5}, "model.width must be a multiple of model.heads=5, got 24"),
        ({"depth": 0}, "model.depth must be >= 1, got 0"),
        ({"mlp_ratio": 0}, "model.mlp_ratio must be > 0, got 0"),
        ({"activation": "tanh"}, "model.activation must be one of gelu, relu, silu, got 'tanh'"),
        ({"drop_path": 1.0}, "model.drop_path must be >= 0 and < 1, got 1.0"),
    ],
)
def test_bad_vits_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ViT((1, 20, 20), **(VIT | change))


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [
        ("resnet10t", {}),
        ("convnext_atto", {"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32], "patch_size": 2, "drop_path_rate": 0.1}),
        ("vit_tiny_patch16_224", {"patch_size": 4, "embed_dim": 24, "depth": 1, "num_heads": 3}),
        ("mobilenetv3_small_050", {}),
    ],
)
def test_timm_backbones_by_name(architecture: str, arguments: dict[str, Any]) -> None:
    shape = (1, 32, 32)
    encoder = TimmBackbone(shape, architecture=architecture, arguments=arguments).eval()
    assert encoder(torch.randn(2, *shape)).shape == (2, encoder.features)
    with torch.device("meta"):
        TimmBackbone(shape, architecture=architecture, arguments=arguments)


@pytest.mark.parametrize(
    ("architecture", "arguments", "message"),
    [
        ("resnet19", {}, r"model\.architecture must be a name of timm, such as resnet\w+.*, got 'resnet19'$"),
        ("convnext_atto", {"dpeths": [1]}, r"model\.architecture=convnext_atto with model\.arguments=.*dpeths"),
        ("vit_tiny_patch16_224", {"num_heads": 5}, r"model\.arguments=\{'num_heads': 5\}"),
    ],
)
def test_bad_timm_backbones_are_refused_in_one_line(architecture: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        TimmBackbone((3, 32, 32), architecture=architecture, arguments=arguments)
    assert "\n" not in str(caught.value)


def test_projector_has_its_depth_and_dimension() -> None:
    projector = Projector(24, width=32, depth=3, dimension=5)
    assert projector(torch.randn(4, 24)).shape == (4, 5)
    assert sum(isinstance(m, torch.nn.Linear) for m in projector) == 3
