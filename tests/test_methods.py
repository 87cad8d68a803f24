"""One contract over every conf/method/*.yaml, and the losses against independent references."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightly.loss import BarlowTwinsLoss, NegativeCosineSimilarity, NTXentLoss, VICRegLoss
from omegaconf import OmegaConf
from torch import Tensor, nn

from src.build import build
from src.methods.barlow_twins import cross_correlation, redundancy_reduction
from src.methods.byol import BYOL, regression_loss
from src.methods.lejepa import prediction, sigreg
from src.methods.simclr import nt_xent
from src.methods.vicreg import covariance, invariance, variance
from src.models.cnn import SmallCNN
from src.rng import generator, global_generator
from tests.project import ROOT

CONFIGS = sorted((ROOT / "conf" / "method").glob("*.yaml"))


def config_of(path: Path) -> dict[str, Any]:
    loaded = OmegaConf.create({"method": yaml.safe_load(path.read_text())})
    for head in {"projector", "predictor"} & set(loaded.method):
        loaded.method[head].width = 16
    loaded.method.projector.dimension = 8
    config: Any = OmegaConf.to_container(loaded, resolve=True)
    return dict(config["method"])


def method_of(path: Path, seed: int = 0) -> nn.Module:
    with global_generator(seed, "test"):
        encoder = SmallCNN(1, width=4, depth=3, features=12, activation="relu", norm="batch", dropout=0.0)
        method: nn.Module = build(config_of(path), encoder)
    return method


def two_views(n: int = 16, seed: int = 0) -> Tensor:
    return torch.randn(2 * n, 1, 12, 12, generator=generator(seed, "test views"))


def embeddings(seed: int, n: int = 24, d: int = 10) -> tuple[Tensor, Tensor]:
    z = torch.randn(2, n, d, generator=generator(seed, "test z"))
    return z[0], z[0] + 0.5 * z[1]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
class TestContract:
    def test_loss_is_finite_and_reaches_every_parameter(self, path: Path) -> None:
        method = method_of(path)
        loss = method(two_views())
        assert torch.isfinite(loss) and loss.ndim == 0
        loss.backward()
        for name, parameter in method.named_parameters():
            if name.startswith("teacher."):
                assert parameter.grad is None and not parameter.requires_grad, name
            else:
                assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert any(p.grad is not None and bool(p.grad.any()) for p in method.encoder.parameters())  # type: ignore[union-attr]

    def test_exchanging_the_views_changes_nothing(self, path: Path) -> None:
        method, x = method_of(path).eval(), two_views()
        losses = []
        for views in (x, torch.cat(x.chunk(2)[::-1])):
            with global_generator(0, "same directions"):
                losses.append(float(method(views).detach()))
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)

    def test_two_steps_are_bit_equal_from_one_seed(self, path: Path) -> None:
        def after_two_steps() -> list[Tensor]:
            method = method_of(path, seed=5)
            optimizer = torch.optim.AdamW(method.parameters())
            for step in range(2):
                optimizer.zero_grad()
                with global_generator(5, "step", step):
                    method(two_views(seed=step)).backward()
                optimizer.step()
                method.after_step((step + 1) / 2)  # type: ignore[operator]
            return list(method.state_dict().values())

        assert all(torch.equal(a, b) for a, b in zip(after_two_steps(), after_two_steps(), strict=True))

    def test_learns_to_tell_a_batch_apart(self, path: Path) -> None:
        method, x = method_of(path), two_views(n=8)
        optimizer = torch.optim.AdamW(method.parameters(), lr=0.01)
        losses = []
        for _ in range(30):
            optimizer.zero_grad()
            loss = method(x)
            loss.backward()
            optimizer.step()
            method.after_step(0.5)  # type: ignore[operator]
            losses.append(float(loss.detach()))
        assert losses[-1] < 0.7 * losses[0]

    def test_bad_values_are_refused_at_construction(self, path: Path) -> None:
        encoder = SmallCNN(1, width=4, depth=3, features=12, activation="relu", norm="batch", dropout=0.0)
        config = config_of(path)
        for key, value in config.items():
            if isinstance(value, float):
                for bad in (-1, float("nan"), "0.1", None, True):
                    with pytest.raises(ValueError, match=f"method.{key} must be"):
                        build(config | {key: bad}, encoder)
        with pytest.raises(ValueError, match=r"projector\.width must be a whole number >= 1, got 0\.5"):
            build(config | {"projector": config["projector"] | {"width": 0.5}}, encoder)
        with pytest.raises(ValueError, match="unexpected keyword argument"):
            build(config | {"temprature": 1}, encoder)


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
