"""A trial is a training trajectory; its name is a hash of what determines the weights. The store keeps its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import AfterValidator, Field, JsonValue
from safetensors.torch import load_file

from src.data.pack import Manifest, Shape
from src.runtime import files, records
from src.runtime.build import check_targets
from src.runtime.distributed import world
from src.runtime.records import Checksum, Config, Count, Hash, Number, closed
from src.trial.check import check_trial
from src.trial.code_checksum import imported_libraries, source_checksum
from src.trial.config import TrialConfig
from src.trial.method import build_method

if TYPE_CHECKING:
    from src.methods.method import Method

RECORD = "record.json"
CHECKPOINT = "checkpoint.pt"
TIMING = "timing.json"
LIBRARIES = ("timm", "torchvision")  # whose release decides what a model or an optimizer does
DETERMINES_WEIGHTS = (
    "model",
    "method",
    "augmentation",
    "optimizer",
    "schedule",
    "batch_size",
    "seed",
    "precision",
    "start",
    "compile",
)
KEPT = r"^(config\.json|history\.json|snapshots/\d{7}\.safetensors)$"


@closed
@dataclass(frozen=True)
class TrialRecord:
    """record.json of a trial, written last: what it left, file by file."""

    trial: Hash
    status: Literal["complete", "diverged"]
    steps: Count
    flops: Number
    files: dict[Annotated[str, Field(pattern=KEPT)], Checksum]


@closed
@dataclass(frozen=True)
class Timing:
    """timing.json of a trial, apart from what is the same on every machine."""

    train_seconds: Annotated[float, Field(ge=0)]


def _has_clocks(row: dict[str, Number]) -> dict[str, Number]:
    missing = {"step", "images", "flops"} - row.keys()
    if missing or row["step"] != int(row["step"]):
        raise ValueError("a row needs a whole step, images and flops")
    return row


Row = Annotated[dict[str, Number], AfterValidator(_has_clocks)]
History = list[Row]  # history.json of a trial


@dataclass(frozen=True)
class Trial:
    config: TrialConfig
    recorded: Config  # config.json: what its name is a hash of
    folder: Path

    @classmethod
    def of(cls, recorded: Config, store: Path) -> Trial:
        """The trial of what determines its weights, finished or not."""
        folder = store / files.fingerprint(recorded)
        config = records.checked(recorded, TrialConfig, str(folder / "config.json"), _anew(folder))
        return cls(config, recorded, folder)

    @property
    def key(self) -> str:
        return self.folder.name

    @property
    def steps(self) -> int:
        return self.config.steps

    def record(self) -> TrialRecord | None:
        """The finished record, every file's checksum verified, or None for unfinished work.

        Raises ValueError where a recorded file is missing or altered.
        """
        path = self.folder / RECORD
        if not path.exists():
            return None
        record = records.read(path, TrialRecord, _anew(self.folder))
        for name, expected in record.files.items():
            if not (self.folder / name).exists() or files.checksum(self.folder / name) != expected:
                raise ValueError(f"{self.folder / name} is missing or altered: {_anew(self.folder)}")
        return record

    def seconds(self) -> float | None:
        """What training took; None for an adopted encoder."""
        path = self.folder / TIMING
        return records.read(path, Timing, "delete it").train_seconds if path.exists() else None

    def history(self) -> History:
        return records.read(self.folder / "history.json", History, _anew(self.folder))

    def snapshot_steps(self) -> list[int]:
        # seven digits alone: files half written have other names
        return sorted(int(path.stem) for path in (self.folder / "snapshots").glob(f"{'[0-9]' * 7}.safetensors"))

    def snapshot_path(self, step: int) -> Path:
        return self.folder / "snapshots" / f"{step:07d}.safetensors"

    def method(self, step: int, shape: Shape) -> Method:
        """The method with the weights of a snapshot, in eval mode."""
        method = build_method(self.config, shape)
        method.load_state_dict(load_file(self.snapshot_path(step)))
        method.eval()
        return method


def _anew(folder: Path) -> str:
    return f"delete {folder} and train the trial again"


def identify(chosen: Config, manifest: Manifest, store: Path, *, device: str, threads: int) -> Trial:
    """Name the trial of what a person chose, after checking every value. Trains and writes nothing.

    Raises ValueError on any value out of range.
    """
    recorded: Config = {key: unnamed(chosen[key]) for key in DETERMINES_WEIGHTS}
    recorded |= {"data": trained_on(manifest), "device": torch.device(device).type, "threads": threads}
    recorded |= {"processes": world(), **numerics(recorded)}
    trial = Trial.of(recorded, store)
    check_trial(trial.config, manifest, store, device)
    return trial


def trained_on(manifest: Manifest) -> Config:
    """How a trial names its images, without labels."""
    checksum = manifest.splits["pretrain"].checksum
    return {"pretrain": checksum, "mean": list(manifest.mean), "std": list(manifest.std)}


def unnamed(group: JsonValue) -> JsonValue:
    """A config group without a ``name``, which builds nothing: equal trainings are one trial."""
    return {key: value for key, value in group.items() if key != "name"} if isinstance(group, dict) else group


def part_name(config: TrialConfig, part: Literal["method", "model", "optimizer"]) -> str:
    """What a trial's method, model or optimizer is called: after the module, or the class of torch or timm, it names.

    Empty where nothing is known of it, as of an adopted encoder's optimizer.
    """
    if part == "optimizer":
        group = {} if config.optimizer is None else config.optimizer.factory
    else:
        group = config.method if part == "method" else config.model
    module, _, name = str(group.get("_target_", "")).rpartition(".")
    return module.rpartition(".")[2] if module.startswith("src.") else name.lower()


def numerics(recorded: Config) -> dict[str, str]:
    """What a trial's numbers depend on beside its settings: the torch release and the code that trains it."""
    groups = [recorded[group] for group in ("model", "method", "augmentation")]
    targets = {target.rpartition(".")[0] for target in _targets(groups) if target.startswith("src.")}
    modules = ["src.trial.loop", "src.trial.optim", "src.trial.initial_weights", *sorted(targets)]
    foreign = {target.partition(".")[0] for target in _targets(recorded["optimizer"])}  # an adopted encoder has none
    libraries = imported_libraries(*modules) | foreign
    versions = {library: version(library).partition("+")[0] for library in sorted(libraries & set(LIBRARIES))}
    # without the build's suffix (+cpu, +cu128): every build of a release names a trial alike
    return {"torch": torch.__version__.partition("+")[0], **versions, "source": source_checksum(*modules)}


