"""What ``python -m src.train`` does."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import cast

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from src.data.pack import Manifest, read_manifest
from src.evaluation.criterion import Criterion
from src.evaluation.definitions import load_criteria
from src.evaluation.protocol import check_guide, check_protocol, warn_of_refused
from src.runtime import app, distributed, files, interrupts, records
from src.runtime.device import set_up
from src.runtime.records import Config
from src.runtime.settings import hold
from src.study.log import Study
from src.train.dry_run import ForecastFile, forecast, print_forecast
from src.train.runner import HowToRun, StudyRunner
from src.train.session import SESSION
from src.train.settings import Settings
from src.train.space import SweepSpace
from src.trial.given_weights import keep_weights, read_start
from src.trial.identity import DETERMINES_WEIGHTS, Trial, identify
from src.trial.method import dimensions
from src.trial.run import follow


def run(settings: Settings) -> float:
    """Carry one configuration through; the value is for the sampler."""
    set_up(settings.device, settings.threads)
    if distributed.world() > 1 and settings.dry_run:
        raise ValueError("dry_run counts one process: run it without torchrun")
    manifest = read_manifest(settings.folders.packed(settings.data.name))
    trial = _identify(settings, manifest)
    number, overrides = _proposal()
    criteria = load_criteria(Path(app.CONF) / "criterion", settings.criterion)
    if not SESSION.begun and distributed.rank() == 0:
        _check(settings, trial, manifest, criteria)
        SESSION.forecast_file = _forecast_file(settings)
    if settings.dry_run:
        foretold = forecast(number or 0, overrides, trial, manifest, settings.evaluation, settings.device)
        SESSION.forecasts.append(foretold)
        # nothing was measured: the sampler is told the same of every proposal
        return 0.0
    distributed.join(settings.device)
    if distributed.rank() > 0:
        return _follow(trial, manifest, settings.device)
    keep_weights(trial.config.start, Path(settings.folders.store))
    if SESSION.runner is None:
        SESSION.runner = _open(settings, trial, manifest, criteria)
    entries = SESSION.runner.study.entries
    if number is None:  # a trial by hand: asked for before, or the next of its study
        number = next((n for n, entry in entries.items() if entry.trial == trial.key), len(entries))
        overrides = entries[number].overrides if number in entries else overrides
    return cast(float, distributed.agree(SESSION.runner.run(number, overrides, trial)))


def _identify(settings: Settings, manifest: Manifest) -> Trial:
    chosen = cast(Config, files.plain(settings)) | {"start": files.plain(read_start(settings.start))}
    store = Path(settings.folders.store)
    return identify(chosen, manifest, store, device=settings.device, threads=settings.threads)


def _follow(trial: Trial, manifest: Manifest, device: str) -> float:
    try:
        value = follow(trial, manifest, device)
    except RuntimeError as error:
        # gloo's words where the first process has ended
        if "closed by peer" not in str(error):
            raise
        raise SystemExit(1) from None  # the first process has said why it left
    if value is None:
        raise interrupts.OutOfTime
    return cast(float, value)


def _proposal() -> tuple[int | None, list[str]]:
    """The proposal's number in its sweep and what it changes; by hand there is no number."""
    hydra = HydraConfig.get()
    task = list(hydra.overrides.task)
    if SESSION.space is None:
        return None, task
    swept = SESSION.space.names()
    return int(hydra.job.num), [override for override in task if override.partition("=")[0] in swept]


def _check(settings: Settings, trial: Trial, manifest: Manifest, criteria: list[Criterion]) -> None:
    """Raise ValueError where the default configuration or an end of the search space can't be trained or measured."""
    sizes = dimensions(trial.config, manifest.shape)
    check_protocol(settings.evaluation, manifest)
    check_guide(settings.criterion, settings.evaluation, sizes)
    warn_of_refused(criteria, settings.evaluation, sizes)
    if SESSION.space is not None:
        _check_names(SESSION.space)
        _check_ends(SESSION.space, settings, manifest)


