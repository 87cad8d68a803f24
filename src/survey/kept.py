"""Keeps every fresh trial of the survey in its table, with what an epoch of it costs."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import cast

import torch

from src.data.pack import read_labels
from src.report.labelled import judged_pool
from src.runtime import files
from src.runtime.records import Config
from src.study.pool import Pool
from src.study.stored import StoredStudy
from src.study.table import write_table
from src.survey.rows import Epoch, SurveyFacts
from src.survey.settings import Settings
from src.survey.training import study_name
from src.tracking.client import git_tags
from src.trial.method import trial_flops
from src.trial.run import prepare, training_steps


def keep(settings: Settings) -> None:
    """Write every fresh trial to the table, under its name on the page. Nothing else may run: epochs are timed."""
    pools, epochs = [], {}
    for data in settings.data_sets:
        for name, suffix in _studies(settings).items():
            folder = settings.folders.of(study_name(data, suffix))
            study = StoredStudy(folder, settings.folders.trusted())
            pool = replace(judged_pool(study), name=study_name(data, name))
            pools.append(slim(pool))
            epochs[pool.name] = _epoch(study, settings.timed_steps)
    facts = files.plain(SurveyFacts(epochs, git_tags()))
    write_table(Path(settings.table), pools, cast(Config, facts))


def _studies(settings: Settings) -> dict[str, str]:
    """Name on the page -> how the study of its fresh trials is named."""
    own = {name: f"{name}-confirm" for name in settings.methods}
    return own | {name: f"{like}-supervised" for name, like in settings.supervised.items()}


def slim(pool: Pool) -> Pool:
    """Without what only judging criteria takes: their definitions and their values on halves of the images."""
    return replace(pool, criteria={}, members=[replace(member, halves={}) for member in pool.members])


def _epoch(study: StoredStudy, timed: int) -> Epoch:
    """One pass over the images of a study's first trial, from the median of some timed steps on one thread."""
    trial, manifest = study.entries[0].trial, study.manifest
    split = "pretrain" if trial.config.data.classes is None else "probe"  # a reference trains on labelled images
    classes = None if split == "pretrain" else torch.from_numpy(read_labels(manifest, split)["class"])
    method, optimizer = prepare(trial, manifest, "cpu")
    torch.set_num_threads(trial.config.threads)
    steps = training_steps(trial, manifest, method, optimizer, device="cpu", first_step=0, classes=classes)
    # The first step, which also warms up, only starts the clock; the median leaves out steps that were interrupted.
    marks = [time.perf_counter() for _ in islice(steps, timed + 1)]
    seconds = statistics.median(after - before for before, after in pairwise(marks))
    steps_per_epoch = manifest.splits[split].count // trial.config.batch_size
    flops = trial_flops(trial.config, manifest)
    return Epoch(gflop=flops * steps_per_epoch / 1e9, seconds=seconds * steps_per_epoch)
