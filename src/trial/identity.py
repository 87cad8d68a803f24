"""A trial is a training trajectory; its name is a hash of what determines the weights. The store keeps its record."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode

from src.data.pack import Manifest, Shape
from src.runtime import check, files, records
from src.runtime.build import build, check_targets
from src.runtime.distributed import world
from src.runtime.records import History, TrialConfig, TrialRecord
from src.runtime.rng import global_generator
from src.trial.code_checksum import imported_libraries, source_checksum
from src.trial.initial_weights import check_compiler, check_start
from src.trial.loop import step_flops
from src.trial.optim import SCALING, make_optimizer
from src.trial.sharing import check_shares

if TYPE_CHECKING:
    from src.methods.method import Method

RECORD = "record.json"
CHECKPOINT = "checkpoint.pt"
PRECISIONS = ("fp32", "bf16")
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


@dataclass(frozen=True)
class Trial:
    config: dict[str, Any]  # what determines the weights, nothing else
    folder: Path

    @property
    def key(self) -> str:
        return self.folder.name

    @property
    def steps(self) -> int:
        return int(self.config["schedule"]["images"] // self.config["batch_size"])

    def record(self) -> dict[str, Any] | None:
        """The finished record, every file's checksum verified, or None for unfinished work.

        Raises ValueError where a recorded file is missing or altered.
        """
        path = self.folder / RECORD
        if not path.exists():
            return None
        record = records.read(path, TrialRecord, f"delete {self.folder} and train the trial again")
        for name, expected in record["files"].items():
            if not (self.folder / name).exists() or files.checksum(self.folder / name) != expected:
                raise ValueError(
                    f"{self.folder / name} is missing or altered: delete {self.folder} and train the trial again"
                )
        return dict(record)

    def history(self) -> list[dict[str, float]]:
        path = self.folder / "history.json"
        return records.read(path, History, f"delete {self.folder} and train the trial again")

    def snapshot_steps(self) -> list[int]:
        return sorted(int(path.stem) for path in (self.folder / "snapshots").glob(f"{'[0-9]' * 7}.safetensors"))

    def snapshot_path(self, step: int) -> Path:
        return self.folder / "snapshots" / f"{step:07d}.safetensors"

    def method(self, step: int, shape: Shape) -> Method:
        """The method with the weights of a snapshot, in eval mode."""
        method = build_method(self.config, shape)
        method.load_state_dict(load_file(self.snapshot_path(step)))
        method.eval()
        return method


def identify(config: dict[str, Any], manifest: Manifest, store: Path, *, device: str, threads: int) -> Trial:
    """Name the trial of a composed config, after checking every value. Trains and writes nothing.

    Raises ValueError on any value out of range.
    """
    trial_config = {key: unnamed(config[key]) for key in DETERMINES_WEIGHTS}
    trial_config["data"] = {
        "pretrain": manifest.splits["pretrain"]["checksum"],
        "mean": list(manifest.mean),
        "std": list(manifest.std),
    }
    _check(trial_config, manifest, store, device)
    kind = torch.device(device).type
    trial_config |= {"device": kind, "threads": threads, "processes": world(), **numerics(trial_config)}
    return Trial(trial_config, store / files.fingerprint(trial_config))


def unnamed(group: Any) -> Any:
    """A config group without its ``name``, which is for people: equal trainings are one trial."""
    return {key: value for key, value in group.items() if key != "name"} if isinstance(group, dict) else group


def part_name(config: dict[str, Any], part: str) -> str:
    """What a trial's method, model or optimizer is called: after the module, or the class of torch or timm, it names.

    Empty where nothing is known of it, as of an adopted encoder's optimizer.
    """
    target = config[part].get("_target_") or config[part].get("factory", {}).get("_target_", "")
    module, _, name = target.rpartition(".")
    return str(module.rpartition(".")[2] if module.startswith("src.") else name.lower())


def numerics(config: dict[str, Any]) -> dict[str, str]:
    """What a trial's numbers depend on beside its settings: the torch release and the code that trains it."""
    groups = [config[group] for group in ("model", "method", "augmentation")]
    targets = {target.rpartition(".")[0] for target in _targets(groups)}
    modules = ["src.trial.loop", "src.trial.optim", "src.trial.initial_weights", *sorted(targets)]
    optimizer = config["optimizer"].get("factory", {}).get("_target_", "")  # an adopted encoder has none
    libraries = imported_libraries(*modules) | {optimizer.partition(".")[0]}
    versions = {library: version(library).partition("+")[0] for library in sorted(libraries & set(LIBRARIES))}
    return {"torch": torch.__version__.partition("+")[0], **versions, "source": source_checksum(*modules)}


def _targets(config: Any) -> list[str]:
    """Every ``_target_`` of this project in a config, however deep."""
    if isinstance(config, list):
        return [target for value in config for target in _targets(value)]
    if not isinstance(config, dict):
        return []
    own = [config["_target_"]] if str(config.get("_target_", "")).startswith("src.") else []
    return own + [target for value in config.values() for target in _targets(value)]


def reseeded(trial: Trial, seed: int) -> Trial:
    """The trial with another seed. Raises ValueError where today's code or torch would train it differently."""
    for name, now in numerics(trial.config).items():
        if trial.config.get(name) != now:
            raise ValueError(
                f"trial {trial.key} was trained by {name} {trial.config.get(name)}, and this is {now}: "
                "run its study again before it is repeated"
            )
    config = trial.config | {"seed": seed}
    return Trial(config, trial.folder.with_name(files.fingerprint(config)))


