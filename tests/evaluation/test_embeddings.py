"""Embeddings are taken in eval mode, image by image, and their operations are counted as they are spent."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from src.data.pack import Manifest, open_images
from src.evaluation.criterion import Protocol
from src.evaluation.embeddings import (
    CHUNK,
    Embeddings,
    embed,
    encode,
    evaluation_flops,
    held_out_losses,
    views_of,
)
from src.methods.method import Method
from src.runtime.device import set_up
from src.trial.config import Space
from src.trial.identity import Trial
from src.trial.method import build_method
from src.trial.run import run_trial
from tests.composed import packed, settings_of, trial_of

ZEROS = torch.zeros(4, 1, 20, 20, dtype=torch.uint8)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    set_up("cpu", 1)
    return packed(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trial(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    trial = trial_of(manifest, tmp_path_factory.mktemp("store"))
    for _ in run_trial(trial, manifest, device="cpu", checkpoint_seconds=1e9):
        pass
    return trial


@pytest.fixture(scope="module")
def method(trial: Trial, manifest: Manifest) -> Method:
    return trial.method(trial.steps, manifest.shape)


def images_of(manifest: Manifest, split: str, count: int) -> UInt8[Tensor, "n c h w"]:
    return torch.from_numpy(np.array(open_images(manifest, split)[:count]))


def protocol_of(*overrides: str) -> Protocol:
    return settings_of(*(f"evaluation.{override}" for override in overrides)).evaluation


def test_training_mode_is_refused(trial: Trial, manifest: Manifest) -> None:
    method = build_method(trial.config, manifest.shape)
    method.train()
    with pytest.raises(RuntimeError, match="eval mode"):
        embed(method, ZEROS, trial, manifest, protocol_of(), turned=False)
    with pytest.raises(RuntimeError, match="eval mode"):
        held_out_losses(method, ZEROS, trial, manifest, protocol_of())
    with pytest.raises(RuntimeError, match="eval mode"):
        encode(method.encoder, ZEROS, manifest)


def test_views_are_grouped_by_image(trial: Trial, method: Method, manifest: Manifest) -> None:
    """Under a recipe of nothing every view of an image embeds as the image itself."""
    images = images_of(manifest, "pretrain", 64)
    spaces = embed(method, images, trial, manifest, protocol_of("reference.strength=0"), turned=True)
    sizes: dict[Space, int] = {"h": 16, "z": 8}
    for space, d in sizes.items():
        e = spaces[space]
        assert e.images.shape == (64, d) and e.reference.shape == e.own.shape == (64, 3, d)
        assert torch.allclose(e.reference, e.images[:, None].expand(-1, 3, -1), atol=1e-5)
        assert not torch.allclose(e.own, e.images[:, None].expand(-1, 3, -1), atol=1e-2)
        assert e.rotations is not None and torch.allclose(e.rotations[0], e.images, atol=1e-5)
        assert not torch.allclose(e.rotations[1], e.images, atol=1e-2)


def test_the_held_out_loss_is_the_trials_own_on_images_it_never_saw(
    trial: Trial, method: Method, manifest: Manifest
) -> None:
    protocol, images = protocol_of(), images_of(manifest, "probe", 64)
    losses = held_out_losses(method, images, trial, manifest, protocol)
    assert losses.shape == (2,) and bool(torch.isfinite(losses).all())
    untrained = build_method(trial.config, manifest.shape).eval()
    assert losses.mean() < held_out_losses(untrained, images, trial, manifest, protocol).mean()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert torch.equal(losses, held_out_losses(method, images, trial, manifest, protocol))
    assert torch.equal(torch.get_rng_state(), before)  # draws of its own


def test_images_embed_alike_in_whichever_chunk_they_come(trial: Trial, method: Method, manifest: Manifest) -> None:
    images = images_of(manifest, "pretrain", CHUNK + 44)
    spaces = embed(method, images, trial, manifest, protocol_of(), turned=False)
    assert spaces["h"].rotations is None and spaces["h"].images.shape == (CHUNK + 44, 16)
    last = encode(method.encoder, images[CHUNK:], manifest)
    assert torch.allclose(spaces["h"].images[CHUNK:], last, atol=1e-5)
    assert torch.allclose(spaces["h"].images, encode(method.encoder, images, manifest), atol=1e-5)


def test_a_half_is_the_same_images_everywhere(trial: Trial, method: Method, manifest: Manifest) -> None:
    images, protocol = images_of(manifest, "pretrain", 64), protocol_of("pairwise_images=10")
    whole = embed(method, images, trial, manifest, protocol, turned=True)["z"]
    index = torch.tensor([40, 3, 17])
    half = whole.half(index)
    assert torch.equal(half.images, whole.images[index]) and torch.equal(half.subset, half.images)
    assert torch.equal(half.reference, whole.reference[index]) and torch.equal(half.views, half.reference)
    assert torch.equal(half.own, whole.own[index])
    assert whole.rotations is not None and half.rotations is not None
    assert torch.equal(half.rotations, whole.rotations[:, index])
    assert torch.equal(whole.subset, whole.images[:10])


def test_decompositions_are_those_of_the_images_and_made_once() -> None:
    e = torch.randn(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    views = e[:, None].expand(-1, 2, -1)
    embeddings = Embeddings(e, views, views, None, pairwise=50)
    assert torch.allclose(embeddings.singular_values, torch.linalg.svdvals(e).to(embeddings.singular_values))
    expected = torch.linalg.eigvalsh(torch.cov(e.T))
    assert torch.allclose(embeddings.eigenvalues.sort().values, expected.to(embeddings.eigenvalues))
    assert embeddings.eigenvalues is embeddings.eigenvalues
    assert embeddings.singular_values is embeddings.singular_values


def test_views_of_labelled_images_are_the_reference_recipes(method: Method, manifest: Manifest) -> None:
    images = images_of(manifest, "probe", 20)
    plain = encode(method.encoder, images, manifest)
    still = views_of(method, images, manifest, protocol_of("reference.strength=0"), 3)
    assert torch.allclose(still, plain[:, None].expand(-1, 3, -1), atol=1e-5)
    views = views_of(method, images, manifest, protocol_of(), 3)
    assert torch.equal(views, views_of(method, images, manifest, protocol_of(), 3))
    assert not torch.allclose(views[:, 0], views[:, 1], atol=1e-2)
    assert not torch.equal(views, views_of(method, images, manifest, protocol_of("seed=1"), 3))


@pytest.mark.parametrize("views", [2, 5])
def test_counted_operations_are_those_of_embedding(
    trial: Trial, method: Method, manifest: Manifest, views: int
) -> None:
    protocol = protocol_of("images=30", f"views={views}")
    with FlopCounterMode(display=False) as counter:
        embed(method, images_of(manifest, "pretrain", 30), trial, manifest, protocol, turned=False)
    spent = counter.get_flop_counts()  # a recipe's own operations, blurring and turning, are not counted
    modules = [type(part).__name__ for part in (method.encoder, method.projector)]
    assert evaluation_flops(trial.config, manifest, protocol) == sum(sum(spent[name].values()) for name in modules) > 0
