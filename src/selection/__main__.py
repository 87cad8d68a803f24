"""selection: pick a trial by a rule. No label is read here, nor anything made from one unless the rule asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from src.runtime import app

if TYPE_CHECKING:
    from src.study.pool import Pool


def selection(config: DictConfig) -> None:
    """Rank a study's trials by a rule and write runs/<study>/selection.json and selection.txt."""
    from src.runtime import files
    from src.runtime.console import make_console
    from src.selection.ranking import rank
    from src.selection.rule import make_rule
    from src.study.stored import StoredStudy, next_command
    from src.study.tables import as_text, selection_tables
    from src.tracking.mirror import StudyMirror

    settings: Any = OmegaConf.to_container(config, resolve=True)
    folder = Path(settings["folders"]["runs"]) / settings["study"]
    _check_outputs(folder)
    study = None if settings["table"] else StoredStudy(folder, settings["folders"].values())
    pool = _read(settings, study)
    rule = make_rule(pool, settings["rule"])
    chosen = rank(pool, rule, snapshots=settings["snapshots"], draws=settings["draws"], seed=settings["seed"])
    files.write_json(folder / "selection.json", chosen)

    console, tables = make_console(), selection_tables(chosen)
    console.print(*tables)
    files.write_atomically(folder / "selection.txt", as_text(tables).encode())
    if study is not None:
        picks = {winner["trial"]: winner["step"] for winner in chosen["winners"]}
        StudyMirror(study).tag_picks(study.entries, "selected", picks, chosen["rule"])
    for winner in chosen["winners"]:
        console.print(_sentence(winner, chosen), highlight=False)
        if study is not None:
            trial = next(entry.trial for entry in study.entries if entry.trial.key == winner["trial"])
            console.print(f"its weights: {trial.snapshot_path(winner['step'])}", highlight=False)
    if len(chosen["winners"]) > 1:
        console.print(f"one winner for each method: {chosen['rule']} doesn't compare methods")
    from_table = f"python -m src.report study={pool.name} table={settings['table']}"
    following = from_table if study is None else next_command(study)
    console.print(f"written: {folder / 'selection.json'}\nnext: {following}", highlight=False)


def _check_outputs(folder: Path) -> None:
    """Raise ValueError where this would write over something that it didn't write."""
    from src.runtime.records import Selection, check_replaceable

    check_replaceable(folder / "selection.json", Selection, "selection")
    table = folder / "selection.txt"
    if table.exists() and ": ranking by " not in table.read_text(errors="replace").partition("\n")[0]:
        raise ValueError(f"{table} wasn't written by python -m src.selection: move it away")


def _read(settings: dict[str, Any], study: Any) -> Pool:
    """The pool, without labels unless the rule asks for a budget of them."""
    from src.study.pool import LABELS
    from src.study.stored import read_budgets, unlabelled_pool
    from src.study.table import read_pool

    wanted = settings["rule"] if isinstance(settings["rule"], list) else [settings["rule"]]
    labelled = any(name.startswith(LABELS) for name in wanted)
    if study is None:
        return read_pool(Path(settings["table"]), settings["study"], probes=False, budgets=labelled)
    return unlabelled_pool(study, read_budgets(study) if labelled else {})


def _sentence(winner: dict[str, Any], chosen: dict[str, Any]) -> str:
    lines = [line for line in chosen["ranking"] if line["method"] == winner["method"] or len(chosen["winners"]) == 1]
    alike = [str(line["number"]) for line in lines if not line["told_apart"] and not line["picked"]]
    best = lines[0]
    tie = "" if winner is best or winner == best else f", the cheapest of those tied with trial {best['number']}"
    rest = f"; can't be told apart from {', '.join(alike)}" if alike else ""
    if winner["probability_best"] is None:
        sure = "; how stable the rule's order is, nobody measured: "
        if chosen["snapshots"] == "all":
            sure += "noise is measured of last snapshots alone (snapshots=last)"
        else:
            sure += "that takes repeated trials (src.confirm) or, for criteria that need more images than features, "
            sure += "twice as many evaluation.images as these"
    else:
        noise = next(one for one in chosen["noise"] if one["method"] in ("", winner["method"]))
        drawn = "images and seeds" if noise["seeds"] else "images"
        sure = f"; first in {100 * winner['probability_best']:.0f} % of draws of other {drawn} "
        sure += f"(how stable the rule's order is, not how accurate the trial){rest}"
    return (
        f"picked: trial {winner['number']} ({winner['trial']}) at step {winner['step']}, method {winner['method']}"
        f"{tie}{sure}"
    )


if __name__ == "__main__":
    app.run(selection, "selection")
