"""selection: pick a trial by a label-free criterion. No label is read here, nor anything made from one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src import app


def selection(config: DictConfig) -> None:
    """Rank a study's trials by a criterion and write runs/<study>/selection.json and selection.txt."""
    from src import files
    from src.mirror import StudyMirror
    from src.ranking import rank
    from src.record import StudyRecord
    from src.screen import as_text, make_console, selection_tables

    settings: Any = OmegaConf.to_container(config, resolve=True)
    study = StudyRecord(Path(settings["folders"]["runs"]) / settings["study"])
    chosen = rank(study, settings["criterion"]["name"] if "criterion" in settings else study.criterion)
    files.write_json(study.folder / "selection.json", chosen)

    console, tables = make_console(), selection_tables(chosen)
    console.print(*tables)
    files.write_atomically(study.folder / "selection.txt", as_text(tables).encode())
    picks = {winner["trial"] for winner in chosen["winners"]}
    StudyMirror(study).selected(study.entries, picks, chosen["criterion"]["name"])
    for winner in chosen["winners"]:
        console.print(
            f"picked: trial {winner['number']} ({winner['trial']}), method {winner['method']}", highlight=False
        )
    if len(chosen["winners"]) > 1:
        console.print(f"one winner for each method: {chosen['criterion']['name']} doesn't compare methods")
    console.print(
        f"written: {study.folder / 'selection.json'}\nnext: python -m src.report study={study.name}", highlight=False
    )


if __name__ == "__main__":
    app.run(selection, "selection")
