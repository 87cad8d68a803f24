"""confirm: the first few trials of a selection once more with fresh seeds, and the selection repeated on those."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from src.runtime import app, interrupts

if TYPE_CHECKING:
    from src.study.stored import Entry, StoredStudy


def confirm(config: DictConfig) -> None:
    """Train runs/<study>-confirm, an ordinary study, and write runs/<study>/confirmation.json."""
    from src.confirm.confirmation import compare
    from src.evaluation.snapshots import IMPORTED
    from src.runtime import files
    from src.runtime.console import make_console
    from src.runtime.device import set_up
    from src.runtime.records import Confirmation, check_replaceable
    from src.study.stored import StoredStudy, next_command, unlabelled_pool
    from src.study.tables import confirmation_table
    from src.tracking.mirror import StudyMirror
    from src.trial.identity import part_name

    settings: Any = OmegaConf.to_container(config, resolve=True)
    study = StoredStudy(Path(settings["folders"]["runs"]) / settings["study"], settings["folders"].values())
    chosen = None if settings["trials"] is not None else _selection(study)
    path = study.folder / "confirmation.json"
    check_replaceable(path, Confirmation, "confirm")
    entries = _wanted(study, chosen, settings)
    adopted = [str(entry.number) for entry in entries if part_name(entry.trial.config, "method") == IMPORTED]
    if adopted:
        raise ValueError(
            f"trials {', '.join(adopted)} of study {study.name} were adopted: confirm can't train them with other seeds"
        )
    set_up(entries[0].trial.config["device"], entries[0].trial.config["threads"])
    fresh = _train(study, entries, settings)
    console = make_console()
    if chosen is None:
        console.print(f"written: {fresh.folder / 'study.json'}", highlight=False)
        return
    result = compare(chosen, unlabelled_pool(study, {}), unlabelled_pool(fresh, {}))
    files.write_json(path, result)
    console.print(confirmation_table(result))
    picks = {winner["trial"]: winner["step"] for winner in result["winners"]}
    StudyMirror(study).tag_picks(study.entries, "confirmed", picks, result["rule"])
    for winner in result["winners"]:
        console.print(
            f"confirmed: trial {winner['number']} ({winner['trial']}), method {winner['method']}", highlight=False
        )
        trial = next(entry.trial for entry in study.entries if entry.trial.key == winner["trial"])
        console.print(f"its weights: {trial.snapshot_path(winner['step'])}", highlight=False)
    if not result["winners"]:
        console.print(f"nothing is confirmed: {result['why_none']}", highlight=False)
    console.print(f"written: {path}\nnext: {next_command(study)}", highlight=False)


def _selection(study: StoredStudy) -> dict[str, Any]:
    from src.study.stored import check_current, read_selection

    chosen: dict[str, Any] = dict(read_selection(study.folder))
    check_current(chosen, study)
    if any(column.startswith("labels_") for column in chosen["columns"]):
        raise ValueError(
            f"selection.json of study {study.name} was made with labels, which confirm doesn't read: "
            "select by a label-free rule first"
        )
    return chosen


def _wanted(study: StoredStudy, chosen: dict[str, Any] | None, settings: dict[str, Any]) -> list[Entry]:
    by_number = {entry.number: entry for entry in study.entries}
    if chosen is None:
        unknown = [number for number in settings["trials"] if number not in by_number]
        if unknown:
            raise ValueError(
                f"trials must be numbers of study {study.name}, 0 to {max(by_number)}, got {settings['trials']}"
            )
        return [by_number[number] for number in settings["trials"]]
    taken: dict[str, list[int]] = {}
    per_method = len(chosen["winners"]) > 1
    for line in chosen["ranking"]:
        numbers = taken.setdefault(line["method"] if per_method else "", [])
        if line["number"] not in numbers:
            numbers.append(line["number"])
    picked = [winner["number"] for winner in chosen["winners"]]
    first = [number for numbers in taken.values() for number in numbers[: settings["top"]]]
    return [by_number[number] for number in dict.fromkeys(picked + first)]


def _train(study: StoredStudy, entries: list[Entry], settings: dict[str, Any]) -> StoredStudy:
    """Carry the fresh trials through as a study of their own; interrupted, the same command goes on."""
    from src.confirm.confirmation import SUFFIX
    from src.evaluation.snapshots import columns
    from src.study.log import Study
    from src.study.stored import StoredStudy
    from src.train.runner import StudyRunner
    from src.trial.identity import reseeded

    guide = next(criterion for criterion in study.criteria.values() if study.criterion in columns(criterion))
    runner_settings = {
        "criterion": guide,
        "evaluation": study.protocol,
        "device": entries[0].trial.config["device"],
        "folders": study.folders,
        **{key: settings[key] for key in ("max_hours", "checkpoint_seconds")},
    }
    wanted = [(entry, seed, reseeded(entry.trial, seed)) for seed in settings["seeds"] for entry in entries]
    trained = {entry.trial.key: entry for entry in study.entries}
    for _, seed, trial in wanted:
        if trial.key in trained:
            raise ValueError(f"seeds must be fresh, and trial {trained[trial.key].number} was trained with {seed}")
    identity = {"confirms": study.identity, "criterion": guide, "evaluation": study.protocol}
    identity |= {"trials": [trial.key for _, _, trial in wanted]}
    folder = study.folder.with_name(study.name + SUFFIX)
    runner = StudyRunner(
        runner_settings, Study(folder, identity), study.manifest, list(study.criteria.values()), len(wanted)
    )
    try:
        for number, (entry, seed, trial) in enumerate(wanted):
            runner.run(number, [*entry.overrides, f"seed={seed}"], trial)
    except interrupts.OutOfTime:
        raise ValueError("the budget of hours is spent; finished trials are kept, the same command goes on") from None
    finally:
        runner.close()
    return StoredStudy(folder, study.trusted)


if __name__ == "__main__":
    app.run(confirm, "confirm")
