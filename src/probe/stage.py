"""What ``python -m src.probe`` does."""

from __future__ import annotations

from pathlib import Path

from rich.progress import track

from src.confirm.confirmation import SUFFIX
from src.probe.features import SUPERVISED
from src.probe.finetuning import check_enough
from src.probe.scoring import Labels, score_baselines, score_finetuned, score_trial
from src.probe.settings import Settings
from src.runtime import check, files
from src.runtime.console import make_console
from src.runtime.device import set_up
from src.runtime.records import check_replaceable
from src.study.log import read_study
from src.study.results import ProbeDefinition, ProbeFile, read_selection
from src.study.stored import StoredStudy, check_current
from src.study.tables import probe_table
from src.tracking.mirror import StudyMirror

# The probes that the report may judge by: to judge the loss and the choice of an epoch it needs them on every snapshot.
JUDGES = ("linear", "knn")


def run(settings: Settings) -> None:
    """Fit on the labels of ``probe``, score on ``val``, write probe.json of the study and of what confirmed it."""
    set_up("cpu", settings.threads)
    folder = settings.folders.of(settings.study)
    repeated, with_labels = (folder.with_name(folder.name + suffix) for suffix in (SUFFIX, SUPERVISED))
    study = StoredStudy(folder, settings.folders.trusted())
    tuned, numbers = settings.finetune.trials, [entry.number for entry in study.entries]
    if not set(tuned) <= set(numbers):
        raise ValueError(f"finetune.trials must be numbers of study {study.name}, 0 to {max(numbers)}, got {tuned}")
    for name, one in settings.probe.items():
        check.choice(f"probe.{name}.snapshots", one.snapshots, ("all",) if name in JUDGES else ("last", "all"))
    _probe_study(study, settings, tuned, _reference(study, with_labels))
    if (repeated / "study.json").exists():
        # finetune.trials are numbers of the study itself, and the supervised reference is listed there once.
        _probe_study(StoredStudy(repeated, study.trusted), settings, [], None)
    make_console().print(f"next: {_next(study)}", highlight=False)


def _next(study: StoredStudy) -> str:
    """The report where a trial of this very search is picked already, else the selection."""
    try:
        check_current(read_selection(study.folder), study)
    except ValueError:
        return f"python -m src.selection study={study.name}"
    return f"python -m src.report study={study.name}"


def _reference(study: StoredStudy, folder: Path) -> StoredStudy | None:
    """The supervised reference of this very study, not of an earlier one of its name."""
    if not (folder / "study.json").exists():
        return None
    if read_study(folder).identity.get("supervises") != study.identity:
        print(f"{folder} is of another search: python -m src.supervised study={study.name} trains a reference of this")
        return None
    return StoredStudy(folder, study.trusted)


def _probe_study(study: StoredStudy, settings: Settings, tuned: list[int], reference: StoredStudy | None) -> None:
    """Score a study, write its probe.json, mirror and print it."""
    path = study.folder / "probe.json"
    check_replaceable(path, ProbeFile, "probe")
    labels, mirror = Labels(study), StudyMirror(study)
    probes = {name: ProbeDefinition(one.score, one.snapshots) for name, one in settings.probe.items()}
    # Before the first trial is probed, not after all of them.
    if tuned:
        check_enough(len(labels.fitted.images), settings.finetune)
    trials = {}
    baselines = score_baselines(study, reference, labels, probes)
    for entry in track(study.entries, description="probing", console=make_console(), transient=True):
        snapshots = score_trial(entry, labels, probes)
        if entry.number in tuned and snapshots:
            last = snapshots[str(entry.steps[-1])]
            last["finetune"] = score_finetuned(study, entry, labels, settings.finetune)
        trials[entry.trial.key] = snapshots
        mirror.probed(entry, snapshots)
    probed = ProbeFile(study.name, probes, baselines, trials)
    files.write_json(path, probed)
    console = make_console()
    console.print(probe_table(study, probed))
    console.print(f"written: {path}", highlight=False)
