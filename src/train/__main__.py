"""train: one pretraining trial, or with -m a study of many, criteria measured along the way."""

from __future__ import annotations

import copy
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from src.runtime import app, distributed, interrupts

if TYPE_CHECKING:
    from src.data.pack import Manifest
    from src.train.dry_run import Forecast
    from src.train.runner import StudyRunner
    from src.trial.identity import Trial

RUNNERS: list[StudyRunner] = []  # the one of this process, once its first trial has been checked
FORECASTS: list[Forecast] = []


def train(config: DictConfig) -> float:
    """Carry one configuration through; the value is for the sampler."""
    from src.data.pack import read_manifest
    from src.evaluation.definitions import load_criteria
    from src.runtime.device import set_up
    from src.trial.identity import identify
    from src.trial.initial_weights import keep_weights, read_start

    settings: Any = OmegaConf.to_container(config, resolve=True)
    set_up(settings["device"], settings["threads"])
    if distributed.world() > 1 and settings["dry_run"]:
        raise ValueError("dry_run counts one process: run it without torchrun")
    manifest = read_manifest(Path(settings["folders"]["data"]) / settings["data"]["name"])
    store = Path(settings["folders"]["store"])
    trial = identify(
        settings | {"start": read_start(settings["start"])},
        manifest,
        store,
        device=settings["device"],
        threads=settings["threads"],
    )
    number, overrides = _proposal()
    criteria = load_criteria(Path(app.CONF) / "criterion", settings["criterion"])
    if not (RUNNERS or FORECASTS or distributed.rank()):
        _check_space(settings, trial, manifest, criteria)
    if settings["dry_run"]:
        from src.train.dry_run import forecast

        FORECASTS.append(forecast(number or 0, overrides, trial, manifest, settings["evaluation"], settings["device"]))
        return 0.0
    distributed.join(settings["device"])
    if distributed.rank() > 0:
        return _follow(trial, manifest, settings["device"])
    keep_weights(trial.config["start"], store)
    if not RUNNERS:
        RUNNERS.append(_open(settings, trial, manifest, criteria))
    entries = RUNNERS[0].study.entries
    if number is None:  # a trial by hand: asked for before, or the next of its study
        number = next((n for n, entry in entries.items() if entry["trial"] == trial.key), len(entries))
        overrides = entries[number]["overrides"] if number in entries else overrides
    value = RUNNERS[0].run(number, overrides, trial)
    return float(distributed.agree(value))


def _follow(trial: Trial, manifest: Manifest, device: str) -> float:
    from src.trial.run import follow

    try:
        value = follow(trial, manifest, device)
    except RuntimeError as error:
        if "closed by peer" not in str(error):
            raise
        raise SystemExit(1) from None  # the first process has said why it left
    if value is None:
        raise interrupts.OutOfTime
    return float(value)


def _proposal() -> tuple[int | None, list[str]]:
    """The proposal's number in its sweep and what it changes; by hand there is no number."""
    hydra = HydraConfig.get()
    task = list(hydra.overrides.task)
    if hydra.mode == RunMode.RUN:
        return None, task
    from src.train.space import Sweep

    return int(hydra.job.num), [override for override in task if override.partition("=")[0] in Sweep.names()]


def _check_space(settings: dict[str, Any], trial: Trial, manifest: Manifest, criteria: list[dict[str, Any]]) -> None:
    """Raise ValueError where the default configuration or an end of the search space can't be trained or measured."""
    from src.evaluation.protocol import check_guide, check_protocol, warn_of_refused
    from src.trial.identity import DETERMINES_WEIGHTS, dimensions, identify
    from src.trial.initial_weights import read_start

    check_protocol(settings["evaluation"], manifest)
    check_guide(settings["criterion"], settings["evaluation"], dimensions(trial, manifest.shape))
    warn_of_refused(criteria, settings["evaluation"], dimensions(trial, manifest.shape))
    if HydraConfig.get().mode == RunMode.RUN:
        return
    from src.train.space import Sweep

    for name in sorted(Sweep.names()):
        if re.split(r"[.@]", name)[0] not in DETERMINES_WEIGHTS or "@" in name:
            raise ValueError(
                f"{name} can't be swept, since the trials of a study share it: "
                f"sweep {', '.join(DETERMINES_WEIGHTS)} or keys below them"
            )
    hydra = HydraConfig.get()
    fixed = [override for override in hydra.overrides.task if override.partition("=")[0] not in Sweep.names()]
    composed: dict[tuple[str, ...], Any] = {(): OmegaConf.create(settings)}
    for terms, name, value in Sweep.ends():
        option = (*terms, f"{name}={value}") if name in hydra.runtime.choices else terms
        if option not in composed:
            composed[option] = _compose([*fixed, *option])
        changed = copy.deepcopy(composed[option])
        if option == terms:
            OmegaConf.update(changed, name, value)
        plain: Any = OmegaConf.to_container(changed, resolve=True)
        plain["start"] = read_start(plain["start"])
        try:
            end = identify(plain, manifest, trial.folder.parent, device=plain["device"], threads=plain["threads"])
            check_guide(plain["criterion"], plain["evaluation"], dimensions(end, manifest.shape))
        except ValueError as error:
            raise ValueError(f"the search space has {' '.join((*terms, f'{name}={value}'))}: {error}") from None


def _compose(overrides: list[str]) -> DictConfig:
    """This stage's config with other overrides."""
    loader = GlobalHydra.instance().config_loader()
    config = loader.load_configuration(HydraConfig.get().job.config_name, overrides, RunMode.RUN)
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def _open(settings: dict[str, Any], trial: Trial, manifest: Manifest, criteria: list[dict[str, Any]]) -> StudyRunner:
    from src.study.log import Study
    from src.train.runner import StudyRunner

    hydra = HydraConfig.get()
    identity: dict[str, Any] = {"criterion": settings["criterion"], "evaluation": settings["evaluation"]}
    name, trials = settings["study"] or "hand", 1
    if hydra.mode == RunMode.RUN:  # what one manifest, device and number of threads measure belongs together
        identity |= {key: trial.config[key] for key in ("data", "device", "threads")}
    if hydra.mode == RunMode.MULTIRUN:
        from src.train.space import Sweep

        sampler: Any = OmegaConf.to_container(hydra.sweeper.sampler.sampler)
        name = settings["study"] or f"{settings['method']['name']}-{hydra.runtime.choices['sweep']}"
        identity |= {"default": trial.key, "space": Sweep.lines(), "sampler": sampler, "n_jobs": hydra.sweeper.n_jobs}
        trials = Sweep.trials
    return StudyRunner(settings, Study(Path(settings["folders"]["runs"]) / name, identity), manifest, criteria, trials)


def main() -> None:
    try:
        app.run(train, "train")
    except interrupts.OutOfTime:
        with app.one_line("train"):
            if distributed.rank() == 0:
                distributed.agree(None)
                resume = f"python -m src.train {shlex.join(sys.argv[1:])}"
                print(f"the budget of hours is spent; the same command goes on: {resume}")
    finally:
        with app.one_line("train"):
            _end()


def _end() -> None:
    """Let the study go and say what was written, however it ended; after a dry run, what it would cost."""
    if RUNNERS:
        path = RUNNERS[0].close()
        print(f"written: {path}")
        if sys.exc_info()[0] is None:
            print(f"next: python -m src.selection study={path.parent.name}")
    elif FORECASTS and sys.exc_info()[0] is None:
        from src.train.dry_run import print_forecasts

        print_forecasts(FORECASTS)


if __name__ == "__main__":
    main()
