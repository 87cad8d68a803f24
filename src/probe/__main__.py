"""probe: the labelled quality of every trial and its snapshots, beside raw pixels, an untrained and a supervised
encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from src.runtime import app, check

JUDGES = ("linear", "knn")  # the probes that the report may judge by, which needs them at every snapshot

if TYPE_CHECKING:
    from src.study.stored import StoredStudy


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
    """Score a study, write its probe.json, mirror and print it."""
    from rich.progress import track

    from src.probe.finetuning import check_settings
    from src.probe.scoring import Labels, score_baselines, score_finetuned, score_trial
    from src.runtime import files
    from src.runtime.console import make_console
    from src.runtime.records import ProbeFile, check_replaceable
    from src.study.tables import probe_table
    from src.tracking.mirror import StudyMirror

    path = study.folder / "probe.json"
    check_replaceable(path, ProbeFile, "probe")
    labels, probes, mirror = Labels(study), settings["probe"], StudyMirror(study)
    finetuning = {name: value for name, value in settings["finetune"].items() if name != "trials"}
    if tuned:
        check_settings(len(labels.fitted.images), **finetuning)
    result: dict[str, Any] = {"study": study.name, "probe": probes, "trials": {}}
    result["baselines"] = score_baselines(study, reference, labels, probes)
    for entry in track(study.entries, description="probing", console=make_console(), transient=True):
        snapshots = score_trial(entry, labels, probes)
        if entry.number in tuned and snapshots:
            snapshots[max(snapshots, key=int)]["finetune"] = score_finetuned(study, entry, labels, finetuning)
        result["trials"][entry.trial.key] = snapshots
        mirror.probed(entry, snapshots)
    files.write_json(path, result)
    console = make_console()
    console.print(probe_table(study, result))
    console.print(f"written: {path}", highlight=False)


if __name__ == "__main__":
    app.run(probe, "probe")
