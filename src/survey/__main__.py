"""survey: trains every method alike, keeps the trial table, and writes how each of them learns."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from src.runtime import app

if TYPE_CHECKING:
    from src.study.pool import Pool

DATA, RUNS = Path("data"), Path("runs")  # where the stages have them by default


def survey(config: DictConfig) -> None:
    """Carry every method on every data set, then write the table and its page."""
    from src.runtime import owned
    from src.runtime.console import make_console
    from src.study.table import read_about
    from src.survey.page import render, survey_table

    settings: Any = OmegaConf.to_container(config, resolve=True)
    owned.check_page(Path(settings["page"]), "# How every method learns", "python -m src.survey")
    if Path(settings["table"]).exists():
        read_about(Path(settings["table"]))  # else it is somebody else's
    console = make_console()
    if not settings["page_only"]:
        for data in settings["data_sets"]:
            if not (DATA / data / "budgets").exists():
                _stage("prepare", f"data={data}")
        wanted = [(data, name) for name in settings["methods"] for data in settings["data_sets"]]
        with ThreadPoolExecutor(settings["jobs"]) as pool:
            for line in pool.map(lambda pair: _carry(pair[0], pair[1], settings), wanted):
                console.print(line, highlight=False)
        for data in settings["data_sets"]:
            for name, like in settings["supervised"].items():
                console.print(_supervise(data, name, like, settings), highlight=False)
        _keep(settings)
    found = render(Path(settings["page"]), Path(settings["table"]), settings["columns"])
    console.print(survey_table(found))
    console.print(f"written: {settings['page']}", highlight=False)


def _study(data: str, name: str) -> str:
    return f"survey-{data}-{name}"


def _stage(stage: str, *arguments: str) -> None:
    """Run a stage as a person would. Raises ValueError with what it said last where it fails."""
    command = [sys.executable, "-m", f"src.{stage}", *arguments]
    done = subprocess.run(command, text=True, capture_output=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ValueError(f"{' '.join(command[1:])} failed: {said[-1]}")


def _carry(data: str, name: str, settings: dict[str, Any]) -> str:
    """Choose a method's learning rate by the labels of ``probe`` alone, then train it with fresh seeds and score these
    on ``val``."""
    study = _study(data, name)
    _stage("train", "-m", f"pool=survey_{data}", f"study={study}", *settings["methods"][name])
    if len(_healthy(study)) > 1:
        _stage("budget", f"study={study}", f"file={DATA / data}/budgets/all.csv", "threads=1")
        _stage("selection", f"study={study}", "rule=labels_all")
    number = _chosen(study)
    _stage("confirm", f"study={study}", f"trials=[{number}]", f"seeds={_listed(settings)}")
    _stage("probe", f"study={study}-confirm", "threads=1")
    return f"{study}: trial {number} with seeds {_listed(settings)}"


def _supervise(data: str, name: str, like: str, settings: dict[str, Any]) -> str:
    study = _study(data, like)
    _stage("supervised", f"study={study}", f"trial={_chosen(study)}", f"seeds={_listed(settings)}")
    _stage("probe", f"study={study}-supervised", "threads=1")
    return f"{study}-supervised: the reference {name}"


def _healthy(study: str) -> list[int]:
    """The first number of every trial that neither collapsed nor diverged."""
    from src.study.log import read_study

    tried = read_study(RUNS / study)["trials"]
    return list(
        {trial["trial"]: trial["number"] for trial in reversed(tried) if trial["status"] == "complete"}.values()
    )


def _chosen(study: str) -> int:
    """The trial that the labels of ``probe`` chose; the healthy one, or trial 0, where there was no choice."""
    healthy = _healthy(study)
    if len(healthy) < 2:
        return next(iter(healthy), 0)
    from src.study.stored import read_selection

    return read_selection(RUNS / study)["winners"][0]["number"]


def _listed(settings: dict[str, Any]) -> str:
    return f"[{','.join(map(str, settings['seeds']))}]"


def _keep(settings: dict[str, Any]) -> None:
    """Write every fresh trial to the table, under its name on the page, with what an epoch of it takes."""
    from dataclasses import replace

    from src.report.labelled import judged_pool
    from src.study.stored import StoredStudy
    from src.study.table import write_table
    from src.tracking.client import git_tags

    pools, epochs = [], {}
    for data in settings["data_sets"]:
        suffixes = {name: f"{name}-confirm" for name in settings["methods"]}
        suffixes |= {name: f"{like}-supervised" for name, like in settings["supervised"].items()}
        for name, suffix in suffixes.items():
            record = StoredStudy(RUNS / _study(data, suffix))
            pool = replace(judged_pool(record), name=_study(data, name))
            pools.append(pool)
            epochs[pool.name] = _epoch(record, settings["timed_steps"])
    write_table(Path(settings["table"]), [slim(pool) for pool in pools], {"epochs": epochs, "git": git_tags()})


def slim(pool: Pool) -> Pool:
    """Without what only judging criteria takes: their definitions and their values on halves of the images."""
    from dataclasses import replace

    return replace(pool, criteria={}, members=[replace(member, halves={}) for member in pool.members])


def _epoch(record: Any, timed: int) -> dict[str, float]:
    """Counted operations and seconds of one pass over the images, from the median of some timed steps on one thread."""
    import statistics
    import time
    from itertools import islice, pairwise

    import torch

    from src.data.pack import read_labels
    from src.trial.identity import trial_flops
    from src.trial.run import prepare, training_steps

    trial = record.entries[0].trial
    labelled = "classes" in trial.config["data"]
    split = "probe" if labelled else "pretrain"
    classes = torch.from_numpy(read_labels(record.manifest, split)["class"]) if labelled else None
    method, optimizer = prepare(trial, record.manifest, "cpu")
    torch.set_num_threads(trial.config["threads"])
    steps = training_steps(trial, record.manifest, method, optimizer, device="cpu", first_step=0, classes=classes)
    marks = [time.perf_counter() for _ in islice(steps, timed + 1)]
    per_epoch = record.manifest.splits[split]["count"] // trial.config["batch_size"]
    seconds = statistics.median(after - before for before, after in pairwise(marks))
    return {"gflop": trial_flops(trial, record.manifest) * per_epoch / 1e9, "seconds": seconds * per_epoch}


if __name__ == "__main__":
    app.run(survey, "survey")
