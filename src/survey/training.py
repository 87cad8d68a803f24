"""Takes every method through the stages: a learning rate by the labels of probe, then fresh seeds of that choice."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from src.runtime import stages
from src.study.log import read_study
from src.study.results import read_selection
from src.survey.settings import Settings


def study_name(data: str, name: str) -> str:
    return f"survey-{data}-{name}"


def train_all(settings: Settings) -> Iterator[str]:
    """Every method on every data set, then the references with labels; says what was done. Raises ValueError where a
    stage fails."""
    for data in settings.data_sets:
        if not (settings.folders.packed(data) / "budgets").exists():
            _stage(settings, "prepare", f"data={data}")
    wanted = [(data, name) for name in settings.methods for data in settings.data_sets]
    # Threads are enough: each only waits for the processes of its stages.
    with ThreadPoolExecutor(settings.jobs) as pool:
        yield from pool.map(lambda pair: _carry(settings, *pair), wanted)
    for data in settings.data_sets:
        for name, like in settings.supervised.items():
            yield _supervise(settings, data, name, like)


def _carry(settings: Settings, data: str, name: str) -> str:
    """Choose a method's learning rate by the labels of ``probe`` alone, then train it with fresh seeds and score these
    on ``val``."""
    study = study_name(data, name)
    _stage(settings, "train", "-m", f"pool=survey_{data}", f"study={study}", *settings.methods[name])
    if len(_healthy(settings, study)) > 1:
        labels = settings.folders.packed(data) / "budgets" / "all.csv"
        _stage(settings, "budget", f"study={study}", stages.override("file", str(labels)), "threads=1")
        _stage(settings, "selection", f"study={study}", "rule=labels_all")
    number, seeds = _chosen(settings, study), _listed(settings.seeds)
    _stage(settings, "confirm", f"study={study}", f"trials=[{number}]", f"seeds={seeds}")
    _stage(settings, "probe", f"study={study}-confirm", "threads=1")
    return f"{study}: trial {number} with seeds {seeds}"


def _supervise(settings: Settings, data: str, name: str, like: str) -> str:
    study = study_name(data, like)
    trial, seeds = _chosen(settings, study), _listed(settings.seeds)
    _stage(settings, "supervised", f"study={study}", f"trial={trial}", f"seeds={seeds}")
    _stage(settings, "probe", f"study={study}-supervised", "threads=1")
    return f"{study}-supervised: the reference {name}"


def _stage(settings: Settings, stage: str, *arguments: str) -> None:
    """Run a stage as a person would. Raises ValueError with what it said last where it fails."""
    command = stages.command(stage, *arguments, folders=settings.folders)
    done = subprocess.run(command, text=True, capture_output=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ValueError(f"python -m src.{stage} {' '.join(arguments)} failed: {said[-1]}")


def _healthy(settings: Settings, study: str) -> list[int]:
    """The first number of every trial that neither collapsed nor diverged."""
    first: dict[str, int] = {}
    # Backwards, so that of several proposals of a trial the first one's number stays.
    for entry in reversed(read_study(settings.folders.of(study)).trials):
        if entry.status == "complete":
            first[entry.trial] = entry.number
    return list(first.values())


def _chosen(settings: Settings, study: str) -> int:
    """The trial that the labels of ``probe`` chose; the healthy one, or trial 0, where there was no choice."""
    healthy = _healthy(settings, study)
    if len(healthy) > 1:
        return read_selection(settings.folders.of(study)).winners[0].number
    return healthy[0] if healthy else 0


def _listed(seeds: list[int]) -> str:
    return f"[{','.join(map(str, seeds))}]"
