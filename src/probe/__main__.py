"""probe: the labelled quality of every trial and its snapshots, beside raw pixels, an untrained and a supervised
encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from src.runtime import app, check

JUDGES = ("linear", "knn")  # the probes that the report may judge by, which needs them at every snapshot

if TYPE_CHECKING:
    from src.probe.features import Split
    from src.study.stored import Entry, StoredStudy


def probe(config: DictConfig) -> None:
    """Fit on the labels of ``probe``, score on ``val``, write probe.json of the study and of what confirmed it."""
    from src.confirm.confirmation import SUFFIX
    from src.probe.features import SUPERVISED
    from src.runtime.console import make_console
    from src.runtime.device import set_up
    from src.study.stored import StoredStudy

    settings: Any = OmegaConf.to_container(config, resolve=True)
    set_up("cpu", settings["threads"])
    folder = Path(settings["folders"]["runs"]) / settings["study"]
    repeated, with_labels = (folder.with_name(folder.name + suffix) for suffix in (SUFFIX, SUPERVISED))
    study = StoredStudy(folder, settings["folders"].values())
    tuned, numbers = settings["finetune"]["trials"], [entry.number for entry in study.entries]
    if not set(tuned) <= set(numbers):
        raise ValueError(f"finetune.trials must be numbers of study {study.name}, 0 to {max(numbers)}, got {tuned}")
    for name, one in settings["probe"].items():
        check.choice(f"probe.{name}.snapshots", one["snapshots"], ("all",) if name in JUDGES else ("last", "all"))
    _probe_study(study, settings, tuned, _reference(study, with_labels))
    if (repeated / "study.json").exists():
        _probe_study(StoredStudy(repeated, study.trusted), settings, [], None)
    make_console().print(f"next: {_next(study)}", highlight=False)


def _next(study: StoredStudy) -> str:
    """The report where a trial of this very search is picked already, else the selection."""
    from src.study.stored import check_current, read_selection

    try:
        check_current(dict(read_selection(study.folder)), study)
    except ValueError:
        return f"python -m src.selection study={study.name}"
    return f"python -m src.report study={study.name}"


def _reference(study: StoredStudy, folder: Path) -> StoredStudy | None:
    """The supervised reference of this very study, not of an earlier one of its name."""
    from src.study.log import read_study
    from src.study.stored import StoredStudy

    if not (folder / "study.json").exists():
        return None
    if read_study(folder)["identity"].get("supervises") != study.identity:
        print(f"{folder} is of another search: python -m src.supervised study={study.name} trains a reference of this")
        return None
    return StoredStudy(folder, study.trusted)


def _probe_study(study: StoredStudy, settings: dict[str, Any], tuned: list[int], reference: StoredStudy | None) -> None:
    from rich.progress import track

    from src.evaluation.embeddings import encode
    from src.probe.features import Split, score, trial_features
    from src.probe.finetuning import check_settings
    from src.runtime import files
    from src.runtime.console import make_console
    from src.runtime.records import ProbeFile, check_replaceable
    from src.study.tables import probe_table
    from src.tracking.mirror import StudyMirror
    from src.trial.identity import build_method

    check_replaceable(study.folder / "probe.json", ProbeFile, "probe")
    fitted, scored = Split(study.manifest, "probe"), Split(study.manifest, "val")
    if tuned:
        check_settings(len(fitted.images), **_without_trials(settings["finetune"]))
    probes = settings["probe"]
    mirror = StudyMirror(study)
    untrained: Any = build_method(study.entries[0].trial.config, study.manifest.shape).eval().encoder
    baselines = {
        "raw pixels": [split.pixels() for split in (fitted, scored)],
        "untrained encoder": [encode(untrained, split.images, study.manifest) for split in (fitted, scored)],
    }
    for entry in reference.entries if reference is not None else []:
        if entry.trained:
            features = trial_features(entry.trial, entry.trial.snapshot_steps()[-1], [fitted, scored])
            baselines[f"supervised, seed {entry.trial.config['seed']}"] = [features["probe"], features["val"]]
    result: dict[str, Any] = {
        "study": study.name,
        "probe": probes,
        "baselines": {
            name: score(probes, fitted.labelled(bank), scored.labelled(queries), last=True)
            for name, (bank, queries) in baselines.items()
        },
        "trials": {},
    }
    for entry in track(study.entries, description="probing", console=make_console(), transient=True):
        snapshots: dict[str, Any] = {}
        steps = entry.trial.snapshot_steps() if entry.trained else []
        for step in steps:
            features = trial_features(entry.trial, step, [fitted, scored])
            labelled = fitted.labelled(features["probe"]), scored.labelled(features["val"])
            snapshots[str(step)] = score(probes, *labelled, last=step == steps[-1])
        if entry.number in tuned and steps:
            snapshots[str(steps[-1])]["finetune"] = _finetune(study, entry, fitted, scored, settings["finetune"])
        result["trials"][entry.trial.key] = snapshots
        mirror.probed(entry, snapshots)
    path = study.folder / "probe.json"
    files.write_json(path, result)
    console = make_console()
    console.print(probe_table(study, result))
    console.print(f"written: {path}", highlight=False)


def _finetune(
    study: StoredStudy, entry: Entry, fitted: Split, scored: Split, settings: dict[str, Any]
) -> dict[str, Any]:
    """The whole encoder trained on with the labels of probe: what the trial is worth as a starting point."""
    from src.probe.features import as_record
    from src.probe.finetuning import finetune
    from src.trial.loop import Normalise

    method: Any = entry.trial.method(entry.trial.snapshot_steps()[-1], study.manifest.shape)
    normalise = Normalise(study.manifest.mean, study.manifest.std, "cpu")
    labelled = fitted.images, fitted.classes, scored.images, scored.classes
    return as_record(finetune(method.encoder, normalise, *labelled, **_without_trials(settings)))


def _without_trials(finetuning: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in finetuning.items() if name != "trials"}


if __name__ == "__main__":
    app.run(probe, "probe")
