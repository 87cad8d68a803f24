"""clean: list what no study needs, and move it to the store's trash when asked to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from src.runtime import app
from src.runtime.records import closed
from src.runtime.settings import Place


@closed
@dataclass(frozen=True)
class CleanFolders:
    runs: Place
    store: Place


@closed
@dataclass(frozen=True)
class Settings:
    """What conf/clean.yaml states."""

    delete: bool
    forever: bool  # not to the trash
    folders: CleanFolders


def clean(settings: Settings) -> None:
    """Trials that no study lists, cached features, which probe makes again, and weights that no trial began from."""
    from src.runtime.console import make_console
    from src.study import cleaning
    from src.study.tables import clean_table

    runs, store = Path(settings.folders.runs), Path(settings.folders.store)
    unneeded, kept = cleaning.find(runs, store)
    console = make_console()
    console.print(clean_table(unneeded, cleaning.size(runs)))
    for line in kept:
        console.print(f"kept: {line}", highlight=False)
    if not settings.delete:
        console.print("nothing was removed: delete=true moves what is listed to the store's trash, with forever=true ")
        console.print("it is deleted")
        return
    if settings.forever:
        console.print(f"deleted what is listed: {cleaning.remove(unneeded, store)}")
        return
    count, trash = cleaning.move(unneeded, store)
    console.print(f"moved what is listed to {trash}: {count}; to free the space delete that folder", highlight=False)


if __name__ == "__main__":
    app.run(clean, "clean", Settings)
