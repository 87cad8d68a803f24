"""What ``python -m src.confirm`` does."""

from __future__ import annotations

from src.confirm.confirmation import SUFFIX, compare
from src.confirm.settings import Settings
from src.runtime import files, interrupts
from src.runtime.console import make_console
from src.runtime.device import set_up
from src.runtime.records import Config, check_replaceable
from src.study.log import Study
from src.study.results import Confirmation, Selection, read_selection
from src.study.stored import Entry, StoredStudy, check_current, next_command, unlabelled_pool
from src.study.tables import confirmation_table
from src.tracking.mirror import StudyMirror
from src.train.runner import StudyRunner, as_in
from src.trial.identity import reseeded


def run(settings: Settings) -> None:
    """Train runs/<study>-confirm, an ordinary study, and write runs/<study>/confirmation.json."""
    study = StoredStudy(settings.folders.of(settings.study), settings.folders.trusted())
    chosen = None if settings.trials is not None else _selection(study)
    path = study.folder / "confirmation.json"
    check_replaceable(path, Confirmation, "confirm")
    entries = _asked_for(study, settings.trials) if chosen is None else _first(study, chosen, settings.top)
    adopted = [str(entry.number) for entry in entries if entry.trial.config.optimizer is None]
    if adopted:
        raise ValueError(
            f"trials {', '.join(adopted)} of study {study.name} were adopted: confirm can't train them with other seeds"
        )
    # Device and threads are part of a trial's name; the first trial's are taken for all.
    set_up(entries[0].trial.config.device, entries[0].trial.config.threads)
    fresh = _train(study, entries, settings)
    if chosen is None:
        print(f"written: {fresh.folder / 'study.json'}")
        return
    result = compare(chosen, unlabelled_pool(study, {}), unlabelled_pool(fresh, {}))
    files.write_json(path, result)
    _show(study, result)


def _show(study: StoredStudy, result: Confirmation) -> None:
    console = make_console()
    console.print(confirmation_table(result))
    StudyMirror(study).tag_picks(study.entries, "confirmed", result.picks(), result.rule)
    for winner in result.winners:
        console.print(f"confirmed: trial {winner.number} ({winner.trial}), method {winner.method}", highlight=False)
        console.print(f"its weights: {study.trial(winner.trial).snapshot_path(winner.step)}", highlight=False)
    if not result.winners:
        console.print(f"nothing is confirmed: {result.why_none}", highlight=False)
    console.print(f"written: {study.folder / 'confirmation.json'}\nnext: {next_command(study)}", highlight=False)


def _selection(study: StoredStudy) -> Selection:
    chosen = read_selection(study.folder)
    check_current(chosen, study)
    # confirm stands on the side of the label wall that reads no label.
    if any(column.startswith("labels_") for column in chosen.columns):
        raise ValueError(
            f"selection.json of study {study.name} was made with labels, which confirm doesn't read: "
            "select by a label-free rule first"
        )
    return chosen


def _asked_for(study: StoredStudy, trials: list[int] | None) -> list[Entry]:
    by_number = {entry.number: entry for entry in study.entries}
    wanted = trials or []
    if any(number not in by_number for number in wanted):
        raise ValueError(f"trials must be numbers of study {study.name}, 0 to {max(by_number)}, got {wanted}")
    return [by_number[number] for number in wanted]


def _first(study: StoredStudy, chosen: Selection, top: int) -> list[Entry]:
    """The picks, and the first ``top`` configurations of the ranking, of each method where methods aren't compared."""
    taken: dict[str, list[int]] = {}
    for line in chosen.ranking:
        numbers = taken.setdefault(line.method if len(chosen.winners) > 1 else "", [])
        if line.number not in numbers:
            numbers.append(line.number)
    # A pick can stand below the first ``top``: it is the cheapest of those tied with the best.
    picked = [winner.number for winner in chosen.winners]
    first = [number for numbers in taken.values() for number in numbers[:top]]
    by_number = {entry.number: entry for entry in study.entries}
    return [by_number[number] for number in dict.fromkeys(picked + first)]


def _train(study: StoredStudy, entries: list[Entry], settings: Settings) -> StoredStudy:
    """Train the fresh trials as a study of their own; interrupted, the same command goes on."""
    wanted = [(entry, seed, reseeded(entry.trial, seed)) for seed in settings.seeds for entry in entries]
    # A seed that the study trained already would be compared with itself.
    trained = {entry.trial.key: entry.number for entry in study.entries}
    for _, seed, trial in wanted:
        if trial.key in trained:
            raise ValueError(f"seeds must be fresh, and trial {trained[trial.key]} was trained with {seed}")
    identity: Config = {
        "confirms": study.identity,
        "criterion": files.plain(study.guide),
        "evaluation": files.plain(study.protocol),
        "trials": [trial.key for _, _, trial in wanted],
    }
    how = as_in(study, entries[0].trial.config.device, settings.checkpoint_seconds, settings.max_hours)
    folder = study.folder.with_name(study.name + SUFFIX)
    runner = StudyRunner(how, Study(folder, identity), study.manifest, len(wanted))
    try:
        for number, (entry, seed, trial) in enumerate(wanted):
            runner.run(number, [*entry.overrides, f"seed={seed}"], trial)
    except interrupts.OutOfTime:
        raise ValueError("max_hours are over; finished trials are kept, the same command goes on") from None
    finally:
        runner.close()
    return StoredStudy(folder, study.trusted)
