"""supervised: a study's encoder trained with the labels of ``probe`` instead, the reference for all without labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from src import app

if TYPE_CHECKING:
    from src.features import Split
    from src.record import StudyRecord
    from src.trial import Trial


def supervised(config: DictConfig) -> None:
    """Train runs/<study>-supervised: one trial per seed on the images and classes of ``probe``."""
    from src.device import set_up
    from src.evaluation import columns
    from src.features import SUPERVISED, Split
    from src.record import StudyRecord
    from src.study import Study

    settings: Any = OmegaConf.to_container(config, resolve=True)
    study = StudyRecord(Path(settings["folders"]["runs"]) / settings["study"], settings["folders"].values())
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
    print(f"next: python -m src.probe study={study.name}, where it stands beside the untrained encoder")


def _like(study: StudyRecord, number: int) -> Trial:
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
    from src import files
    from src.trial import Trial, numerics

    split = labelled.manifest.splits["probe"]
    data = {"probe": split["checksum"], "classes": files.fingerprint(labelled.classes.tolist())}
    data |= {name: like.config["data"][name] for name in ("mean", "std")}
    classes = int(labelled.classes.max()) + 1
    config = like.config | {"method": method | {"classes": classes}, "data": data, "seed": seed}
    config |= numerics(config)
    return Trial(config, like.folder.with_name(files.fingerprint(config)))


def _train(
    record: StudyRecord, study: Any, trials: list[Trial], labelled: Split, guide: dict[str, Any], seconds: float
) -> None:
    from src.session import Session

    settings = {
        "criterion": guide,
        "evaluation": record.protocol,
        "device": trials[0].config["device"],
        "folders": record.folders,
        "max_hours": None,
        "checkpoint_seconds": seconds,
    }
    criteria = list(record.criteria.values())
    session = Session(settings, study, record.manifest, criteria, len(trials), classes=labelled.classes)
    try:
        for number, trial in enumerate(trials):
            session.carry(number, [f"seed={trial.config['seed']}"], trial)
    finally:
        print(f"written: {session.close()}")


if __name__ == "__main__":
    app.run(supervised, "supervised")
