"""The supervised reference: trained on the images and classes of probe alone, on its own side of the label wall."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from src.data.pack import Manifest
from src.methods.supervised import Supervised
from src.runtime.build import build
from src.runtime.device import set_up
from src.runtime.records import Config
from src.trial.identity import identify
from src.trial.loop import Normalise, train
from src.trial.method import build_method
from src.trial.run import run_trial
from tests.composed import chosen_of, packed, settings_of, trial_of
from tests.project import Project


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    set_up("cpu", 1)
    return packed(tmp_path_factory.mktemp("data"))


def test_every_image_comes_with_its_own_class(manifest: Manifest, tmp_path: Path) -> None:
    """Images whose pixels all say their class: the loss sees the class that the pixels say."""

    class Recorder(Supervised):
        def forward(self, views: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
            assert torch.equal((views[:, 0, 0, 0] * 10).round().long(), classes)
            return super().forward(views, classes)

    trial = trial_of(manifest, tmp_path, "augmentation.strength=0", "augmentation.crop.area=[1,1]")
    encoder = build_method(trial.config, manifest.shape).encoder
    method = Recorder(encoder, classes=10)
    classes = torch.arange(10).repeat(13)
    images = (classes * 25.5).round().to(torch.uint8)[:, None, None, None].expand(-1, *manifest.shape).contiguous()
    steps = train(
        method,
        torch.optim.SGD(method.parameters()),
        images,
        build("augmentation", trial.config.augmentation),
        Normalise([0.0] * manifest.shape[0], [1.0] * manifest.shape[0], "cpu"),
        learning_rate=0.01,
        warmup=0.0,
        decay="constant",
        batch_size=16,
        steps=9,
        first_step=0,
        clip=1.0,
        seed=0,
        device="cpu",
        precision="fp32",
        classes=classes,
    )
    assert len(list(steps)) == 9


def test_without_labels_it_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    method: Config = {"name": "supervised", "_target_": "src.methods.supervised.Supervised", "classes": 10}
    settings = replace(settings_of(), method=method)
    trial = identify(chosen_of(settings), manifest, tmp_path, device="cpu", threads=1)
    with pytest.raises(ValueError, match=r"^method supervised needs labels: only python -m src\.supervised has them$"):
        next(run_trial(trial, manifest, device="cpu", checkpoint_seconds=1e9))


def test_the_reference_of_a_study_by_the_command_line(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    out = project.ok("supervised", "study=tiny", "seeds=[0,1]")
    assert "written: runs/tiny-supervised/study.json" in out and "next: python -m src.probe study=tiny" in out
    study = project.json("runs/tiny-supervised/study.json")
    assert [trial["status"] for trial in study["trials"]] == ["complete", "complete"]
    first, like = (
        project.json(f"runs/store/{name}/config.json")
        for name in (study["trials"][0]["trial"], project.json("runs/tiny/study.json")["trials"][0]["trial"])
    )
    assert first["method"]["_target_"] == "src.methods.supervised.Supervised" and first["data"].keys() == {
        "probe",
        "classes",
        "mean",
        "std",
    }
    assert {key for key in like if like[key] != first[key]} <= {"method", "data", "seed", "source"}
    history = project.json(f"runs/store/{study['trials'][0]['trial']}/history.json")
    assert history[-1]["loss"] < history[0]["loss"] and history[-1]["accuracy"] > history[0]["accuracy"]
    assert "supervised, seed 1" in project.ok("probe", "study=tiny", "threads=1")
    kept = (project.folder / f"runs/store/{study['trials'][0]['trial']}/record.json").read_bytes()
    shutil.rmtree(project.folder / f"runs/store/{study['trials'][0]['trial']}")
    project.ok("supervised", "study=tiny", "seeds=[0,1]")
    assert (project.folder / f"runs/store/{study['trials'][0]['trial']}/record.json").read_bytes() == kept


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["study=none"], "no study in runs/none"),
        (["trial=99"], "trial must be a number of study tiny, 0 to"),
        (["seeds=[]"], "seeds must be"),
        (["seeds=[-1]"], "seeds.0 must be >= 0, got -1"),
        (["checkpoint_seconds=soon"], "checkpoint_seconds must be"),
    ],
)
def test_a_bad_value_is_one_line(arguments: list[str], message: str, finished: Project, project: Project) -> None:
    project.copy_of(finished)
    assert message in project.refused("supervised", "study=tiny", *arguments)
    assert not (project.folder / "runs/tiny-supervised").exists()


def test_a_reference_has_no_reference(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    project.ok("supervised", "study=tiny")
    line = project.refused("supervised", "study=tiny-supervised")
    assert "study tiny-supervised was trained with labels itself" in line


def test_without_labels_it_says_how_to_get_them(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    shutil.rmtree(project.folder / "data/digits/labels")
    assert "no labels in data/digits/labels" in project.refused("supervised", "study=tiny")
    assert "method=supervised doesn't exist" in project.refused("train", "method=supervised")
