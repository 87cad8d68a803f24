"""A study with all that was measured with labels: for report, compare and evidence, never for selection."""

from __future__ import annotations

from src.confirm.confirmation import SUFFIX
from src.data.pack import read_labels
from src.runtime import records
from src.study.pool import Pool, joined
from src.study.results import ProbeFile, read_budgets
from src.study.stored import StoredStudy, labelled_pool, unlabelled_pool


def judged_pool(study: StoredStudy) -> Pool:
    """The study with probe's and budget's scores, and with the trials that confirm repeated and probe has scored.

    Raises ValueError where probe hasn't scored every trial; without classes to probe with, the pool has no scores.
    """
    probed = scores(study)
    if probed is None:
        return unlabelled_pool(study, read_budgets(study.folder))
    group = read_labels(study.manifest, "val")["group"]
    pool = labelled_pool(study, probed, group, read_budgets(study.folder))
    again = repeated(study)
    # Repeated but not probed: the report judges the first trials alone.
    if again is None or not (again.folder / "probe.json").exists():
        return pool
    return joined(pool, labelled_pool(again, _read_scores(again, study.name), group, read_budgets(again.folder)))


def scores(study: StoredStudy) -> ProbeFile | None:
    """probe.json, or None where the data has no classes to probe with. Raises ValueError where trials came after it."""
    if not (study.manifest.folder / "labels").exists() or "class" not in read_labels(study.manifest, "val"):
        return None
    return _read_scores(study, study.name)


def repeated(study: StoredStudy) -> StoredStudy | None:
    """The study of the trials that confirm repeated."""
    folder = study.folder.with_name(study.name + SUFFIX)
    return StoredStudy(folder, study.trusted) if (folder / "study.json").exists() else None


def _read_scores(study: StoredStudy, asked: str) -> ProbeFile:
    """``asked`` is the study that was named: probe scores with it what confirm repeated of it."""
    path = study.folder / "probe.json"
    if not path.exists():
        raise ValueError(f"{path} is missing: run python -m src.probe study={asked} first")
    probed = records.read(path, ProbeFile, f"run python -m src.probe study={asked} again")
    later = [str(entry.number) for entry in study.entries if entry.trained and not probed.trials.get(entry.trial.key)]
    if later:
        raise ValueError(f"{path} lacks trial {', '.join(later)}: run python -m src.probe study={asked} again")
    return probed
