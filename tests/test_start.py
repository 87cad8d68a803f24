"""Trainings that begin from given weights, or leave the first layers as they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from src.data.pack import Manifest
from src.device import set_up
from src.optim import layers
from src.pretraining import prepare, run_trial
from src.start import keep_weights, read_start
from src.trial import Trial, build_method, identify
from tests.composed import packed, settings_of
from tests.project import TINY_TRIAL, Project


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    set_up("cpu", 1)
    return packed(tmp_path_factory.mktemp("data"))


def started(manifest: Manifest, store: Path, *overrides: str, **start: Any) -> Trial:
    settings = settings_of(*overrides)
    settings["start"] = read_start(settings["start"] | start)
    keep_weights(settings["start"], store)
    return identify(settings, manifest, store, device="cpu", threads=1)


def encoder_file(manifest: Manifest, folder: Path, *overrides: str, prefix: str = "") -> tuple[Path, nn.Module]:
    """A foreign encoder's weights, beside a classifier that isn't wanted."""
    encoder = build_method(settings_of("seed=77", *overrides), manifest.shape).encoder
    entries = {prefix + name: value.contiguous() for name, value in encoder.state_dict().items()}
    save_file(entries | {"fc.weight": torch.zeros(2, 3)}, folder / "foreign.safetensors")
    return folder / "foreign.safetensors", encoder


def trained(trial: Trial, manifest: Manifest) -> dict[str, torch.Tensor]:
    for _ in run_trial(trial, manifest, device="cpu", checkpoint_seconds=1e9):
        pass
    return load_file(trial.snapshot_path(trial.steps))


def test_training_begins_from_the_given_weights_and_its_teacher_too(manifest: Manifest, tmp_path: Path) -> None:
    path, foreign = encoder_file(manifest, tmp_path, prefix="net.")
    trial = started(
        manifest, tmp_path / "store", "method=byol", weights=str(path), encoder_prefix="net.", ignore=["fc."]
    )
    path.unlink()  # the store has its own copy
    method: Any = prepare(trial, manifest, "cpu")[0]
    for name, value in foreign.state_dict().items():
        assert torch.equal(method.encoder.state_dict()[name], value), name
        assert torch.equal(method.teacher[0].state_dict()[name], value), name


def test_the_weights_content_is_part_of_the_trials_name_not_its_path(manifest: Manifest, tmp_path: Path) -> None:
    path, _ = encoder_file(manifest, tmp_path)
    first = started(manifest, tmp_path, weights=str(path), ignore=["fc."])
    second = started(manifest, tmp_path, weights=str(path.rename(tmp_path / "other.safetensors")), ignore=["fc."])
    assert first.key == second.key != started(manifest, tmp_path).key


def test_weights_that_do_not_fit_are_named_entry_by_entry(manifest: Manifest, tmp_path: Path) -> None:
    path, _ = encoder_file(manifest, tmp_path, "model.features=24")
    message = (
        r"^start\.weights doesn't fit the model: it has besides encoder\.fc\.weight; it has other shapes in encoder"
    )
    with pytest.raises(ValueError, match=message):
        prepare(started(manifest, tmp_path, weights=str(path)), manifest, "cpu")


@pytest.mark.parametrize("method", ["simclr", "byol"])
def test_frozen_layers_stay_bit_for_bit_and_the_rest_learns(method: str, manifest: Manifest, tmp_path: Path) -> None:
    trial = started(manifest, tmp_path, f"method={method}", frozen=1)
    before = build_method(trial.config, manifest.shape).encoder
    after = trained(trial, manifest)
    frozen = {id(t) for t in layers(before)[0].state_dict(keep_vars=True).values()}
    for name, value in before.state_dict(keep_vars=True).items():
        for prefix in ("encoder.", "teacher.0.") if method == "byol" else ("encoder.",):
            same = torch.equal(after[prefix + name], value)
            assert same == (id(value) in frozen), prefix + name


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"weights": 5}, r"start\.weights must be text, got 5"),
        ({"weights": "none.pt"}, r"weights=none\.pt is not a file"),
        ({"weights": "none.pt", "encoder_prefix": None}, r"start\.encoder_prefix must be text, got None"),
        ({"weights": "none.pt", "ignore": "fc."}, r"start\.ignore must be a list of prefixes"),
        ({"frozen": -1}, r"start\.frozen must be >= 0, got -1"),
    ],
)
def test_a_bad_start_is_one_line(start: dict[str, Any], message: str, manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        started(manifest, tmp_path, **start)


def test_entries_that_share_memory_are_kept_apart(tmp_path: Path) -> None:
    whole = torch.arange(8.0)
    torch.save({"a": whole, "b": whole[:4]}, tmp_path / "shared.pt")
    start = {"weights": str(tmp_path / "shared.pt"), "encoder_prefix": "", "ignore": [], "frozen": 0}
    begun = read_start(start)
    assert not (tmp_path / "weights").exists()
    keep_weights(begun, tmp_path)
    kept = load_file(tmp_path / "weights" / f"{begun['weights']}.safetensors")
    assert torch.equal(kept["encoder.a"], whole) and torch.equal(kept["encoder.b"], whole[:4])


def test_more_frozen_layers_than_there_are_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^start\.frozen must be at most the encoder's 3 layers, got 4$"):
        prepare(started(manifest, tmp_path, "model.depth=3", frozen=4), manifest, "cpu")


def test_a_study_from_given_weights_by_the_command_line(finished: Project, project: Project) -> None:
    """The weights that one study ended with are where the next begins; cleaning keeps them."""
    project.copy_of(finished)
    trial = finished.json("runs/tiny/study.json")["trials"][0]["trial"]
    snapshot = max((project.folder / f"runs/store/{trial}/snapshots").glob("*.safetensors"))
    width = finished.json(f"runs/store/{trial}/config.json")["model"]["width"]
    arguments = [
        "study=on",
        f"model.width={width}",
        f"start.weights={snapshot}",
        "start.encoder_prefix=encoder.",
        "start.frozen=1",
    ]
    line = project.refused("train", *TINY_TRIAL, *arguments)
    assert "start.weights doesn't fit the model: it has besides projector" in line
    project.ok("train", *TINY_TRIAL, *arguments, "start.ignore=[projector.]", "dry_run=true")
    assert not (project.folder / "runs/store/weights").exists()
    project.ok("train", *TINY_TRIAL, *arguments, "start.ignore=[projector.]")
    weights = project.folder / "runs/store/weights"
    shutil.copy(next(weights.iterdir()), weights / "orphan.safetensors")
    began = json.loads(next((project.folder / "runs/on").glob("log-*.jsonl")).read_text())["trial"]
    assert "weights that no trial began from" in project.ok("clean", "delete=true")
    name = project.json(f"runs/store/{began}/config.json")["start"]["weights"]
    assert [path.stem for path in weights.iterdir()] == [name]
