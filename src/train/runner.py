"""Carries the proposals of one study through: from its log, from the store, or by training."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Int
from torch import Tensor

from src.criteria.collapse import NOT_FINITE
from src.data.pack import Manifest
from src.evaluation.criterion import Criterion, Protocol
from src.evaluation.measurements import Measurements, Verdict
from src.evaluation.snapshots import Evaluation
from src.runtime import files, interrupts
from src.study.log import Study, StudyData, StudyEntry, StudyFacts, StudyFolders
from src.study.results import Status
from src.study.store_users import register
from src.study.stored import StoredStudy
from src.study.tables import study_table
from src.tracking.client import Tracking
from src.tracking.mirror import Ended, mirror_trial
from src.train.progress import Screen
from src.trial.identity import Trial
from src.trial.run import run_trial

UNFINISHED = "not trained to its end"


@dataclass(frozen=True)
class HowToRun:
    """What is the same for all trials of a study."""

    criterion: Criterion  # that guides the sampler
    criteria: list[Criterion]  # that are measured
    protocol: Protocol
    device: str
    store: Path
    mlruns: Path
    checkpoint_seconds: float
    max_hours: float | None = None


class StudyRunner:
    """One command's work on one study, which no other process may touch meanwhile."""

    def __init__(
        self,
        how: HowToRun,
        study: Study,
        manifest: Manifest,
        trials: int,
        *,
        classes: Int[Tensor, "n"] | None = None,
    ) -> None:
        """``classes`` of the images of ``probe`` are for the supervised reference, which trains on these."""
        study.hold()
        register(how.store, study.folder.parent)
        interrupts.wait_for_points(True)
        self.classes = classes
        self.how, self.study, self.manifest = how, study, manifest
        self.guide = how.criterion.filled[0]
        identity = study.log_path.stem.removeprefix("log-")
        self.tracking = Tracking(how.mlruns, study.name, identity)
        self.screen = Screen(study.name, trials, self.guide)
        self.started = time.monotonic()
        self.trials = trials
        self.proposed: set[int] = set()
        self.unfinished: list[StudyEntry] = []
        self.unmirrored: list[tuple[StudyEntry, Measurements]] = []

    def run(self, number: int, overrides: list[str], trial: Trial) -> float:
        """The value that the sampler is told for a proposal: finite, and the same whenever it is asked again."""
        interrupts.point()
        self.proposed.add(number)
        evaluation = Evaluation(trial, self.manifest, self.how.protocol, self.how.criteria)
        entry = self.study.answer(number, overrides, trial.key)
        trained = trial.record() is None
        if trained:
            self._train(number, overrides, evaluation)
        rows = trial.history()
        # snapshots that an earlier run left unmeasured, or a criterion that was added since
        for row in rows:
            if int(row["step"]) in trial.snapshot_steps():
                interrupts.point()
                evaluation.measure(int(row["step"]), row.get("loss"))
        if entry is None:
            entry = self._entry(number, overrides, evaluation.kept)
            # on disk before the sampler is told: asked again, it must be told the same
            self.study.append(entry)
        self.screen.end(number, trial.key, entry.status, entry.criterion, trained, len(self.proposed))
        self.unmirrored.append((entry, evaluation.kept))
        self._mirror()
        assert entry.value is not None  # what is in the log has ended
        return float(entry.value)

    def _mirror(self) -> None:
        """Send ended trials to MLflow, also those that it missed before."""
        while self.unmirrored:
            entry, measurements = self.unmirrored[0]
            ended = Ended(entry.status, entry.reason)
            if not mirror_trial(self.tracking, entry.number, measurements.trial.history(), measurements, ended):
                return
            self.unmirrored.pop(0)

    def _train(self, number: int, overrides: list[str], evaluation: Evaluation) -> None:
        trial = evaluation.trial
        rows = []
        self.screen.begin(number, len(self.proposed) - 1, trial.steps * trial.config.batch_size)
        self.unfinished = [StudyEntry(number, overrides, trial.key, "stopped", UNFINISHED, None, None)]
        progress = run_trial(
            trial,
            self.manifest,
            device=self.how.device,
            checkpoint_seconds=self.how.checkpoint_seconds,
            classes=self.classes,
        )
        # closed when an exception leaves this loop, so that the trial writes its checkpoint
        with closing(progress):
            for update in progress:
                rows.append(update.row)
                if update.snapshot:
                    evaluation.measure(int(update.row["step"]), update.row["loss"])
                    mirror_trial(self.tracking, number, rows, evaluation.kept, None)
                else:
                    evaluation.watch(int(update.row["step"]), update.method)
                values = list(evaluation.kept.column(self.guide).values())
                self.screen.advance(update.row["images"], update.row["loss"], values[-1] if values else None)
                self._check_time()
        self.unfinished = []

    def _check_time(self) -> None:
        hours = self.how.max_hours
        if hours is not None and time.monotonic() - self.started > hours * 3600:
            raise interrupts.OutOfTime

    def _entry(self, number: int, overrides: list[str], measurements: Measurements) -> StudyEntry:
        record = measurements.trial.record()
        assert record is not None
        status, reason = _end(record.status, measurements.last_collapse())
        values = list(measurements.column(self.guide).values())
        last = values[-1] if values and status != "diverged" else None
        told = last if last is not None and status == "complete" else self.how.criterion.worst
        assert told is not None  # check_guide has refused a criterion without
        # the sampler maximises, whatever the criterion
        sign = 1 if self.how.criterion.direction == "higher" else -1
        return StudyEntry(number, overrides, measurements.trial.key, status, reason, last, sign * told)

    def close(self) -> Path:
        """Write study.json, print the summary and let the study go."""
        self.screen.stop()
        manifest = self.manifest
        facts = StudyFacts(
            data=StudyData(manifest.name, str(manifest.folder), manifest.splits),
            criterion=self.guide,
            criteria=self.how.criteria,
            evaluation=self.how.protocol,
            folders=StudyFolders(str(self.how.store), str(self.how.mlruns)),
        )
        path = self.study.write_summary(self.unfinished, facts)
        # the last chance: without the pause after a failure
        self.tracking.retry_now()
        self._mirror()
        entries = list(self.study.entries.values())
        self.tracking.finish(
            params={"criterion": self.guide},
            tags={"identity": files.fingerprint(self.study.identity), "trials": str(len(entries))},
        )
        self.screen.console.print(study_table([*entries, *self.unfinished], self.guide, self.how.criterion.direction))
        self.study.release()
        interrupts.wait_for_points(False)
        return path


def _end(status: Status, collapse: Verdict | None) -> tuple[Status, str]:
    """How a trained trial ended, by its record and by the collapse gate, and why."""
    if status == "diverged":
        return "diverged", "loss or gradient is no longer finite"
    reason = collapse.reason if collapse is not None else ""
    if reason:
        return "diverged" if reason == NOT_FINITE else "collapsed", reason
    return "complete", ""


def as_in(study: StoredStudy, device: str, checkpoint_seconds: float, max_hours: float | None = None) -> HowToRun:
    """What another study was run with, for one that repeats or supervises its trials."""
    return HowToRun(
        criterion=study.guide,
        criteria=list(study.criteria.values()),
        protocol=study.protocol,
        device=device,
        store=Path(study.folders.store),
        mlruns=Path(study.folders.mlruns),
        checkpoint_seconds=checkpoint_seconds,
        max_hours=max_hours,
    )