def read_trial(folder: Path) -> Trial:
    """The trial kept in a folder of the store. Raises ValueError where it isn't there or isn't what its name says."""
    path = folder / "config.json"
    if not path.exists():
        raise ValueError(f"trial {folder.name} isn't in {folder.parent}: run the study's python -m src.train -m again")
    config = dict(records.read(path, TrialConfig, f"delete {folder} and train the trial again"))
    if files.fingerprint(config) != folder.name:
        raise ValueError(f"{path} was altered: it no longer hashes to {folder.name}; delete the folder and train again")
    check_parts(config, str(path))
    return Trial(config, folder)


def check_parts(config: dict[str, Any], where: str) -> None:
    """Raise ValueError where the config of a trial, which may have come from anywhere, would build what it may not."""
    parts = {slot: config.get(slot) for slot in ("model", "method", "augmentation")}
    parts["optimizer"] = config.get("optimizer", {}).get("factory")  # an adopted encoder has none
    for slot, part in parts.items():
        try:
            check_targets(slot, part)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None


def _check(config: dict[str, Any], manifest: Manifest, store: Path, device: str) -> None:
    schedule, optimizer, count = config["schedule"], config["optimizer"], manifest.splits["pretrain"]["count"]
    check.number("batch_size", config["batch_size"], at_least=2, whole=True)
    check.number("seed", config["seed"], at_least=0, whole=True)
    check.choice("precision", config["precision"], PRECISIONS)
    check.number("optimizer.learning_rate", optimizer["learning_rate"], above=0)
    check.number("optimizer.weight_decay", optimizer["weight_decay"], at_least=0)
    check.number("optimizer.clip", optimizer["clip"], above=0)
    check.choice("optimizer.scaling", optimizer["scaling"], tuple(SCALING))
    check.choice("schedule.decay", schedule["decay"], ("cosine", "constant"))
    check.number("schedule.warmup", schedule["warmup"], at_least=0, below=1)
    check.number("schedule.evaluations", schedule["evaluations"], at_least=1, whole=True)
    check.number("schedule.rows", schedule["rows"], at_least=1, whole=True)
    check.number("schedule.images", schedule["images"], at_least=1, whole=True)
    if config["batch_size"] > count:
        raise ValueError(f"batch_size must be at most the {count} pretrain images, got {config['batch_size']}")
    rows = schedule["rows"] * schedule["evaluations"]
    if schedule["images"] < rows * config["batch_size"]:
        raise ValueError(
            f"schedule.images must be at least schedule.evaluations x schedule.rows x batch_size = "
            f"{rows * config['batch_size']}, got {schedule['images']}: raise it, or lower one of these"
        )
    build("augmentation", config["augmentation"])
    with torch.device("meta"):
        method = build_method(config, manifest.shape)
        decays = {name: optimizer[name] for name in ("weight_decay", "layer_decay")}
        try:
            make_optimizer(method, build("optimizer", optimizer["factory"]), **decays)
        except Exception as error:  # of all kinds: torch's and timm's own check little
            raise ValueError(f"optimizer.factory={optimizer['factory']} can't be made: {error}") from None
    check_start(method, config["start"], store)
    check_shares(method, config["batch_size"], device)
    check_compiler(config["compile"])


def build_method(config: dict[str, Any], shape: Shape) -> Method:
    """The method of a trial's config around its encoder, initialised from the trial's seed."""
    with global_generator(config["seed"], "initialise"):
        encoder = build("model", config["model"], shape)
        method: Method = build("method", config["method"], encoder)
    method.to(memory_format=torch.channels_last)
    return method


def dimensions(trial: Trial, shape: Shape) -> dict[str, int]:
    """The number of features of h and of z."""
    with torch.device("meta"):
        method = build_method(trial.config, shape)
    return {"h": int(method.encoder.features), "z": int(method.projector.dimension)}  # type: ignore[arg-type]


def trial_flops(trial: Trial, manifest: Manifest) -> int:
    """Counted floating-point operations of one step of the trial."""
    with torch.device("meta"):
        method = build_method(trial.config, manifest.shape)
    augmentation = build("augmentation", trial.config["augmentation"])
    return step_flops(method, augmentation, manifest.shape, trial.config["batch_size"])


def configuration(trial: Trial) -> str:
    """A fingerprint of everything that names the trial but its seed: trials that share it are repetitions."""
    return files.fingerprint({key: value for key, value in trial.config.items() if key != "seed"})


def loss_definition(trial: Trial) -> str:
    """A fingerprint of everything that defines the pretext loss."""
    return files.fingerprint({key: trial.config[key] for key in ("method", "augmentation", "batch_size", "data")})


def knobs(trial: Trial) -> dict[str, Any]:
    """The settings that a person chose, flat: method.temperature, optimizer.learning_rate, ..."""
    chosen = flatten({key: trial.config[key] for key in DETERMINES_WEIGHTS if key != "seed"})
    plain = {key: value for key, value in chosen.items() if not key.endswith(("_target_", "_partial_"))}
    return plain | {f"{part}.name": part_name(trial.config, part) for part in ("method", "model", "optimizer")}


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def evaluation_flops(trial: Trial, manifest: Manifest, protocol: dict[str, Any]) -> int:
    """Counted floating-point operations of measuring one snapshot: the images, and their views under both recipes."""
    with torch.device("meta"):
        method = build_method(trial.config, manifest.shape)
        method.eval()
        image = torch.empty(1, *manifest.splits["pretrain"]["shape"][1:])
    with FlopCounterMode(display=False) as counter:
        method.projector(method.encoder(image))
    return int(counter.get_total_flops()) * int(protocol["images"] * (1 + 2 * protocol["views"]))
