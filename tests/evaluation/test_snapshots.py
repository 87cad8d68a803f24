"""Criteria are measured from fixed images, each once for a protocol, and features are kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from src.criteria.rankme import rankme
from src.criteria.spectra import eigenvalues, singular_values
from src.data.pack import Manifest, read_manifest
from src.evaluation.definitions import load_criteria
from src.evaluation.snapshots import Evaluation, spectrum
from src.evaluation.validity import why_meaningless
from src.methods.method import Method
from src.methods.rotation import RotationPrediction
from src.probe.features import Split, trial_features
from src.runtime import files
from src.runtime.build import build
from src.runtime.device import set_up
from src.trial.identity import Trial
from src.trial.loop import Normalise
from src.trial.method import build_method, outline
from src.trial.run import run_trial
from tests.composed import packed, settings_of, trial_of
from tests.project import ROOT


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


def evaluation_of(trial: Trial, manifest: Manifest, *overrides: str) -> Evaluation:
    settings = settings_of(*(f"evaluation.{override}" for override in overrides))
    criteria = load_criteria(ROOT / "conf" / "criterion", settings.criterion)
    return Evaluation(trial, manifest, settings.evaluation, criteria)


def test_criteria_are_those_of_the_snapshots_embeddings(trial: Trial, manifest: Manifest) -> None:
    evaluation = evaluation_of(trial, manifest)
    evaluation.measure(60, 1.5)
    method = trial.method(60, manifest.shape)
    with torch.no_grad():
        x = Normalise(manifest.mean, manifest.std, "cpu")(evaluation._subset.float() / 255)
        z = method.projector(method.encoder(x))
    assert evaluation.kept.column("rankme_z")[60] == pytest.approx(rankme(singular_values(z), eps=1e-7), rel=1e-4)
    assert evaluation.kept.column("train_loss")[60] == 1.5
    assert evaluation.kept.column("lidar_z")[60] != evaluation.kept.own("lidar_z")[60]
    halves = evaluation.kept.halves("rankme_h")
    assert {step: len(found) for step, found in halves.items()} == {60: settings_of().evaluation.halves}
    assert "alpha_req" in evaluation.kept.refusal("alpha_req_h")
    assert "training turns its views: set augmentation.rotate.radians=0" in evaluation.kept.refusal("rotation_probe_h")


def test_noise_is_measured_on_the_last_snapshot_alone_also_while_training_goes_on(
    manifest: Manifest, tmp_path: Path
) -> None:
    trial = trial_of(manifest, tmp_path, "schedule.evaluations=2")
    evaluation = evaluation_of(trial, manifest)
    for progress in run_trial(trial, manifest, device="cpu", checkpoint_seconds=1e9):
        if progress.snapshot:
            evaluation.measure(int(progress.row["step"]), progress.row["loss"])
    assert sorted(evaluation.kept.column("lidar_z")) == [trial.steps // 2, trial.steps]
    assert list(evaluation.kept.halves("lidar_z")) == [trial.steps]


def test_a_criterion_added_later_measures_only_itself(trial: Trial, manifest: Manifest) -> None:
    protocol = replace(settings_of().evaluation, seed=3)
    every = load_criteria(ROOT / "conf" / "criterion", settings_of().criterion)
    few = Evaluation(trial, manifest, protocol, [criterion for criterion in every if criterion.name == "lidar"])
    few.measure(60, 1.0)
    before = json.loads(few.kept.path.read_text())["values"]["60"]
    Evaluation(trial, manifest, protocol, every).measure(60, 1.0)
    later = json.loads(few.kept.path.read_text())["values"]["60"]
    assert {key.rpartition("-")[0] for key in before} == {"lidar_h", "lidar_z", ""}  # "": the gate and the spectrum
    assert before.items() <= later.items() and len(later) > len(before) + 20


def test_the_rotation_probe_needs_upright_images_and_training_that_never_turned_them(
    manifest: Manifest, tmp_path: Path
) -> None:
    def why(manifest: Manifest, *overrides: str, method: Method | None = None) -> str:
        trial = trial_of(manifest, tmp_path, *overrides)
        criterion = evaluation_of(trial, manifest).kept.criteria["rotation_probe_h"]
        recipe = build("augmentation", trial.config.augmentation)
        own = method or outline(trial.config, manifest.shape)
        return why_meaningless(criterion, "rotation_probe_h", own, recipe, manifest)

    still = "augmentation.rotate.radians=0"
    upright = manifest._replace(oriented=True)
    assert why(upright, still) == ""
    assert "needs images with a way up: set data.oriented=true" in why(manifest, still)
    assert "where training turns its views" in why(upright)
    assert "where training turns its views" in why(upright, still, "augmentation.flip.vertical=0.5")
    assert why(upright, "augmentation.strength=0") == ""
    encoder = outline(trial_of(manifest, tmp_path).config, manifest.shape).encoder
    assert "training predicts rotations" in why(upright, still, method=RotationPrediction(encoder))


def test_another_protocol_is_another_record(trial: Trial, manifest: Manifest) -> None:
    changes: tuple[list[str], ...] = ([], ["views=4"], ["images=32"], ["seed=1"])
    paths = {evaluation_of(trial, manifest, *change).kept.path for change in changes}
    assert len(paths) == 4


def test_watching_leaves_training_as_it_was(trial: Trial, manifest: Manifest) -> None:
    method = build_method(trial.config, manifest.shape)
    method.train()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    evaluation = evaluation_of(trial, manifest, "seed=7")
    evaluation.watch(1, method)
    assert method.training
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    assert len(evaluation.kept.spectrum("z")[1]) == 8


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
    files.write_json(
        labels / "manifest.json", json.loads((labels / "manifest.json").read_text()) | {"checksums": checksums}
    )
    with pytest.raises(ValueError, match=message):
        Split(read_manifest(tmp_path / "unlabelled"), split)
