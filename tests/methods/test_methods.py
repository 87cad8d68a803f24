"""One contract over every conf/method/*.yaml, and the losses against independent references."""

from __future__ import annotations

import copy
import itertools
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightly.loss import (
    BarlowTwinsLoss,
    DINOLoss,
    NegativeCosineSimilarity,
    NTXentLoss,
    SwaVLoss,
    VICRegLoss,
)
from lightly.loss.swav_loss import sinkhorn as lightlys_sinkhorn
from lightly.models.modules import NNMemoryBankModule
from lightly.models.utils import patchify
from torch import Tensor, nn

from src.methods.barlow_twins import cross_correlation, redundancy_reduction
from src.methods.byol import BYOL, regression_loss
from src.methods.dino import DINO
from src.methods.ijepa import block_size, placed_blocks, without
from src.methods.jigsaw import distant_permutations, tiles_of
from src.methods.lejepa import prediction, sigreg
from src.methods.mae import patches_of, random_split, standardised
from src.methods.method import Method
from src.methods.moco import batch_info_nce, info_nce
from src.methods.nnclr import nearest, nearest_neighbour_loss
from src.methods.prototypes import Prototypes, cross_prediction
from src.methods.queue import Queue
from src.methods.rotation import turned
from src.methods.simclr import nt_xent
from src.methods.simsiam import negative_cosine
from src.methods.swav import sinkhorn
from src.methods.vicreg import covariance, invariance, variance
from src.models.cnn import SmallCNN
from src.models.vit import ViT
from src.runtime.build import build
from src.runtime.rng import generator, global_generator
from src.trial.loop import step_flops
from tests.composed import method_settings, settings_of
from tests.project import ROOT

CONFIGS = sorted((ROOT / "conf" / "method").glob("*.yaml"))
MASKED = ("mae", "ijepa")  # need a transformer
ONE_SIDED = ("moco",)  # with a queue, one view asks and the other answers
SIZE = 12


composed_method = cache(method_settings)  # composing takes a while


def config_of(path: Path) -> dict[str, Any]:
    config = copy.deepcopy(composed_method(path.stem))
    for head in ("projector", "predictor"):
        if config.get(head):
            config[head] |= {"width": 16, "dimension": 8}
    for key, small in (("queue", 64), ("prototypes", 24)):
        if config.get(key):
            config[key] = small
    return config


def encoder_of(path: Path) -> nn.Module:
    if path.stem in MASKED:
        return ViT(
            (1, SIZE, SIZE),
            patch=4,
            width=16,
            depth=2,
            heads=2,
            mlp_ratio=2.0,
            activation="gelu",
            dropout=0.0,
            drop_path=0.0,
        )
    return SmallCNN((1, SIZE, SIZE), width=4, depth=3, features=12, activation="relu", norm="batch", dropout=0.0)


def method_of(path: Path, seed: int = 0) -> Method:
    with global_generator(seed, "test"):
        method: Method = build("method", config_of(path), encoder_of(path))
    return method


