"""What of a trial store no study needs. Only what is proved to be this project's own, and whole, is ever listed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import date
from itertools import count
from pathlib import Path
from typing import NamedTuple

from src.runtime import files, records
from src.study.log import logged_trials, read_study
from src.study.store_users import users
from src.trial.config import TrialConfig
from src.trial.identity import CHECKPOINT, read_trial
from src.trial.initial_weights import FOLDER as WEIGHTS

TRASH = "trash"  # of the store; a folder for each day
TRIAL = re.compile(r"[0-9a-f]{16}")
OWN = re.compile(  # the files of a trial's folder
    r"config\.json|record\.json|history\.json|timing\.json|\.lock|snapshots/\d{7}\.safetensors"
    r"|criteria/(spectrum-)?[0-9a-f]{16}\.json|features/\d{7}-[0-9a-f]{16}\.safetensors"
)
FEATURES = re.compile(r"features/\d{7}-[0-9a-f]{16}\.safetensors")


class Unneeded(NamedTuple):
    """Files of one folder of the store, or one file, that can go."""

    path: Path
    what: str
    files: list[Path]

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files)


def find(runs: Path, store: Path) -> tuple[list[Unneeded], list[str]]:
    """What can go, and in words what stays though no study lists it.

    Raises ValueError where it can't be known which studies use the store: there is none, a folder of studies that has
    used it is not there, or a study can't be read.
    """
    listed = _listed(runs, store)
    unneeded, kept = [], []
    for folder in sorted(store.iterdir()):
        if not TRIAL.fullmatch(folder.name) or folder.is_symlink() or not folder.is_dir():
            continue
        own = [path for path in _files(folder) if OWN.fullmatch(path.relative_to(folder).as_posix())]
        if folder.name in listed:
            features = [path for path in own if FEATURES.fullmatch(path.relative_to(folder).as_posix())]
            if features:
                unneeded.append(Unneeded(folder / "features", "cached features", features))
            continue
        reason = _reason_to_stay(folder, own)
        if reason:
            kept.append(f"{folder}, {reason}")
        else:
            unneeded.append(Unneeded(folder, "trial that no study lists", own))
    return unneeded + _weights(store), kept


def _listed(runs: Path, store: Path) -> set[str]:
    """Every trial that a study of any folder that uses the store lists, however old its search."""
    noted = users(store)
    for folder, note in noted.items():
        if not folder.is_dir():
            raise ValueError(
                f"studies in {folder} have trials in {store}, and that folder isn't there: bring it back, or delete "
                f"{note} if it is gone for good"
            )
    if not noted and any(TRIAL.fullmatch(path.name) for path in store.glob("*")):
        raise ValueError(f"{store} doesn't know which studies use it: run the python -m src.train of one again first")
    places = dict.fromkeys([runs.resolve(), *noted])  # each once
    studies = [study for place in places for study in _studies(place, store.resolve())]
    if not studies:
        raise ValueError(f"no study in {runs}: without one nothing says which trials of {store} are needed")
    listed: set[str] = set()
    for study in studies:
        # logs too: an unfinished search and an earlier one stand in no study.json
        for log in study.glob("log-*.jsonl"):
            listed |= logged_trials(log)
        if (study / "study.json").exists():
            listed |= {entry.trial for entry in read_study(study).trials}
    return listed


def _studies(runs: Path, store: Path) -> Iterator[Path]:
    """The folders below ``runs`` that hold a study or its log; links are followed, not round in circles."""
    seen: set[str] = set()
    for place, folders, names in os.walk(runs, followlinks=True):
        folders[:] = [name for name in folders if Path(place, name).resolve() != store]
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        if any(name == "study.json" or (name.startswith("log-") and name.endswith(".jsonl")) for name in names):
            yield Path(place)


def _files(folder: Path) -> list[Path]:
    return sorted(Path(place, name) for place, _, names in os.walk(folder) for name in names)


def _reason_to_stay(folder: Path, own: list[Path]) -> str:
    """Why a folder that no study lists isn't removed; empty where its record proves it a whole trial and no more."""
    if (folder / CHECKPOINT).exists():
        return f"which can be trained on from its {CHECKPOINT}"
    try:
        if read_trial(folder).record() is None:
            return "which isn't a finished trial"
    except ValueError as error:
        return f"which isn't a whole trial ({error})"
    strange = sorted(set(_files(folder)) - set(own))
    return f"which holds {strange[0].relative_to(folder)}, somebody else's file" if strange else ""


def _weights(store: Path) -> list[Unneeded]:
    """Given weights that no listed trial, and no other that is left, began from."""
    begun = set()
    for folder in store.iterdir():
        if TRIAL.fullmatch(folder.name) and (folder / "config.json").exists():
            config = records.read(folder / "config.json", TrialConfig, "repair it, or move its folder away")
            begun.add(config.start.weights)
    unneeded = []
    for path in sorted((store / WEIGHTS).glob("*.safetensors")):
        # a file that isn't what its name says may be somebody else's
        if path.stem not in begun and files.checksum(path) == path.stem:
            unneeded.append(Unneeded(path, "weights that no trial began from", [path]))
    return unneeded


def move(unneeded: list[Unneeded], store: Path) -> tuple[int, Path]:
    """Move what isn't needed to a folder of today in the store's trash; how many, and where to."""
    day = store / TRASH / date.today().isoformat()
    trash = next(place for place in _numbered(day) if not place.exists())
    for one in _held(unneeded):
        for path in one.files:
            target = trash / path.relative_to(store)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        _remove_empty(one, store)
    return len(unneeded), trash


def remove(unneeded: list[Unneeded], store: Path) -> int:
    """Delete what isn't needed; how many."""
    for one in _held(unneeded):
        for path in one.files:
            path.unlink()
        _remove_empty(one, store)
    return len(unneeded)


def _numbered(day: Path) -> Iterator[Path]:
    yield day
    yield from (day.with_name(f"{day.name}-{number}") for number in count(2))


def _held(unneeded: list[Unneeded]) -> Iterator[Unneeded]:
    """Each in turn, its trial held for this process. Raises files.Busy where another process trains it."""
    for one in unneeded:
        trial = one.path.parent if one.path.name == "features" else one.path
        if not TRIAL.fullmatch(trial.name):
            yield one
            continue
        with files.locked(trial / ".lock"):
            yield one


def _remove_empty(one: Unneeded, store: Path) -> None:
    above = {folder for path in one.files for folder in path.parents if folder.is_relative_to(one.path)}
    # the deepest first: a folder is empty once those in it are gone
    for folder in sorted(above, key=lambda path: -len(path.parts)):
        if folder != store and not any(folder.iterdir()):
            folder.rmdir()


def size(folder: Path) -> int:
    """Bytes of the files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
