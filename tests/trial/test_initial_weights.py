"""Trainings that begin from given weights, or leave the first layers as they are."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from src.data.pack import Manifest
from src.runtime.device import set_up
from src.runtime.settings import hold
from src.train.settings import Settings
from src.trial.config import GivenEncoder, GivenStart
from src.trial.given_weights import keep_weights, read_start
from src.trial.identity import Trial, identify
from src.trial.method import build_method
from src.trial.optim import layers
from src.trial.run import prepare, run_trial
from src.trial.state_dicts import check_fit, read_weights, sorted_out
from tests.composed import chosen_of, packed, plain_of, trial_of
from tests.project import TINY_TRIAL, Project


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    set_up("cpu", 1)
    return packed(tmp_path_factory.mktemp("data"))


def started(manifest: Manifest, store: Path, *overrides: str, **start: Any) -> Trial:
    plain = plain_of(*overrides)
    settings = hold("", plain | {"start": plain["start"] | start}, Settings)
    keep_weights(read_start(settings.start), store)
    return identify(chosen_of(settings), manifest, store, device="cpu", threads=1)


def encoder_file(manifest: Manifest, folder: Path, *overrides: str, prefix: str = "") -> tuple[Path, nn.Module]:
    """A foreign encoder's weights, beside a classifier that isn't wanted."""
    encoder = build_method(trial_of(manifest, folder, "seed=77", *overrides).config, manifest.shape).encoder
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
        ({"weights": "none.pt"}, r"weights=none\.pt is not a file"),
        ({"weights": "none.pt", "encoder_prefix": None}, r"start\.encoder_prefix must be text, got None"),
        ({"weights": "none.pt", "ignore": "fc."}, r"start\.ignore must be a list like \[1,2\], got 'fc\.'"),
        ({"weights": "none.pt", "ignore": ["fc.", 3]}, r"start\.ignore\.1 must be text, got 3"),
        ({"weights": 5}, r"start\.weights must be text, got 5"),
        ({"ignore": ["fc."]}, r"start\.ignore is about start\.weights, which is null, got \['fc\.'\]"),
        ({"encoder_prefix": "net."}, r"start\.encoder_prefix is about start\.weights, which is null, got 'net\.'"),
        ({"frozen": -1}, r"start\.frozen must be >= 0, got -1"),
    ],
)
def test_a_bad_start_is_one_line(start: dict[str, Any], message: str, manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        started(manifest, tmp_path, **start)


@pytest.mark.filterwarnings("ignore")  # of torch's, about what it is made to save here
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            lambda: {"a": torch.ones(2), "conv.weight": torch.tensor([1.0, float("nan")])},
            "'conv.weight': it holds values that",
        ),
        (
            lambda: {"conv.weight": torch.tensor([float("inf")], dtype=torch.float16)},
            "'conv.weight': it holds values that are",
        ),
        (lambda: {"conv.weight": torch.tensor([1e300], dtype=torch.float64)}, "'conv.weight': .* beyond float32"),
        (lambda: {"conv.weight": torch.ones(2, dtype=torch.complex64)}, "'conv.weight': it is complex"),
        (lambda: {"conv.weight": torch.ones(2, 2).to_sparse()}, "'conv.weight': it is sparse, nested or quantised"),
        (lambda: {"conv.weight": torch.ones(2, 2).to_sparse_csr()}, "'conv.weight': it is sparse, nested or quantised"),
        (
            lambda: {"w": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)},
            "'w': it is sparse, nested or quantised",
        ),
        (lambda: {"conv.weight": torch.ones(2, device="meta")}, "'conv.weight': it has a shape and no values"),
        (lambda: {3: torch.ones(2)}, "a weight, 3: it isn't named by text"),
        (lambda: {"model": {"conv.weight": torch.ones(2)}}, "'model': it is no tensor but dict: save model.state_dict"),
        (lambda: OrderedDict(epoch=5), "'epoch': it is no tensor but int"),
        (lambda: {}, "must hold a state dict, names to tensors, got an empty one"),
        (lambda: [torch.ones(2)], "must hold a state dict, names to tensors, got list"),
        (lambda: torch.ones(2), "must hold a state dict, names to tensors, got Tensor"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_weight_is_refused_by_its_name(content: Callable[[], Any], message: str, tmp_path: Path) -> None:
    torch.save(content(), path := tmp_path / "given.pt")
    with pytest.raises(ValueError, match=rf"^{path} .*{message}"):
        read_weights(path)


@pytest.mark.parametrize("name", ["empty.pt", "empty.safetensors", "text.pt", "text.safetensors", "cut.pt", "tar.pt"])
def test_a_file_of_another_kind_is_one_line(name: str, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1000)}, tmp_path / "whole.pt")
    torch.save({"a": torch.ones(9)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    content = {
        "empty": b"",
        "text": b"no weights\n" * 9,
        "cut": (tmp_path / "whole.pt").read_bytes()[:-99],
        "tar": (tmp_path / "old.pt").read_bytes()[:120],
    }[name.partition(".")[0]]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{tmp_path / name} is neither a safetensors file nor a plain state dict"):
        read_weights(tmp_path / name)


def test_a_folder_of_weights_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"^weights={tmp_path} is not a file$"):
        read_weights(tmp_path)


def test_counters_and_half_precision_are_weights(tmp_path: Path) -> None:
    given = {"n.num_batches_tracked": torch.tensor(7), "n.weight": torch.ones(3, dtype=torch.bfloat16)}
    torch.save({"state_dict": given, "epoch": 3}, tmp_path / "given.pt")
    found = read_weights(tmp_path / "given.pt")
    assert found.keys() == given.keys()
    wanted = {"n.num_batches_tracked": torch.tensor(0), "n.weight": torch.zeros(3)}
    check_fit("given.pt", found, wanted)
    whole = found | {"n.weight": torch.ones(3, dtype=torch.int8)}
    with pytest.raises(ValueError, match=r"it has other kinds of numbers in n\.weight torch\.int8 for torch\.float32"):
        check_fit("given.pt", whole, wanted)


@pytest.mark.parametrize("shape", [GivenStart, GivenEncoder])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"encoder_prefix": 5}, r"^encoder_prefix must be text, got 5$"),
        ({"encoder_prefix": None}, r"^encoder_prefix must be text, got None$"),
        ({"ignore": "fc."}, r"^ignore must be a list like \[1,2\], got 'fc\.'$"),
        ({"ignore": ["fc.", 3]}, r"^ignore\.1 must be text, got 3$"),
    ],
)
def test_adopt_and_train_sort_entries_by_text_alone(shape: type, given: dict[str, Any], message: str) -> None:
    plain = plain_of("weights=a.pt", stage="adopt") if shape is GivenEncoder else plain_of()["start"]
    kept = {field.name: plain[field.name] for field in fields(shape)}
    assert isinstance(hold("", kept, shape), shape)
    with pytest.raises(ValueError, match=message):
        hold("", kept | given, shape)


def test_two_entries_of_one_name_are_refused() -> None:
    message = r"^two entries become encoder\.a, one of them encoder\.a: leave it out"
    with pytest.raises(ValueError, match=message):
        sorted_out({"net.a": torch.ones(1), "encoder.a": torch.ones(1)}, {"encoder": "net."}, [])


def test_an_altered_copy_in_the_store_is_refused_and_mended_by_train(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = encoder_file(manifest, tmp_path)
    trial = started(manifest, tmp_path / "store", weights=str(path), ignore=["fc."])
    kept = next((tmp_path / "store/weights").iterdir())
    good = kept.read_bytes()
    kept.write_bytes(good[:-1] + b"\0")
    monkeypatch.setattr("src.trial.initial_weights.contents", {})  # as in another process
    with pytest.raises(ValueError, match=rf"^{kept} is missing or altered: run the study's python -m src.train again"):
        prepare(trial, manifest, "cpu")
    started(manifest, tmp_path / "store", weights=str(path), ignore=["fc."])
    assert kept.read_bytes() == good
    prepare(trial, manifest, "cpu")


def test_entries_that_share_memory_are_kept_apart(tmp_path: Path) -> None:
    whole = torch.arange(8.0)
    torch.save({"a": whole, "b": whole[:4]}, tmp_path / "shared.pt")
    given = GivenStart(weights=str(tmp_path / "shared.pt"), encoder_prefix="", ignore=[], frozen=0)
    begun = read_start(given)
    assert not (tmp_path / "weights").exists()
    keep_weights(begun, tmp_path)
    kept = load_file(tmp_path / "weights" / f"{begun.weights}.safetensors")
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
    kept = next(weights.iterdir())
    shutil.copy(kept, weights / "mine.safetensors")  # not named after its content: somebody else's
    orphan = kept.read_bytes() + b" "
    (weights / f"{hashlib.blake2b(orphan, digest_size=16).hexdigest()}.safetensors").write_bytes(orphan)
    began = json.loads(next((project.folder / "runs/on").glob("log-*.jsonl")).read_text())["trial"]
    assert "weights that no trial began from" in project.ok("clean", "delete=true")
    name = project.json(f"runs/store/{began}/config.json")["start"]["weights"]
    assert sorted(path.stem for path in weights.iterdir()) == sorted([name, "mine"])