def _forecast_file(settings: Settings) -> Path | None:
    """Raises ValueError where no forecast is made, or something else has the place of its file."""
    if settings.forecast is None:
        return None
    if not settings.dry_run:
        raise ValueError(f"forecast={settings.forecast} is written by a dry run alone: add dry_run=true")
    records.check_replaceable(Path(settings.forecast), ForecastFile, "train")
    return Path(settings.forecast)


def _check_names(space: SweepSpace) -> None:
    for name in sorted(space.names()):
        if re.split(r"[.@]", name)[0] not in DETERMINES_WEIGHTS or "@" in name:
            raise ValueError(
                f"{name} can't be swept, since the trials of a study share it: "
                f"sweep {', '.join(DETERMINES_WEIGHTS)} or keys below them"
            )


def _check_ends(space: SweepSpace, settings: Settings, manifest: Manifest) -> None:
    """Check each end alone: the other keys stay at their defaults."""
    hydra = HydraConfig.get()
    fixed = [override for override in hydra.overrides.task if override.partition("=")[0] not in space.names()]
    plain = cast(Config, files.plain(settings))
    composed: dict[tuple[str, ...], DictConfig] = {(): OmegaConf.create(plain)}
    for end in space.ends():
        chooses = end.name in hydra.runtime.choices
        option = (*end.terms, f"{end.name}={end.value}") if chooses else end.terms
        if option not in composed:
            composed[option] = _compose([*fixed, *option])
        # composed once per option; a plain value is set in a copy
        config = copy.deepcopy(composed[option])
        if not chooses:
            OmegaConf.update(config, end.name, end.value)
        try:
            changed = hold("", OmegaConf.to_container(config, resolve=True), Settings)
            sizes = dimensions(_identify(changed, manifest).config, manifest.shape)
            check_guide(changed.criterion, changed.evaluation, sizes)
        except ValueError as error:
            raise ValueError(f"the search space has {end}: {error}") from None


def _compose(overrides: list[str]) -> DictConfig:
    """This stage's config with other overrides."""
    loader = GlobalHydra.instance().config_loader()
    config = loader.load_configuration(HydraConfig.get().job.config_name, overrides, RunMode.RUN)
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def _open(settings: Settings, trial: Trial, manifest: Manifest, criteria: list[Criterion]) -> StudyRunner:
    identity: Config = {"criterion": files.plain(settings.criterion), "evaluation": files.plain(settings.evaluation)}
    if SESSION.space is None:  # what one manifest, device and number of threads measure belongs together
        name, trials = settings.study or "hand", 1
        identity |= {key: trial.recorded[key] for key in ("data", "device", "threads")}
    else:
        hydra = HydraConfig.get()
        choices = hydra.runtime.choices
        name, trials = settings.study or f"{choices['method']}-{choices['sweep']}", SESSION.space.trials
        identity |= {"default": trial.key, "space": [*SESSION.space.lines()], "n_jobs": hydra.sweeper.n_jobs}
        identity["sampler"] = cast(Config, OmegaConf.to_container(hydra.sweeper.sampler.sampler, resolve=True))
    how = HowToRun(
        criterion=settings.criterion,
        criteria=criteria,
        protocol=settings.evaluation,
        device=settings.device,
        store=Path(settings.folders.store),
        mlruns=Path(settings.folders.mlruns),
        checkpoint_seconds=settings.checkpoint_seconds,
        max_hours=settings.max_hours,
    )
    return StudyRunner(how, Study(settings.folders.of(name), identity), manifest, trials)


def end(*, whole: bool) -> None:
    """Let the study go and say what was written, however it ended; after a dry run, what it would cost."""
    if SESSION.runner is not None:
        path = SESSION.runner.close()
        print(f"written: {path}")
        if whole:
            print(f"next: python -m src.selection study={path.parent.name}")
    elif SESSION.forecasts and whole:
        foretold = ForecastFile(SESSION.forecasts)
        print_forecast(foretold)
        if SESSION.forecast_file is not None:
            files.write_json(SESSION.forecast_file, foretold)
            print(f"written: {SESSION.forecast_file}")
