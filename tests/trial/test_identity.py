from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from src.data.pack import Manifest
from src.runtime import files, interrupts
from src.runtime.build import build
from src.runtime.device import set_up
from src.runtime.rng import generator
from src.trial import checkpoint, run
from src.trial.identity import Trial, TrialRecord, read_trial
from src.trial.loop import Normalise, Step, batch_indices, fetch, train
from src.trial.method import build_method, dimensions, optimizer_of, trial_flops
from src.trial.run import resident_images, run_trial
from tests.composed import packed, trial_of


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    set_up("cpu", 1)
    return packed(tmp_path_factory.mktemp("data"))


def finish(trial: Trial, manifest: Manifest) -> TrialRecord:
    for _ in run_trial(trial, manifest, device="cpu", checkpoint_seconds=0.0):
        pass
    record = trial.record()
    assert record is not None
    return record


def test_a_trial_is_named_by_what_determines_its_weights(manifest: Manifest, tmp_path: Path) -> None:
    name = trial_of(manifest, tmp_path).key
    for change in (
        "seed=1",
        "optimizer.learning_rate=0.004",
        "method.temperature=0.3",
        "augmentation.strength=0.9",
        "schedule.warmup=0.1",
        "model.depth=3",
        "batch_size=64",
        "precision=bf16",
        "method=vicreg",
        "optimizer=sgd",
    ):
        assert trial_of(manifest, tmp_path, change).key != name, change
    for same in (
        "study=other",
        "criterion=rankme",
        "evaluation.views=5",
        "checkpoint_seconds=1.0",
        "folders.mlruns=x",
        "max_hours=1",
    ):
        assert trial_of(manifest, tmp_path, same).key == name, same


def test_a_trial_leaves_a_record_that_reads_back(manifest: Manifest, tmp_path: Path) -> None:
    trial = trial_of(manifest, tmp_path)
    assert trial.record() is None
    record = finish(trial, manifest)
    assert record.status == "complete" and record.steps == trial.steps == 60
    assert record.flops == 60 * trial_flops(trial.config, manifest)
    rows = trial.history()
    assert [row["step"] for row in rows] == [15, 30, 45, 60]
    assert [row["images"] for row in rows] == [480, 960, 1440, 1920]
    assert trial.snapshot_steps() == [30, 60]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert not (trial.folder / "checkpoint.pt").exists()
    again = read_trial(trial.folder)
    assert again.config == trial.config and again.record() == record


