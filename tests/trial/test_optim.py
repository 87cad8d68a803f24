from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from src.methods.simclr import SimCLR
from src.models.cnn import SmallCNN
from src.models.projector import Projector
from src.models.resnet import ResNet
from src.models.timm_backbone import TimmBackbone
from src.models.vit import ViT
from src.runtime.rng import global_generator
from src.trial.config import Optimizer, Scaling
from src.trial.loop import batch_indices
from src.trial.method import optimizer_of
from src.trial.optim import layers, parameter_groups, scaled_learning_rate, schedule_factor


@pytest.mark.parametrize(("rule", "expected"), [("none", 0.1), ("sqrt", 0.2), ("linear", 0.4)])
def test_learning_rate_scales_with_batch_size_by_the_named_rule(rule: Scaling, expected: float) -> None:
    assert scaled_learning_rate(0.1, 1024, rule) == pytest.approx(expected)
    assert scaled_learning_rate(0.1, 256, rule) == pytest.approx(0.1)


def test_schedule_warms_up_then_follows_a_cosine() -> None:
    factors = [schedule_factor(step, steps=110, warmup=10 / 110, decay="cosine") for step in range(110)]
    assert factors[:10] == pytest.approx([k / 11 for k in range(1, 11)])
    assert factors[10] == 1
    assert factors[60] == pytest.approx(0.5)
    assert factors[109] == pytest.approx(0.5 * (1 + math.cos(math.pi * 99 / 100)))
    assert schedule_factor(109, steps=110, warmup=10 / 110, decay="constant") == 1


def test_no_weight_decay_on_biases_and_norms() -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    decayed, free = parameter_groups(module, 0.1)
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 1, 3, 3), (2, 4)]
    assert decayed["weight_decay"] == 0.1 and free["weight_decay"] == 0.0
    assert sum(p.numel() for p in free["params"]) == 4 + 4 + 4 + 2
    optimizer = torch.optim.SGD([{**group} for group in parameter_groups(module, 0.1)])
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]


def test_an_epoch_sees_every_image_once() -> None:
    batches = [batch_indices(step, count=23, batch_size=5, seed=0) for step in range(8)]
    first, second = torch.cat(batches[:4]), torch.cat(batches[4:])
    assert len(first.unique()) == len(second.unique()) == 20
    assert not torch.equal(first, second)


def small(**changes: Any) -> SmallCNN:
    given: dict[str, Any] = {"width": 4, "depth": 3, "features": 8, "activation": "relu", "norm": "batch"}
    return SmallCNN((1, 12, 12), **(given | {"dropout": 0.0} | changes))


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_each_convolution_is_a_layer_with_its_norm(norm: str) -> None:
    model = small(depth=4, norm=norm)
    found = layers(model)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert [layer[0] for layer in found] == convolutions
    assert [len(layer) for layer in found] == [1 if norm == "none" else 2] * 4
    assert every_parameter_once(found, model)


def test_stem_and_blocks_are_the_layers_of_a_resnet() -> None:
    model = ResNet((3, 16, 16), depth=18, stem="small", zero_init_residual=False)
    found = layers(model)
    blocks = [*model.layer1, *model.layer2, *model.layer3, *model.layer4]
    assert [layer[0] for layer in found] == [model.conv1, *blocks]
    assert found[0][1] is model.bn1 and every_parameter_once(found, model)


def test_parameters_of_the_encoder_itself_belong_to_the_first_layer() -> None:
    class Token(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token, self.first, self.second = nn.Parameter(torch.zeros(4)), nn.Linear(2, 3), nn.Linear(3, 4)

    model = Token()
    found = layers(model)
    assert every_parameter_once(found, model) and any(p is model.token for p in found[0].parameters())


def every_parameter_once(found: list[nn.ModuleList], model: nn.Module) -> bool:
    return sorted(id(p) for layer in found for p in layer.parameters()) == sorted(id(p) for p in model.parameters())


def test_the_blocks_of_a_vit_and_the_stages_of_a_timm_backbone_are_layers() -> None:
    vit = ViT(
        (1, 8, 8), patch=4, width=8, depth=3, heads=2, mlp_ratio=2.0, activation="gelu", dropout=0.0, drop_path=0.0
    )
    found = layers(vit)
    assert [layer[0] for layer in found] == [vit.patch_embed, *vit.blocks] and every_parameter_once(found, vit)
    dims: dict[str, Any] = {"depths": [1, 1, 1, 1], "dims": [8, 8, 8, 16], "patch_size": 2}
    backbone = TimmBackbone((1, 16, 16), architecture="convnext_atto", arguments=dims)
    found = layers(backbone)
    assert len(found) == 5 and every_parameter_once(found, backbone)


def sgd(*, layer_decay: float) -> Optimizer:
    return Optimizer(
        factory={"_target_": "torch.optim.SGD", "_partial_": True},
        learning_rate=0.1,
        scaling="none",
        weight_decay=0.1,
        clip=1.0,
        layer_decay=layer_decay,
    )


def test_each_layer_learns_at_a_fraction_of_the_next_ones_rate() -> None:
    with global_generator(0, "test"):
        projector = partial(Projector, width=4, depth=2, dimension=4)
        method = SimCLR(small(depth=3), projector=projector, temperature=0.2)
    optimizer = optimizer_of(method, sgd(layer_decay=0.5))
    scale = {id(p): group["scale"] for group in optimizer.param_groups for p in group["params"]}
    assert {scale[id(p)] for p in method.projector.parameters()} == {1.0}
    of_layers = [{scale[id(p)] for p in layer.parameters()} for layer in layers(method.encoder)]
    assert of_layers == [{0.125}, {0.25}, {0.5}] and len(scale) == len(list(method.parameters()))
    plain = optimizer_of(method, sgd(layer_decay=1.0))
    assert not any("scale" in group for group in plain.param_groups)
    with pytest.raises(ValueError, match=r"optimizer\.layer_decay must be > 0 and <= 1, got 1\.5"):
        optimizer_of(method, sgd(layer_decay=1.5))
