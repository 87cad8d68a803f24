"""supervised: a study's encoder trained with the labels of ``probe``, the reference for training without labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from src.runtime import app
from src.runtime.records import Config, closed
from src.runtime.settings import Component, Folders, Name, Natural, Seconds, Seeds

if TYPE_CHECKING:
    from src.probe.features import Split
    from src.study.stored import StoredStudy
    from src.trial.identity import Trial


@closed
@dataclass(frozen=True)
class Settings:
    """What conf/supervised.yaml states."""

    study: Name
    trial: Natural  # whose encoder, views, optimizer and number of training images the reference takes
    seeds: Seeds
    method: Component
    checkpoint_seconds: Seconds
    folders: Folders


def supervised(settings: Settings) -> None:
    """Train runs/<study>-supervised: one trial per seed on the images and classes of ``probe``."""
    from src.probe.features import Split
    from src.runtime.device import set_up
    from src.study.stored import StoredStudy

    study = StoredStudy(settings.folders.of(settings.study), settings.folders.trusted())
    like = _like(study, settings.trial)
    labelled = Split(study.manifest, "probe")
    # An epoch drops its incomplete last batch; of a batch larger than the split nothing would be left.
    if like.config.batch_size > len(labelled.images):
        raise ValueError(
            f"trial {settings.trial} has batch_size {like.config.batch_size}, and probe {len(labelled.images)} "
            "images: name another trial"
        )
    # The trial's own device and threads: both are part of a trial's name.
    set_up(like.config.device, like.config.threads)
    trials = [_with_labels(like, labelled, settings.method, seed) for seed in settings.seeds]
    _train(study, trials, labelled, settings.checkpoint_seconds)
    print("probe shows it beside the untrained encoder")
    print(f"next: python -m src.probe study={study.name}")


def _like(study: StoredStudy, number: int) -> Trial:
    """The trial whose encoder, views, optimizer and number of training images the reference takes."""
    trial = next((entry.trial for entry in study.entries if entry.number == number), None)
    if trial is None:
        numbers = [entry.number for entry in study.entries]
        raise ValueError(
            f"trial must be a number of study {study.name}, {min(numbers)} to {max(numbers)}, got {number}"
        )
    if trial.config.data.classes is not None:
        raise ValueError(f"study {study.name} was trained with labels itself: name the one that it is the reference of")
    if trial.config.optimizer is None:
        raise ValueError(f"trial {number} of study {study.name} was adopted: nothing is known of how it was trained")
    return trial


def _with_labels(like: Trial, labelled: Split, method: Config, seed: int) -> Trial:
    """The trial with its method replaced by learning from labels, and its images by those of ``probe``."""
    from src.runtime import files
    from src.trial.identity import Trial, numerics, unnamed

    data: Config = {
        "probe": labelled.manifest.splits.probe.checksum,
        # part of the name: other labels of the same images make another trial
        "classes": files.fingerprint(labelled.classes.tolist()),
        # normalised as for the trial, so that only images and loss differ from it
        "mean": [*like.config.data.mean],
        "std": [*like.config.data.std],
    }
    # Class numbers index the head's outputs, so a number that no image has still counts.
    with_classes = {**method, "classes": int(labelled.classes.max()) + 1}
    recorded = like.recorded | {"method": unnamed(with_classes), "data": data, "seed": seed}
    return Trial.of({**recorded, **numerics(recorded)}, like.folder.parent)


def _train(study: StoredStudy, trials: list[Trial], labelled: Split, checkpoint_seconds: float) -> None:
    from src.probe.features import SUPERVISED
    from src.runtime import files
    from src.study.log import Study
    from src.train.runner import StudyRunner, as_in

    identity: Config = {
        # by which probe knows this study's reference from that of an earlier study of the same name
        "supervises": study.identity,
        "evaluation": files.plain(study.protocol),
        "trials": [trial.key for trial in trials],
    }
    how = as_in(study, trials[0].config.device, checkpoint_seconds)
    reference = Study(study.folder.with_name(study.name + SUPERVISED), identity)
    runner = StudyRunner(how, reference, study.manifest, len(trials), classes=labelled.classes)
    try:
        for number, trial in enumerate(trials):
            runner.run(number, [f"seed={trial.config.seed}"], trial)
    finally:
        print(f"written: {runner.close()}")


if __name__ == "__main__":
    app.run(supervised, "supervised", Settings)
