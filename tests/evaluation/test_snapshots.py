"""Embeddings and features are taken in eval mode, criteria from fixed images and one reference recipe."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src.criteria.rankme import rankme
from src.criteria.spectra import eigenvalues, singular_values
from src.data.pack import Manifest, open_images, read_manifest
from src.evaluation.definitions import load_criteria
from src.evaluation.embeddings import embed, encode, held_out_losses
from src.evaluation.snapshots import Evaluation, spectrum
from src.probe.features import Split, trial_features
from src.runtime import files
from src.runtime.device import set_up
from src.trial.identity import Trial, build_method
from src.trial.loop import Normalise
from src.trial.run import run_trial
from tests.composed import packed, settings_of, trial_of
from tests.project import ROOT

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


def evaluation_of(trial: Trial, manifest: Manifest, **changes: Any) -> Evaluation:
    settings = settings_of()
    criteria = load_criteria(ROOT / "conf" / "criterion", settings["criterion"])
    return Evaluation(trial, manifest, settings["evaluation"] | changes, criteria)


def test_training_mode_is_refused(trial: Trial, manifest: Manifest) -> None:
    method = build_method(trial.config, manifest.shape)
    method.train()
    with pytest.raises(RuntimeError, match="eval mode"):
        embed(method, ZEROS, trial, manifest, settings_of()["evaluation"], turned=False)
    with pytest.raises(RuntimeError, match="eval mode"):
        held_out_losses(method, ZEROS, trial, manifest, settings_of()["evaluation"])
    with pytest.raises(RuntimeError, match="eval mode"):
        encode(method.encoder, ZEROS, manifest)


def test_views_are_grouped_by_image(trial: Trial, manifest: Manifest) -> None:
    """Under a recipe of nothing every view of an image embeds as the image itself."""
    protocol = settings_of("evaluation.reference.strength=0")["evaluation"]
    evaluation = evaluation_of(trial, manifest)
    method = trial.method(60, manifest.shape)
    spaces = embed(method, evaluation._subset, trial, manifest, protocol, turned=True)
    for space, d in (("h", 16), ("z", 8)):
        e = spaces[space]
        assert e.images.shape == (64, d) and e.reference.shape == e.own.shape == (64, 3, d)
        assert torch.allclose(e.reference, e.images[:, None].expand(-1, 3, -1), atol=1e-5)
        assert not torch.allclose(e.own, e.images[:, None].expand(-1, 3, -1), atol=1e-2)
        assert e.rotations is not None and torch.allclose(e.rotations[0], e.images, atol=1e-5)
        assert not torch.allclose(e.rotations[1], e.images, atol=1e-2)


def test_criteria_are_those_of_the_snapshots_embeddings(trial: Trial, manifest: Manifest) -> None:
    evaluation = evaluation_of(trial, manifest)
    evaluation.measure(60, 1.5)
    method = trial.method(60, manifest.shape)
    with torch.no_grad():
        x = Normalise(manifest.mean, manifest.std, "cpu")(evaluation._subset.float() / 255)
        z = method.projector(method.encoder(x))
    assert evaluation.column("rankme_z")[60] == pytest.approx(rankme(singular_values(z), eps=1e-7), rel=1e-4)
    assert evaluation.column("train_loss")[60] == 1.5
    assert evaluation.column("lidar_z")[60] != evaluation.column("lidar_z", "own")[60]
    halves = evaluation.column("rankme_h", "halves")
    assert {step: len(found) for step, found in halves.items()} == {60: settings_of()["evaluation"]["halves"]}
    assert "alpha_req" in evaluation.refusal("alpha_req_h")
    assert "training turns its views: set augmentation.rotate.radians=0" in evaluation.refusal("rotation_probe_h")


def test_noise_is_measured_on_the_last_snapshot_alone_also_while_training_goes_on(
    manifest: Manifest, tmp_path: Path
) -> None:
    trial = trial_of(manifest, tmp_path, "schedule.evaluations=2")
    evaluation = evaluation_of(trial, manifest)
    for progress in run_trial(trial, manifest, device="cpu", checkpoint_seconds=1e9):
        if progress.snapshot:
            evaluation.measure(int(progress.row["step"]), progress.row["loss"])
    assert sorted(evaluation.column("lidar_z")) == [trial.steps // 2, trial.steps]
    assert list(evaluation.column("lidar_z", "halves")) == [trial.steps]


def test_the_held_out_loss_is_the_trials_own_on_images_it_never_saw(trial: Trial, manifest: Manifest) -> None:
    protocol = settings_of()["evaluation"]
    images = torch.from_numpy(np.array(open_images(manifest, "probe")[:64]))
    losses = held_out_losses(trial.method(60, manifest.shape), images, trial, manifest, protocol)
    assert losses.shape == (2,) and bool(torch.isfinite(losses).all())
    assert torch.equal(losses, held_out_losses(trial.method(60, manifest.shape), images, trial, manifest, protocol))
    assert (
        losses.mean()
        < held_out_losses(build_method(trial.config, manifest.shape).eval(), images, trial, manifest, protocol).mean()
    )


def test_a_criterion_added_later_measures_only_itself(trial: Trial, manifest: Manifest) -> None:
    evaluation = evaluation_of(trial, manifest, seed=3)
    few = {name: c for name, c in evaluation.criteria.items() if c["name"] == "lidar"}
    evaluation.criteria = few
    evaluation.measure(60, 1.0)
    before = dict(evaluation.values["60"])
    later = evaluation_of(trial, manifest, seed=3)
    later.measure(60, 1.0)
    assert before.items() <= later.values["60"].items() and len(later.values["60"]) > len(before) + 20


def test_the_rotation_probe_needs_upright_images_and_training_that_never_turned_them(
    manifest: Manifest, tmp_path: Path
) -> None:
    still = trial_of(manifest, tmp_path, "augmentation.rotate.radians=0")
    evaluation = evaluation_of(still, manifest)
    criterion = evaluation.criteria["rotation_probe_h"]
    assert "needs images with a way up: set data.oriented=true" in evaluation._invalid("rotation_probe_h", criterion)
    evaluation.manifest = manifest._replace(oriented=True)
    assert evaluation._invalid("rotation_probe_h", criterion) == ""


def test_another_protocol_is_another_record(trial: Trial, manifest: Manifest) -> None:
    paths = {evaluation_of(trial, manifest, **c).path for c in ({}, {"views": 4}, {"images": 32}, {"seed": 1})}
    assert len(paths) == 4


def test_watching_leaves_training_as_it_was(trial: Trial, manifest: Manifest) -> None:
    method = build_method(trial.config, manifest.shape)
    method.train()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    evaluation = evaluation_of(trial, manifest, seed=7)
    evaluation.watch(1, method)
    assert method.training
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    assert len(evaluation.spectrum("z")[1]) == 8


def test_spectrum_is_that_of_the_centred_covariance() -> None:
    e = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 7) + 3
    expected = torch.linalg.eigvalsh(torch.cov(e.double().T)).flip(0)
    assert spectrum(eigenvalues(e)) == pytest.approx(expected.tolist(), rel=1e-5)


def test_features_of_the_last_snapshot_are_cached(trial: Trial, manifest: Manifest) -> None:
    splits = [Split(manifest, "probe"), Split(manifest, "val")]
    first = trial_features(trial, 60, splits)
    assert len(list((trial.folder / "features").iterdir())) == 1
    again = trial_features(trial, 60, splits)
    assert all(torch.equal(first[name], again[name]) for name in first)
    trial_features(trial, 30, splits)
    assert len(list((trial.folder / "features").iterdir())) == 1


@pytest.mark.parametrize(
    ("kept", "split", "message"),
    [
        (lambda group: group, "val", "has no classes to probe with"),
        (lambda group: f"{group},{'class' if group == 'group' else 4}", "probe", "has one class in probe"),
    ],
)
def test_labels_that_nothing_can_be_probed_with_are_refused(
    kept: Callable[[str], str], split: str, message: str, manifest: Manifest, tmp_path: Path
) -> None:
    shutil.copytree(manifest.folder, tmp_path / "unlabelled")
    labels = tmp_path / "unlabelled" / "labels"
    for name in ("probe", "val", "test"):
        groups = [line.split(",")[0] for line in (labels / f"{name}.csv").read_text().splitlines()]
        rows = [kept(group) for group in groups]
        (labels / f"{name}.csv").write_text("\n".join(rows) + "\n")
    checksums = {name: files.checksum(labels / f"{name}.csv") for name in ("probe", "val", "test")}
    files.write_json(labels / "manifest.json", files.read_json(labels / "manifest.json") | {"checksums": checksums})
    with pytest.raises(ValueError, match=message):
        Split(read_manifest(tmp_path / "unlabelled"), split)