def _targets(config: JsonValue) -> list[str]:
    """Every ``_target_`` in a config, however deep."""
    if isinstance(config, list):
        return [target for value in config for target in _targets(value)]
    if not isinstance(config, dict):
        return []
    own = [str(config["_target_"])] if "_target_" in config else []
    return own + [target for value in config.values() for target in _targets(value)]


def reseeded(trial: Trial, seed: int) -> Trial:
    """The trial with another seed. Raises ValueError where today's code or torch would train it differently."""
    for name, now in numerics(trial.recorded).items():
        if trial.recorded.get(name) != now:
            raise ValueError(
                f"trial {trial.key} was trained by {name} {trial.recorded.get(name)}, and this is {now}: "
                "run its study again before it is repeated"
            )
    return Trial.of(trial.recorded | {"seed": seed}, trial.folder.parent)


def read_trial(folder: Path) -> Trial:
    """The trial kept in a folder of the store. Raises ValueError where it isn't there or isn't what its name says."""
    path = folder / "config.json"
    if not path.exists():
        raise ValueError(f"trial {folder.name} isn't in {folder.parent}: run the study's python -m src.train -m again")
    recorded = records.read(path, Config, _anew(folder))
    if files.fingerprint(recorded) != folder.name:
        raise ValueError(f"{path} was altered: it no longer hashes to {folder.name}: {_anew(folder)}")
    trial = Trial.of(recorded, folder.parent)
    check_parts(trial.config, str(path))
    return trial


def check_parts(config: TrialConfig, where: str) -> None:
    """Raise ValueError where the config of a trial, which may have come from anywhere, would build what it may not."""
    parts: dict[str, JsonValue] = {"model": config.model, "method": config.method, "augmentation": config.augmentation}
    if config.optimizer is not None:
        parts["optimizer"] = config.optimizer.factory
    for slot, part in parts.items():
        try:
            check_targets(slot, part)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None


def configuration(trial: Trial) -> str:
    """A fingerprint of everything that names the trial but its seed: trials that share it are repetitions."""
    return files.fingerprint({key: value for key, value in trial.recorded.items() if key != "seed"})


def loss_definition(trial: Trial) -> str:
    """A fingerprint of everything that defines the pretext loss."""
    return files.fingerprint({key: trial.recorded[key] for key in ("method", "augmentation", "batch_size", "data")})


def knobs(trial: Trial) -> Config:
    """The settings that a person chose, flat: method.temperature, optimizer.learning_rate, ..."""
    chosen = flatten({key: trial.recorded[key] for key in DETERMINES_WEIGHTS if key != "seed"})
    return {key: value for key, value in chosen.items() if not key.endswith(("_target_", "_partial_"))} | names(trial)


def names(trial: Trial) -> Config:
    """What the parts of a trial are called, as knobs and MLflow have it."""
    config = trial.config
    return {
        "method.name": part_name(config, "method"),
        "model.name": part_name(config, "model"),
        "optimizer.name": part_name(config, "optimizer"),
    }


def flatten(config: Mapping[str, JsonValue], prefix: str = "") -> Config:
    """Nested keys joined by dots."""
    flat: Config = {}
    for key, value in config.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
