"""Carries the proposals of one study through: from its log, from the store, or by training."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor

from src.criteria.collapse import NOT_FINITE
from src.data.pack import Manifest
from src.evaluation.snapshots import Evaluation, columns
from src.runtime import files, interrupts
from src.runtime.console import Screen
from src.study.log import Study
from src.study.store_users import register
from src.study.tables import study_table
from src.tracking.client import Tracking
from src.tracking.mirror import mirror_trial
from src.trial.identity import Trial
from src.trial.run import run_trial


class StudyRunner:
    """One command's hold on one study."""

    def __init__(
        self,
        settings: dict[str, Any],
        study: Study,
        manifest: Manifest,
        criteria: list[dict[str, Any]],
        trials: int,
        *,
        classes: Int[Tensor, "n"] | None = None,
    ) -> None:
        """``classes`` of the images of ``probe`` are for the supervised reference, which trains on these."""
        study.hold()
        register(Path(settings["folders"]["store"]), study.folder.parent)
        interrupts.wait_for_points(True)
        self.classes = classes
        self.settings, self.study, self.manifest, self.criteria = settings, study, manifest, criteria
        self.criterion = settings["criterion"]
        self.guide = columns(self.criterion)[0]
        identity = study.log_path.stem.removeprefix("log-")
        self.tracking = Tracking(Path(settings["folders"]["mlruns"]), study.name, identity)
        self.screen = Screen(study.name, trials, self.guide)
        self.started = time.monotonic()
        self.trials = trials
        self.proposed: set[int] = set()
        self.unfinished: list[dict[str, Any]] = []
        self.unmirrored: list[tuple[dict[str, Any], Evaluation]] = []

    def run(self, number: int, overrides: list[str], trial: Trial) -> float:
        """The value that the sampler is told for a proposal: finite, and the same whenever it is asked again."""
        interrupts.point()
        self.proposed.add(number)
        evaluation = Evaluation(trial, self.manifest, self.settings["evaluation"], self.criteria)
        entry = self.study.answer(number, overrides, trial.key)
        trained = trial.record() is None
        if trained:
            self._train(number, overrides, evaluation)
        rows = trial.history()
        for row in rows:
            if int(row["step"]) in trial.snapshot_steps():
                interrupts.point()
                evaluation.measure(int(row["step"]), row.get("loss"))
        if entry is None:
            entry = self._entry(number, overrides, evaluation)
            self.study.append(entry)
        self.screen.end(entry, trained, len(self.proposed))
        self.unmirrored.append((entry, evaluation))
        self._mirror()
        return float(entry["value"])

    def _mirror(self) -> None:
        """Send ended trials to MLflow, also those that it missed before."""
        while self.unmirrored:
            entry, evaluation = self.unmirrored[0]
            if not mirror_trial(self.tracking, entry["number"], evaluation.trial.history(), evaluation, entry):
                return
            self.unmirrored.pop(0)

    def _train(self, number: int, overrides: list[str], evaluation: Evaluation) -> None:
        trial = evaluation.trial
        rows = []
        self.screen.begin(number, len(self.proposed) - 1, trial.steps * trial.config["batch_size"])
        self.unfinished = [{"number": number, "overrides": overrides, "trial": trial.key, "status": "stopped"}]
        progress = run_trial(
            trial,
            self.manifest,
            device=self.settings["device"],
            checkpoint_seconds=self.settings["checkpoint_seconds"],
            classes=self.classes,
        )
        with closing(progress):
            for update in progress:
                rows.append(update.row)
                if update.snapshot:
                    evaluation.measure(int(update.row["step"]), update.row["loss"])
                    mirror_trial(self.tracking, number, rows, evaluation, None)
                else:
                    evaluation.watch(int(update.row["step"]), update.method)
                values = list(evaluation.column(self.guide).values())
                self.screen.advance(update.row["images"], update.row["loss"], values[-1] if values else None)
                self._check_time()
        self.unfinished = []

    def _check_time(self) -> None:
        hours = self.settings["max_hours"]
        if hours is not None and time.monotonic() - self.started > hours * 3600:
            raise interrupts.OutOfTime

    def _entry(self, number: int, overrides: list[str], evaluation: Evaluation) -> dict[str, Any]:
        record = evaluation.trial.record()
        assert record is not None
        status, collapse = record["status"], evaluation.last_collapse()
        reason = "loss or gradient is no longer finite" if status == "diverged" else collapse.get("reason", "")
        if status == "complete" and reason:
            status = "diverged" if reason == NOT_FINITE else "collapsed"
        values = list(evaluation.column(self.guide).values())
        last = values[-1] if values and status != "diverged" else None
        sign = 1 if self.criterion["direction"] == "higher" else -1
        told = last if last is not None and status == "complete" else self.criterion["worst"]
        return {
            "number": number,
            "overrides": overrides,
            "trial": evaluation.trial.key,
            "status": status,
            "reason": reason,
            "criterion": last,
            "value": sign * told,
        }

    def close(self) -> Path:
        """Write study.json, print the summary and let the study go."""
        self.screen.stop()
        unfinished = [
            entry | {"reason": "not trained to its end", "criterion": None, "value": None} for entry in self.unfinished
        ]
        path = self.study.write_summary(
            unfinished,
            data={"name": self.manifest.name, "folder": str(self.manifest.folder), "splits": self.manifest.splits},
            criterion=self.guide,
            criteria=self.criteria,
            evaluation=self.settings["evaluation"],
            folders={name: self.settings["folders"][name] for name in ("store", "mlruns")},
        )
        self.tracking.retry_now()
        self._mirror()
        entries = list(self.study.entries.values())
        self.tracking.finish(
            params={"criterion": self.guide},
            tags={"identity": files.fingerprint(self.study.identity), "trials": str(len(entries))},
        )
        self.screen.console.print(study_table([*entries, *unfinished], self.guide, self.criterion["direction"]))
        self.study.release()
        interrupts.wait_for_points(False)
        return path
