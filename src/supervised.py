"""supervised: a study's encoder trained with the labels of ``probe`` instead, the reference for all without labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from src.runtime import app

if TYPE_CHECKING:
    from src.probe.features import Split
    from src.study.stored import StoredStudy
    from src.trial.identity import Trial


def supervised(config: DictConfig) -> None:
    """Train runs/<study>-supervised: one trial per seed on the images and classes of ``probe``."""
    from src.evaluation.snapshots import columns
    from src.probe.features import SUPERVISED, Split
    from src.runtime.device import set_up
    from src.study.log import Study
    from src.study.stored import StoredStudy

    settings: Any = OmegaConf.to_container(config, resolve=True)
    study = StoredStudy(Path(settings["folders"]["runs"]) / settings["study"], settings["folders"].values())
    like = _like(study, settings["trial"])
    labelled = Split(study.manifest, "probe")
    if like.config["batch_size"] > len(labelled.images):
        raise ValueError(
            f"trial {settings['trial']} has batch_size {like.config['batch_size']}, and probe {len(labelled.images)} "
            "images: name another trial"
        )
    set_up(like.config["device"], like.config["threads"])
    trials = [_with_labels(like, labelled, settings["method"], seed) for seed in settings["seeds"]]
    guide = next(criterion for criterion in study.criteria.values() if study.criterion in columns(criterion))
    identity = {"supervises": study.identity, "evaluation": study.protocol, "trials": [trial.key for trial in trials]}
    folder = study.folder.with_name(study.name + SUPERVISED)
    _train(study, Study(folder, identity), trials, labelled, guide, settings["checkpoint_seconds"])
    print("probe shows it beside the untrained encoder")
    print(f"next: python -m src.probe study={study.name}")


def _like(study: StoredStudy, number: int) -> Trial:
    """The trial whose encoder, views, optimizer and budget the reference takes."""
    found = next((entry.trial for entry in study.entries if entry.number == number), None)
    if found is None:
        numbers = [entry.number for entry in study.entries]
        raise ValueError(
            f"trial must be a number of study {study.name}, {min(numbers)} to {max(numbers)}, got {number}"
        )
    if "classes" in found.config["data"]:
        raise ValueError(f"study {study.name} was trained with labels itself: name the one that it is the reference of")
    if "factory" not in found.config["optimizer"]:
        raise ValueError(f"trial {number} of study {study.name} was adopted: nothing is known of how it was trained")
    return found


def _with_labels(like: Trial, labelled: Split, method: dict[str, Any], seed: int) -> Trial:
    """The trial with its method and its images exchanged for labels and those of ``probe``."""
    from src.runtime import files
    from src.trial.identity import Trial, numerics, unnamed

    split = labelled.manifest.splits["probe"]
    data = {"probe": split["checksum"], "classes": files.fingerprint(labelled.classes.tolist())}
    data |= {name: like.config["data"][name] for name in ("mean", "std")}
    classes = int(labelled.classes.max()) + 1
    config = like.config | {"method": unnamed(method) | {"classes": classes}, "data": data, "seed": seed}
    config |= numerics(config)
    return Trial(config, like.folder.with_name(files.fingerprint(config)))


def _train(
    record: StoredStudy, study: Any, trials: list[Trial], labelled: Split, guide: dict[str, Any], seconds: float
) -> None:
    from src.train.runner import StudyRunner

    settings = {
        "criterion": guide,
        "evaluation": record.protocol,
        "device": trials[0].config["device"],
        "folders": record.folders,
        "max_hours": None,
        "checkpoint_seconds": seconds,
    }
    criteria = list(record.criteria.values())
    runner = StudyRunner(settings, study, record.manifest, criteria, len(trials), classes=labelled.classes)
    try:
        for number, trial in enumerate(trials):
            runner.run(number, [f"seed={trial.config['seed']}"], trial)
    finally:
        print(f"written: {runner.close()}")


if __name__ == "__main__":
    app.run(supervised, "supervised")