@pytest.mark.parametrize(
    "overrides",
    [
        ("method=simclr", "optimizer=adamw", "model.dropout=0.1"),
        ("method=vicreg", "optimizer=sgd", "schedule=constant", "schedule.images=1920"),
        ("precision=bf16", "model.norm=group", "model.activation=gelu"),
    ],
    ids=["simclr adamw dropout", "vicreg sgd constant", "bf16 group norm"],
)
def test_a_resumed_trial_equals_an_unbroken_one_bit_for_bit(
    manifest: Manifest, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    unbroken, broken = (trial_of(manifest, tmp_path / part, *overrides) for part in ("a", "b"))
    finish(unbroken, manifest)
    for rows in (1, 2):
        progress = run_trial(broken, manifest, device="cpu", checkpoint_seconds=1e9)
        for _ in range(rows):
            next(progress)
        progress.close()
        assert (broken.folder / "checkpoint.pt").exists() and broken.record() is None
    finish(broken, manifest)
    for name in ("record.json", "history.json", "snapshots/0000030.safetensors", "snapshots/0000060.safetensors"):
        assert (unbroken.folder / name).read_bytes() == (broken.folder / name).read_bytes(), name


NAMES = ("record.json", "history.json", "snapshots/0000030.safetensors", "snapshots/0000060.safetensors")


@pytest.fixture(scope="module")
def unbroken(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    trial = trial_of(manifest, tmp_path_factory.mktemp("unbroken"), "method=simsiam")
    finish(trial, manifest)
    return trial


@pytest.mark.parametrize("moment", [1, 7, 15, 16, 30, 60])
def test_a_trial_that_is_asked_to_end_keeps_every_step(
    moment: int, unbroken: Trial, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between rows, at the last step of one and after it; nothing is trained twice."""
    broken = trial_of(manifest, tmp_path, "method=simsiam")
    trained: list[int] = []
    really_add = checkpoint.Checkpoint.add

    def add(state: checkpoint.Checkpoint, step: Step) -> None:
        trained.append(step.number)
        really_add(state, step)

    monkeypatch.setattr(checkpoint.Checkpoint, "add", add)
    with monkeypatch.context() as asked:
        asked.setattr(interrupts, "asked", lambda: len(trained) >= moment)
        with pytest.raises(KeyboardInterrupt):
            for _ in run_trial(broken, manifest, device="cpu", checkpoint_seconds=1e9):
                pass
    assert trained == list(range(1, moment + 1)) and broken.record() is None
    finish(broken, manifest)
    at_a_row = moment in (15, 30, 60)  # whose row was still to be written
    assert trained == [*range(1, moment + 1), *range(moment + (not at_a_row), 61)]
    for name in NAMES:
        assert (unbroken.folder / name).read_bytes() == (broken.folder / name).read_bytes(), name


def test_a_row_that_was_lost_on_whoever_was_told_of_it_is_told_again(manifest: Manifest, tmp_path: Path) -> None:
    trial = trial_of(manifest, tmp_path)
    progress = run_trial(trial, manifest, device="cpu", checkpoint_seconds=1e9)
    next(progress)
    lost = next(progress)
    progress.close()
    again = [update.row for update in run_trial(trial, manifest, device="cpu", checkpoint_seconds=1e9)]
    assert again[0] == lost.row and [row["step"] for row in again] == [30, 45, 60]
    assert [row["step"] for row in trial.history()] == [15, 30, 45, 60]


def test_a_finished_trial_is_not_trained_again(manifest: Manifest, tmp_path: Path) -> None:
    trial = trial_of(manifest, tmp_path)
    finish(trial, manifest)
    assert list(run_trial(trial, manifest, device="cpu", checkpoint_seconds=0.0)) == []


def test_an_altered_record_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    trial = trial_of(manifest, tmp_path)
    finish(trial, manifest)
    snapshot = trial.snapshot_path(60)
    content = bytearray(snapshot.read_bytes())
    content[-1] ^= 1
    snapshot.write_bytes(content)
    with pytest.raises(ValueError, match=r"0000060\.safetensors is missing or altered: delete"):
        trial.record()
    config = json.loads((trial.folder / "config.json").read_text())
    config["method"]["_target_"] = "os.system"
    (trial.folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="no longer hashes to"):
        read_trial(trial.folder)


@pytest.fixture(scope="module")
def half_trained(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a trial that was stopped once its second row was told."""
    store = tmp_path_factory.mktemp("stopped")
    progress = run_trial(trial_of(manifest, store), manifest, device="cpu", checkpoint_seconds=0.0)
    for _ in range(2):
        next(progress)
    progress.close()
    return store


@pytest.fixture
def stopped(half_trained: Path, manifest: Manifest, tmp_path: Path) -> Trial:
    shutil.copytree(half_trained, tmp_path / "store")
    return trial_of(manifest, tmp_path / "store")


def rewritten(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """The checkpoint with something else in it and a checksum that agrees."""
    state = torch.load(io.BytesIO(path.read_bytes().partition(b"\n")[2]), weights_only=True)
    change(state)
    torch.save(state, content := io.BytesIO())
    path.write_bytes(checkpoint.checksum_of(content.getvalue()) + b"\n" + content.getvalue())


def refused(trial: Trial, manifest: Manifest) -> str:
    path = trial.folder / "checkpoint.pt"
    with pytest.raises(ValueError) as refusal:
        next(run_trial(trial, manifest, device="cpu", checkpoint_seconds=0.0))
    line = str(refusal.value)
    assert line.startswith(f"{path} can't be read (") and line.endswith(f"): delete {path} and run this again"), line
    assert "\n" not in line and trial.record() is None
    return line


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: state.update(step=60), "step 60 has rows of steps [15] and 15 steps since"),
        (lambda state: state.update(step=45), "step 45 has rows of steps [15] and 15 steps since"),
        (lambda state: state.update(step=29), "step 29 has rows of steps [15] and 15 steps since"),
        (lambda state: state.update(step=61), "step must be >= 1 and <= 60, got 61"),
        (lambda state: state.update(step=0), "step must be >= 1 and <= 60, got 0"),
        (lambda state: state.update(step=30.0), "step must be a whole number >= 1 and <= 60, got 30.0"),
        (lambda state: state.update(step="30"), "step must be a whole number"),
        (lambda state: state.update(rows=[]), "step 30 has rows of steps [] and 15 steps since"),
        (lambda state: state["rows"][0].update(step=14), "step 30 has rows of steps [14]"),
        (lambda state: state["rows"][0].update(loss=float("nan")), "a row is not finite"),
        (lambda state: state.update(since_row=None), "step 30 has rows of steps [15] and 0 steps since"),
        (lambda state: state.update(seconds=-1.0), "seconds must be >= 0, got -1.0"),
        (lambda state: state.update(seconds=float("inf")), "seconds must be >= 0, got inf"),
        (lambda state: state.update(more=1), "a key of checkpoint must be one of method, optimizer, step"),
        (lambda state: state.pop("seconds"), "checkpoint.seconds is missing"),
        (lambda state: state.update(method={}), "Error(s) in loading state_dict for SimCLR"),
        (lambda state: state.update(method=5), "Expected state_dict to be dict-like"),
        (lambda state: state.update(optimizer={}), "param_groups"),
        (lambda state: state.update(optimizer=None), "NoneType"),
    ],
    ids=lambda value: value if isinstance(value, str) else "changed",
)
def test_a_made_up_checkpoint_is_refused(
    change: Callable[[dict[str, Any]], Any], reason: str, manifest: Manifest, stopped: Trial
) -> None:
    rewritten(stopped.folder / "checkpoint.pt", change)
    assert reason in refused(stopped, manifest)


def test_a_damaged_checkpoint_is_refused_wherever_it_is_damaged(
    manifest: Manifest, tmp_path: Path, stopped: Trial
) -> None:
    """And once it is deleted, the same command trains the trial from its beginning."""
    trial, whole = stopped, trial_of(manifest, tmp_path / "whole")
    path = trial.folder / "checkpoint.pt"
    content = path.read_bytes()
    for place in (0, 40, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert "its checksum is another" in refused(trial, manifest)
    for part in (b"", content[:33], content[:-1], content[33:]):
        path.write_bytes(part)
        assert "its checksum is another" in refused(trial, manifest)
    path.write_bytes(content)
    trial.snapshot_path(30).rename(tmp_path / "away")
    path.unlink()
    finish(whole, manifest)
    finish(trial, manifest)
    for name in NAMES:
        assert (trial.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name


def test_a_checkpoint_whose_snapshot_is_gone_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    trial = trial_of(manifest, tmp_path)
    progress = run_trial(trial, manifest, device="cpu", checkpoint_seconds=0.0)
    for _ in range(3):
        next(progress)
    progress.close()
    trial.snapshot_path(30).unlink()
    assert "its snapshot of step 30 is missing" in refused(trial, manifest)


def test_no_trial_is_called_complete_before_its_last_step(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = trial_of(manifest, tmp_path)
    real = run.training_steps
    monkeypatch.setattr(run, "training_steps", lambda *a, **k: islice(real(*a, **k), 50))
    with pytest.raises(RuntimeError, match="ends at step 45 of 60"):
        finish(trial, manifest)
    assert trial.record() is None


def test_a_checkpoint_with_code_in_it_is_not_executed(manifest: Manifest, tmp_path: Path, stopped: Trial) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "executed",))

    rewritten(stopped.folder / "checkpoint.pt", lambda state: state.update(method=Trap()))
    assert "Weights only load failed" in refused(stopped, manifest)
    assert not (tmp_path / "executed").exists()


def test_a_diverged_trial_is_a_state_not_an_error(manifest: Manifest, tmp_path: Path) -> None:
    trial = trial_of(manifest, tmp_path, "optimizer=sgd", "optimizer.learning_rate=1e30", "optimizer.clip=1e30")
    record = finish(trial, manifest)
    assert record.status == "diverged"
    assert record.steps < trial.steps


def test_one_process_at_a_time(manifest: Manifest, tmp_path: Path) -> None:
    trial = trial_of(manifest, tmp_path)
    first = run_trial(trial, manifest, device="cpu", checkpoint_seconds=0.0)
    next(first)
    with pytest.raises(files.Busy):
        next(run_trial(trial, manifest, device="cpu", checkpoint_seconds=0.0))
    first.close()
    finish(trial, manifest)


def test_evaluating_in_between_does_not_change_the_weights(manifest: Manifest, tmp_path: Path) -> None:
    quiet, watched = (trial_of(manifest, tmp_path / part) for part in ("a", "b"))
    finish(quiet, manifest)
    for progress in run_trial(watched, manifest, device="cpu", checkpoint_seconds=1e9):
        torch.rand(7)
        progress.method.eval()
        progress.method.encoder(torch.randn(4, 1, 20, 20))
        progress.method.train()
    assert quiet.record() == watched.record()


def test_counted_flops_are_those_of_the_layers(manifest: Manifest, tmp_path: Path) -> None:
    """A 3x3 convolution costs 2 x 9 x in x out per output pixel; backward twice that, but not for the input."""
    trial = trial_of(manifest, tmp_path, "model.depth=2", "model.norm=none", "method.projector.depth=1")
    views = 2 * 32
    first, second = 2 * 9 * 1 * 8 * 10 * 10, 2 * 9 * 8 * 16 * 10 * 10
    projector = 2 * 16 * 8
    similarity = 2 * views * views * 8
    expected = views * (2 * first + 3 * second + 3 * projector) + 3 * similarity
    assert trial_flops(trial.config, manifest) == expected


def test_dimensions_are_those_of_the_embeddings(manifest: Manifest, tmp_path: Path) -> None:
    for overrides in ((), ("model.width=16", "model.depth=5")):
        trial = trial_of(manifest, tmp_path, *overrides)
        assert dimensions(trial.config, manifest.shape) == {"h": 16, "z": 8}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.learning_rate=-1", r"optimizer\.learning_rate must be > 0, got -1"),
        ("optimizer.learning_rate=abc", r"optimizer\.learning_rate must be a number, got 'abc'"),
        ("optimizer.weight_decay=-0.1", r"optimizer\.weight_decay must be >= 0"),
        ("optimizer.clip=0", r"optimizer\.clip must be > 0"),
        ("optimizer.scaling=cubic", "one of none, sqrt, linear, got 'cubic'"),
        ("optimizer.factory.eps=-1", "Invalid epsilon value"),
        ("optimizer.factory._target_=os.system", "optimizer._target_ must be one of torch.optim"),
        ("method.temperature=0", r"method\.temperature must be > 0, got 0"),
        ("method.projector.depth=0", r"projector\.depth must be >= 1"),
        ("augmentation.rotate.radians=9", r"augmentation\.rotate\.radians must be"),
        ("model.depth=99", r"model\.depth must be >= 2 and <= 12"),
        ("batch_size=1", "batch_size must be >= 2, got 1"),
        ("batch_size=64.5", "batch_size must be a whole number"),
        ("batch_size=1000", "batch_size must be at most the 320 pretrain images, got 1000"),
        ("seed=-1", "seed must be >= 0"),
        ("precision=fp8", "one of fp32, bf16, got 'fp8'"),
        ("schedule.images=10", r"schedule\.images must be at least .* = 128, got 10"),
        ("schedule.warmup=1", r"schedule\.warmup must be < 1, got 1"),
        ("schedule.evaluations=0", r"schedule\.evaluations must be >= 1"),
        ("schedule.decay=step", "one of cosine, constant, got 'step'"),
    ],
)
def test_every_bad_value_is_refused_before_training(
    manifest: Manifest, tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        trial_of(manifest, tmp_path, override)
    assert not list(tmp_path.iterdir())


def test_the_loop_matches_its_equation_written_out(manifest: Manifest, tmp_path: Path) -> None:
    """One step of `train` equals views, loss, backward, clip and step done by hand."""
    trial = trial_of(manifest, tmp_path, "optimizer=sgd", "optimizer.weight_decay=0.1", "optimizer.layer_decay=1")
    optimizing = trial.config.training()[0]
    images = resident_images(manifest, "pretrain", "cpu")
    normalise = Normalise(manifest.mean, manifest.std, "cpu")
    recipe = build("augmentation", trial.config.augmentation)
    methods = [build_method(trial.config, manifest.shape) for _ in range(2)]
    optimizers = [optimizer_of(method, optimizing) for method in methods]
    common: dict[str, Any] = {"batch_size": 32, "seed": 0}
    next(
        train(
            methods[0],
            optimizers[0],
            images,
            recipe,
            normalise,
            learning_rate=0.3,
            warmup=0.0,
            decay="constant",
            steps=10,
            first_step=4,
            clip=0.5,
            device="cpu",
            precision="fp32",
            **common,
        )
    )
    batch = fetch(images, batch_indices(4, count=320, **common), "cpu")
    methods[1](normalise(recipe(batch, generator(0, "views", 4), views=2))).backward()
    torch.nn.utils.clip_grad_norm_(methods[1].parameters(), 0.5)
    for group in optimizers[1].param_groups:
        group["lr"] = 0.3
    optimizers[1].step()
    for a, b in zip(methods[0].parameters(), methods[1].parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