def inputs_of(method: Method, n: int = 16, seed: int = 0) -> list[Tensor]:
    """Views as the loop makes them: a batch, and smaller ones where the method takes them."""
    draw = generator(seed, "test views")
    x = [torch.randn(method.views * n, 1, SIZE, SIZE, generator=draw)]
    if method.local_views:
        x.append(torch.randn(method.local_views * n, 1, SIZE // 2, SIZE // 2, generator=draw))
    return x


def loss_of(method: Method, seed: int = 0, n: int = 16) -> Tensor:
    with global_generator(seed, "step"):
        loss: Tensor = method(*inputs_of(method, n, seed))
    return loss


def trained(method: Method, optimizer: torch.optim.Optimizer, steps: range) -> list[Tensor]:
    """A few steps on fresh views; everything the method keeps."""
    for step in steps:
        optimizer.zero_grad()
        loss_of(method, step).backward()
        optimizer.step()
        method.after_step((step + 1) / 4)
    return [value.clone() for value in method.state_dict().values()]


def embeddings(seed: int, n: int = 24, d: int = 10) -> tuple[Tensor, Tensor]:
    z = torch.randn(2, n, d, generator=generator(seed, "test z"))
    return z[0], z[0] + 0.5 * z[1]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
class TestContract:
    def test_loss_is_finite_and_reaches_what_is_trained(self, path: Path) -> None:
        method = method_of(path)
        loss = loss_of(method)
        assert torch.isfinite(loss) and loss.ndim == 0
        loss.backward()
        for name, parameter in method.named_parameters():
            if name.startswith("teacher."):
                assert parameter.grad is None and not parameter.requires_grad, name
            elif parameter.requires_grad:
                assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
            else:
                assert path.stem == "untrained" and parameter.grad is None, name
        reached = any(p.grad is not None and bool(p.grad.any()) for p in method.encoder.parameters())
        assert reached == (path.stem != "untrained")

    def test_diagnostics_are_finite_numbers_without_a_gradient(self, path: Path) -> None:
        method = method_of(path)
        loss_of(method)
        for name, value in method.diagnostics.items():
            assert value.ndim == 0 and torch.isfinite(value) and not value.requires_grad, name

    def test_exchanging_the_views_changes_nothing(self, path: Path) -> None:
        method = method_of(path).eval()
        first, *local = inputs_of(method)
        losses = []
        for views in (first, torch.cat(first.chunk(method.views)[::-1])):
            with global_generator(0, "same directions"):
                losses.append(float(method(views, *local).detach()))
        same = losses[0] == pytest.approx(losses[1], rel=1e-5)
        assert same == (path.stem not in ONE_SIDED)

    def test_two_steps_are_bit_equal_from_one_seed(self, path: Path) -> None:
        def after_two_steps() -> list[Tensor]:
            method = method_of(path, seed=5)
            return trained(method, torch.optim.AdamW(method.parameters()), range(2))

        assert all(torch.equal(a, b) for a, b in zip(after_two_steps(), after_two_steps(), strict=True))

    def test_a_resumed_run_is_bit_equal(self, path: Path) -> None:
        """Teachers, queues, centres and prototypes included: all that matters is in the state."""
        whole = method_of(path)
        expected = trained(whole, torch.optim.AdamW(whole.parameters()), range(4))
        first = method_of(path)
        optimizer = torch.optim.AdamW(first.parameters())
        trained(first, optimizer, range(2))
        second = method_of(path, seed=9)
        again = torch.optim.AdamW(second.parameters())
        second.load_state_dict(first.state_dict())
        again.load_state_dict(optimizer.state_dict())
        assert all(torch.equal(a, b) for a, b in zip(expected, trained(second, again, range(2, 4)), strict=True))

    def test_measuring_the_loss_changes_nothing(self, path: Path) -> None:
        method = method_of(path).eval()
        before = [value.clone() for value in method.state_dict().values()]
        with torch.no_grad():
            loss_of(method)
        assert all(torch.equal(a, b) for a, b in zip(before, method.state_dict().values(), strict=True))

    def test_operations_can_be_counted_without_computing(self, path: Path) -> None:
        augmentation = build("augmentation", settings_of("augmentation=digits").augmentation)
        with torch.device("meta"):
            method = method_of(path)
        counts = {step_flops(method, augmentation, (1, SIZE, SIZE), 16) for _ in range(3)}
        assert len(counts) == 1 and (counts.pop() > 0) == (path.stem != "untrained")

    def test_learns_a_batch(self, path: Path) -> None:
        method = method_of(path)
        optimizer = torch.optim.AdamW(method.parameters(), lr=0.01)
        losses = []
        for step in range(60):
            optimizer.zero_grad()
            with global_generator(step, "step"):
                loss = method(*inputs_of(method, n=8))
            loss.backward()
            optimizer.step()
            method.after_step(0.5)
            losses.append(float(loss.detach()))
        if path.stem == "untrained":
            assert losses == [0.0] * 60
        else:
            start, end = np.mean(losses[:5]), np.mean(losses[-5:])
            assert end < start - 0.05 * abs(start)

    def test_bad_values_are_refused_at_construction(self, path: Path) -> None:
        encoder, config = encoder_of(path), config_of(path)
        for key, value in config.items():
            if isinstance(value, (int, float)):
                for bad in (-1, float("nan"), "0.1", None, 1 if isinstance(value, bool) else True):
                    with pytest.raises(ValueError, match=f"method.{key} must be"):
                        build("method", config | {key: bad}, encoder)
        if "projector" in config:
            with pytest.raises(ValueError, match=r"projector\.width must be a whole number >= 1, got 0\.5"):
                build("method", config | {"projector": config["projector"] | {"width": 0.5}}, encoder)
        with pytest.raises(ValueError, match="unexpected keyword argument"):
            build("method", config | {"temprature": 1}, encoder)


@pytest.mark.parametrize("name", MASKED)
def test_methods_that_mask_patches_refuse_other_encoders(name: str) -> None:
    path = ROOT / f"conf/method/{name}.yaml"
    with pytest.raises(ValueError, match=rf"^method={name} masks patches and needs a transformer: choose model=vit$"):
        build("method", config_of(path), encoder_of(ROOT / "conf/method/simclr.yaml"))


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_nt_xent_against_lightly_and_the_formula(temperature: float) -> None:
    z_a, z_b = embeddings(0)
    ours = float(nt_xent(z_a, z_b, temperature=temperature))
    assert ours == pytest.approx(float(NTXentLoss(temperature=temperature)(z_a, z_b)), rel=1e-5)
    z = torch.cat([z_a, z_b]).double().numpy()
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    n, terms = len(z_a), []
    for i in range(2 * n):
        similar = np.exp(z @ z[i] / temperature)
        terms.append(-np.log(similar[(i + n) % (2 * n)] / (similar.sum() - similar[i])))
    assert ours == pytest.approx(np.mean(terms), rel=1e-5)


def test_nt_xent_of_perfect_pairs_on_orthogonal_axes() -> None:
    z = torch.eye(4)
    assert float(nt_xent(z, z, temperature=1.0)) == pytest.approx(float(np.log(np.e + 6) - 1), rel=1e-6)


def test_vicreg_against_lightly() -> None:
    z_a, z_b = embeddings(1)
    ours = 25 * invariance(z_a, z_b) + 25 * (variance(z_a) + variance(z_b)) / 2 + covariance(z_a) + covariance(z_b)
    assert float(ours) == pytest.approx(float(VICRegLoss(25.0, 25.0, 1.0)(z_a, z_b)), rel=1e-5)


def test_vicreg_terms_by_hand() -> None:
    z = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    assert float(invariance(z, -z)) == 4
    assert float(variance(torch.zeros(4, 3))) == pytest.approx(0.99)
    assert float(variance(2 * z)) == 0
    assert float(covariance(z)) == pytest.approx(2 * 2**2 / 2)  # both covariances are 2, two of them, over d = 2


def test_byol_loss_is_lightlys() -> None:
    p, z = embeddings(2)
    ours = float(regression_loss(p, z))
    assert ours == pytest.approx(2 + 2 * float(NegativeCosineSimilarity()(p, z)), rel=1e-5)
    assert float(regression_loss(z, 3 * z)) == pytest.approx(0, abs=1e-6)
    assert float(regression_loss(z, -z)) == pytest.approx(4)


def test_byols_teacher_follows_at_its_momentum() -> None:
    """theta_t = m theta_t + (1 - m) theta, with m rising from its start to 1 along a cosine."""
    method = method_of(ROOT / "conf/method/byol.yaml")
    assert isinstance(method, BYOL)
    start = {name: value.clone() for name, value in method.teacher.named_parameters()}
    online = dict(torch.nn.Sequential(method.encoder, method.projector).named_parameters())
    with torch.no_grad():
        for parameter in online.values():
            parameter.add_(1.0)
    for progress, momentum in ((1.0, 1.0), (0.5, 1 - 0.02 / 2), (0.0, 0.98)):
        before = {name: value.clone() for name, value in method.teacher.named_parameters()}
        method.after_step(progress)
        for name, value in method.teacher.named_parameters():
            assert torch.allclose(value, momentum * before[name] + (1 - momentum) * online[name], atol=1e-6)
    assert any(not torch.equal(value, start[name]) for name, value in method.teacher.named_parameters())


def test_barlow_twins_against_lightly_and_the_formula() -> None:
    z_a, z_b = embeddings(3)
    ours = float(redundancy_reduction(cross_correlation(z_a, z_b), off_diagonal_weight=0.01))
    assert ours == pytest.approx(float(BarlowTwinsLoss(lambda_param=0.01)(z_a, z_b)), rel=1e-5)
    a, b = (((z - z.mean(0)) / z.std(0)).double().numpy() for z in (z_a, z_b))
    c = a.T @ b / (len(a) - 1)
    expected = ((1 - np.diag(c)) ** 2).sum() + 0.01 * (c**2).sum() - 0.01 * (np.diag(c) ** 2).sum()
    assert ours == pytest.approx(expected, rel=1e-3)  # batch norm adds 1e-5 to each variance


def test_barlow_twins_by_hand() -> None:
    c = torch.tensor([[0.5, 2.0], [-1.0, 1.0]])
    assert float(redundancy_reduction(c, off_diagonal_weight=0.1)) == pytest.approx(0.25 + 0.1 * 5)


def test_sigreg_of_gaussian_samples_has_its_expectation() -> None:
    z = torch.randn(2, 4000, 6, generator=generator(0, "gaussian"))
    directions = torch.nn.functional.normalize(torch.randn(6, 400, generator=generator(1, "directions")), dim=0)
    assert float(sigreg(z, directions)) == pytest.approx((2 * np.pi) ** 0.5 * (1 - 3**-0.5), rel=0.15)
    assert float(sigreg(3 * z, directions)) > 100
    assert float(sigreg(0 * z, directions)) > 100


def test_lejepas_prediction_is_the_distance_to_the_mean_of_the_views() -> None:
    z = torch.tensor([[[1.0, 0.0]], [[3.0, 4.0]]])
    assert float(prediction(z)) == pytest.approx((1 + 4 + 1 + 4) / 4)


def unit(seed: int, n: int = 24, d: int = 10) -> tuple[Tensor, Tensor]:
    z_a, z_b = embeddings(seed, n, d)
    return torch.nn.functional.normalize(z_a, dim=1), torch.nn.functional.normalize(z_b, dim=1)


def softmax(logits: np.ndarray) -> np.ndarray:
    exponential = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(exponential / exponential.sum(1, keepdims=True))


def test_mocos_loss_against_the_formula() -> None:
    (q, k), (negatives, _) = unit(4), unit(5, n=40)
    ours = float(info_nce(q, k, negatives, temperature=0.3))
    a, b, c = (x.double().numpy() for x in (q, k, negatives))
    logits = np.concatenate([(a * b).sum(1)[:, None], a @ c.T], 1) / 0.3
    assert ours == pytest.approx(-np.log(softmax(logits)[:, 0]).mean(), rel=1e-5)
    in_batch = float(batch_info_nce(q, k, temperature=0.3))
    expected = -2 * 0.3 * np.log(np.diag(softmax(a @ b.T / 0.3))).mean()
    assert in_batch == pytest.approx(expected, rel=1e-5)


def test_mocos_loss_by_hand() -> None:
    x = torch.eye(2)
    assert float(info_nce(x, x, -x, temperature=1.0)) == pytest.approx(np.log(1 + np.exp(-2) + np.exp(-1)), rel=1e-6)


def test_a_queue_forgets_the_oldest_first() -> None:
    queue = Queue(5, 3)
    first, second, third = (torch.full((2, 3), float(k)) for k in (1, 2, 3))
    for batch in (first, second, third):
        queue.add(batch)
    assert sorted(queue.entries[:, 0].tolist()) == [1, 2, 2, 3, 3]
    assert sorted(queue.age.tolist()) == [0, 0, 1, 1, 2]
    queue.add(torch.arange(21.0).reshape(7, 3))  # more than it holds: the last of them
    assert sorted(queue.entries[:, 0].tolist()) == [6, 9, 12, 15, 18]


def test_simsiams_loss_is_lightlys_and_stops_the_targets_gradient() -> None:
    p, z = (x.clone().requires_grad_() for x in embeddings(6))
    loss = negative_cosine(p, z)
    assert float(loss.detach()) == pytest.approx(float(NegativeCosineSimilarity()(p, z).detach()), rel=1e-5)
    loss.backward()
    assert p.grad is not None and z.grad is None


def test_the_nearest_neighbour_is_lightlys() -> None:
    (z, _), (support, _) = unit(7), unit(8, n=60)
    bank = NNMemoryBankModule(size=(60, 10))
    bank.bank = support
    assert torch.allclose(nearest(z, support), bank(z, update=False), atol=1e-6)
    assert torch.equal(nearest(support, support), support)


def test_nnclrs_loss_against_the_formula() -> None:
    neighbours, _ = unit(9)
    p, _ = embeddings(10)
    a, b = neighbours.double().numpy(), p.double().numpy()
    b = b / np.linalg.norm(b, axis=1, keepdims=True)
    logits = a @ b.T / 0.2
    expected = -(np.log(np.diag(softmax(logits))) + np.log(np.diag(softmax(logits.T)))).mean() / 2
    assert float(nearest_neighbour_loss(neighbours, p, temperature=0.2)) == pytest.approx(expected, rel=1e-5)


def test_codes_are_lightlys_and_use_all_prototypes_alike() -> None:
    scores = torch.randn(64, 12, generator=generator(0, "scores")).clamp(-1, 1)
    ours = sinkhorn(scores, epsilon=0.1, iterations=3)
    assert torch.allclose(ours, lightlys_sinkhorn(scores, iterations=3, epsilon=0.1), atol=1e-6)
    settled = sinkhorn(scores, epsilon=0.1, iterations=300)
    assert torch.allclose(settled.sum(1), torch.ones(64)) and torch.allclose(settled.sum(0), torch.full((12,), 64 / 12))
    assert sinkhorn(scores, epsilon=1e-4, iterations=3).isfinite().all()


def test_swavs_loss_is_lightlys() -> None:
    views = [torch.randn(16, 12, generator=generator(k, "swav")).clamp(-1, 1) for k in range(4)]
    codes = [sinkhorn(view, epsilon=0.05, iterations=3) for view in views[:2]]
    ours = float(cross_prediction(views, codes, temperature=0.1))
    assert ours == pytest.approx(float(SwaVLoss()(views[:2], views[2:])), rel=1e-5)


def test_dinos_loss_is_lightlys() -> None:
    views = [torch.randn(16, 12, generator=generator(k, "dino")) for k in range(5)]
    targets = [torch.softmax(view / 0.04, dim=1) for view in views[3:]]
    ours = float(cross_prediction(views[:3], targets, temperature=0.1))
    assert ours == pytest.approx(float(DINOLoss(output_dim=12)(views[3:], views[:3])), rel=1e-5)


def test_prototypes_stay_fixed_at_first() -> None:
    prototypes = Prototypes(4, count=3, freeze=0.5)
    for progress, moves in ((0.0, False), (0.4, False), (0.5, True)):
        prototypes.progress.fill_(progress)
        prototypes.weight.grad = None
        prototypes(torch.ones(2, 4) + torch.arange(4)).sum().backward()
        assert prototypes.weight.grad is not None and bool(prototypes.weight.grad.any()) == moves


def test_dinos_centre_follows_the_teachers_mean() -> None:
    method = method_of(ROOT / "conf/method/dino.yaml")
    assert isinstance(method, DINO) and isinstance(method.centre, Tensor)
    views = inputs_of(method)
    with torch.no_grad():
        expected = 0.1 * copy.deepcopy(method.teacher)(views[0]).mean(0)
    method(*views)
    assert torch.allclose(method.centre, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["moco", "moco_v3", "dino", "ijepa"])
def test_teachers_follow_at_their_momentum(name: str) -> None:
    method: Any = method_of(ROOT / f"conf/method/{name}.yaml")
    before = [value.clone() for value in method.teacher.parameters()]
    with torch.no_grad():
        for parameter in method.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)
    method.after_step(0.5)
    momentum = method.momentum if name == "moco" else 1 - (1 - method.momentum) / 2
    for old, new in zip(before, method.teacher.parameters(), strict=True):
        assert torch.allclose(new, old + (1 - momentum), atol=1e-5)


def test_maes_patches_are_lightlys_and_its_split_a_partition() -> None:
    images = torch.randn(3, 2, 8, 8, generator=generator(0, "patches"))
    ours = patches_of(images, 4).unflatten(2, (2, 4, 4)).permute(0, 1, 3, 4, 2).flatten(2)  # theirs has channels last
    assert torch.equal(ours, patchify(images, 4))
    kept, masked = random_split(50, 16, masked=12)
    assert kept.shape == (50, 4) and torch.equal(torch.cat([kept, masked], 1).sort().values[7], torch.arange(16))
    assert len({tuple(sorted(row)) for row in masked.tolist()}) > 10
    patches = standardised(patches_of(images, 4))
    assert torch.allclose(patches.mean(-1), torch.zeros(3, 4), atol=1e-5)
    assert torch.allclose(patches.std(-1), torch.ones(3, 4), atol=1e-3)


def test_maes_loss_asks_for_masked_patches_alone() -> None:
    method: Any = method_of(ROOT / "conf/method/mae.yaml")
    (x,) = inputs_of(method, n=4)
    with global_generator(3, "mask"):
        masked = random_split(4, method.tokens, method.masked)[1]
    answer = patches_of(x, 4).gather(1, masked[:, :, None].expand(-1, -1, 16))
    method.decoder.forward = lambda known, places, wanted: answer
    with global_generator(3, "mask"):
        assert float(method(x)) == 0


def test_ijepas_context_holds_nothing_of_its_targets() -> None:
    method: Any = method_of(ROOT / "conf/method/ijepa.yaml")
    grid = (8, 8)
    for seed in range(20):
        with global_generator(seed, "blocks"):
            size = block_size(grid, (0.15, 0.2), (0.75, 1.5))
            targets = [placed_blocks(30, grid, size) for _ in range(4)]
            context = without(placed_blocks(30, grid, block_size(grid, (0.85, 1.0), (1, 1))), targets, 64)
        assert 0.1 * 64 <= size[0] * size[1] <= 0.25 * 64
        for image in range(30):
            own = context[image].tolist()
            hidden = {token for target in targets for token in target[image].tolist()}
            assert len(set(own)) == len(own) >= 1 and (len(own) == 1 or not hidden & set(own))
            rows = {token // 8 for token in targets[0][image].tolist()}
            assert len(rows) == size[0] and max(rows) - min(rows) == size[0] - 1
    assert method.blocks(5)[0].shape[0] == 5


def test_rotations_are_numpys() -> None:
    images = torch.randn(2, 1, 5, 5)
    turns = turned(images).unflatten(0, (4, 2))
    for turn in range(4):
        assert np.array_equal(turns[turn, 1, 0].numpy(), np.rot90(images[1, 0].numpy(), turn))


@pytest.mark.parametrize(("grid", "size"), [(2, 8), (3, 13)])
def test_jigsaws_tiles_are_the_images(grid: int, size: int) -> None:
    images = torch.randn(3, 2, size, size)
    tiles = tiles_of(images, grid, gap=0)
    cell = size // grid
    expected = images[1, :, cell : 2 * cell, :cell]  # the second row's first
    expected = (expected - expected.mean()) / (expected.std() + 1e-3)
    assert torch.allclose(tiles[1, grid], expected, atol=1e-6)
    with global_generator(0, "tiles"):
        assert tiles_of(images, grid, gap=1).shape == (3, grid * grid, 2, cell - 1, cell - 1)


def test_permutations_are_different_and_far_apart() -> None:
    assert sorted(distant_permutations(4, 24)) == sorted(map(list, itertools.permutations(range(4))))
    chosen = np.array(distant_permutations(9, 30))
    assert (np.sort(chosen, axis=1) == np.arange(9)).all()
    apart = (chosen[:, None] != chosen[None]).sum(2)[~np.eye(30, dtype=bool)]
    assert apart.min() >= 7  # two permutations drawn at random differ in 8 of 9 places on average, at least in 2
    assert distant_permutations(9, 30) == chosen.tolist()


def test_an_untrained_encoder_stays_as_it_was() -> None:
    method = method_of(ROOT / "conf/method/untrained.yaml")
    before = [value.clone() for value in method.encoder.state_dict().values()]
    trained(method, torch.optim.AdamW(method.parameters(), lr=1.0, weight_decay=1.0), range(3))
    assert all(torch.equal(a, b) for a, b in zip(before, method.encoder.state_dict().values(), strict=True))
