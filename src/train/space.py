"""Completes Hydra's sweeper for a study: the default of every swept key, the size of a grid."""

from __future__ import annotations

import atexit
import itertools
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast, get_type_hints

import hydra.utils
import optuna
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
    Transformer,
)
from hydra_plugins.hydra_optuna_sweeper._impl import create_optuna_distribution_from_override
from omegaconf import DictConfig, OmegaConf, open_dict
from optuna.trial import Trial
from pydantic import JsonValue

from src.runtime import check
from src.runtime.settings import hold
from src.train.conditional import Condition, parsed, same, split_off
from src.train.settings import SweepSeed

Value = str | float | bool

SPACES = Path(__file__).resolve().parent.parent.parent / "conf" / "space"


# what a sweep resumes from is the study's own log, higher is always better, and no failure is passed over
FIXED = {"storage": None, "study_name": None, "direction": "maximize", "max_failure_rate": 0.0}


@dataclass(frozen=True)
class SweepSpace:
    """What a sweep varies."""

    plain: dict[str, Override]  # keys that always exist
    conditions: list[Condition]  # keys that exist where others have some value
    trials: int

    def lines(self) -> list[str]:
        """The search space as it was written."""
        plain = [str(override.input_line) for _, override in sorted(self.plain.items())]
        return plain + [line for condition in self.conditions for line in condition.lines()]

    def names(self) -> set[str]:
        """Every key that some proposal sets."""
        return {*self.plain, *(name for condition in self.conditions for name in condition.space)}

    def ends(self) -> list[End]:
        """Every choice, and both ends of every interval."""
        parts = [((), self.plain), *((condition.overrides(), condition.space) for condition in self.conditions)]
        ends: list[End] = []
        for terms, space in parts:
            for name, override in space.items():
                ends += [End(terms, name, value) for value in _ends(override)]
        return ends


class End(NamedTuple):
    """One of a key's choices, or an end of its interval."""

    terms: tuple[str, ...]  # overrides that make the key exist
    name: str
    value: Value

    def __str__(self) -> str:
        return " ".join((*self.terms, f"{self.name}={self.value}"))


def complete_sweep(config: DictConfig) -> SweepSpace:
    """Complete the sweeper's config: the default of every swept key, the size of a grid, what is conditional.

    Raises ValueError where the default configuration lies outside the space, or a grid isn't made of choices.
    """
    optuna.logging.set_verbosity(logging.WARNING)
    with open_dict(config):
        config.hydra.sweeper.params, conditions = split_off(config, SPACES)
        if conditions:
            config.hydra.sweeper.custom_search_space = "src.train.session.suggest"
        plain = search_space(config)
        _complete(config, plain, conditions)
        config.hydra.sweep.dir = _throwaway_folder()
    return SweepSpace(plain, conditions, int(config.hydra.sweeper.n_trials))


def draw_conditional(space: SweepSpace, config: DictConfig, trial: Trial) -> None:
    """Complete a proposal: draw the keys that exist under what has been drawn."""
    for condition in space.conditions:
        if condition.holds(trial.params, config):
            for name, override in condition.space.items():
                # Trial's public suggest_* take ranges; only this takes a ready distribution
                trial._suggest(name, create_optuna_distribution_from_override(override))


def _ends(override: Override) -> list[Value]:
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [cast(float, value.start), cast(float, value.end)]
    if isinstance(value, RangeSweep):
        return [cast(float, value.start), cast(float, value.stop)]
    choices = cast(ChoiceSweep, value).list
    return [str(choice) if isinstance(choice, QuotedString) else cast(Value, choice) for choice in choices]


def _throwaway_folder() -> str:
    """Where the sweeper may write its own summary, which nobody reads: the study's log is the record."""
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    return folder.name


def _complete(config: DictConfig, space: dict[str, Override], conditions: list[Condition]) -> None:
    check.number("hydra.sweeper.n_trials", config.hydra.sweeper.n_trials, at_least=1, whole=True)
    for key, meant in FIXED.items():
        if config.hydra.sweeper.get(key) != meant:
            raise ValueError(f"hydra.sweeper.{key} must stay {meant}, got {config.hydra.sweeper.get(key)!r}")
    sampler = config.hydra.sweeper.sampler
    if not isinstance(sampler, DictConfig) or not isinstance(sampler.get("sampler"), DictConfig):
        raise ValueError("hydra.sweeper.sampler must be a group with a sampler in it: choose one with sweep=<name>")
    hold("sweep", OmegaConf.to_container(config.sweep), SweepSeed)
    _check_sampler(sampler.sampler)
    if config.hydra.sweeper.n_jobs != 1:
        raise ValueError(f"hydra.sweeper.n_jobs must be 1, got {config.hydra.sweeper.n_jobs}: use threads instead")
    existing = [condition.space for condition in conditions if condition.holds({}, config)]
    whole = {name: override for part in (space, *existing) for name, override in part.items()}
    defaults = {name: default_of(config, name) for name in whole}
    for name, override in whole.items():
        _check_inside(name, override, defaults[name])
    with open_dict(config):
        sampler.defaults = defaults
        if "choices" in sampler.sampler and conditions:
            raise ValueError(f"a grid has no conditional keys, and {conditions[0].lines()[0]} is one: use sweep=random")
        if "choices" in sampler.sampler:
            choices = {name: _choices(name, override) for name, override in space.items()}
            sampler.sampler.choices = choices
            config.hydra.sweeper.n_trials = 1 + len(list(itertools.product(*choices.values())))


def _check_sampler(sampler: DictConfig) -> None:
    """Raise ValueError where a setting isn't of the type that Optuna states, or the draws wouldn't repeat."""
    name = "hydra.sweeper.sampler.sampler"
    try:
        made_by = hydra.utils.get_class(str(sampler.get("_target_")))
    except Exception:  # Hydra raises all kinds, with messages of several lines
        raise ValueError(f"{name}._target_ must be a sampler of Optuna's, got {sampler.get('_target_')!r}") from None
    hints = get_type_hints(made_by.__init__)  # type: ignore[misc]
    plain = cast(dict[str, JsonValue], OmegaConf.to_container(sampler, resolve=True))
    for key in plain.keys() & hints.keys():
        if "Callable" not in str(hints[key]):
            hold(f"{name}.{key}", plain[key], hints[key])
    if "seed" in hints and sampler.get("seed") is None:
        raise ValueError(f"{name}.seed must be a whole number, so that a sweep proposes the same again, got None")


def search_space(config: DictConfig) -> dict[str, Override]:
    """The swept keys: hydra.sweeper.params, and on top the command line; a key set there to one value isn't swept."""
    lines = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    last = parsed([*lines, *config.hydra.overrides.task])
    return {name: override for name, override in last.items() if override.is_sweep_override()}


def default_of(config: DictConfig, name: str) -> Value:
    """What the composed config says where nothing is swept: a value, or a config group's chosen option."""
    if name in config.hydra.runtime.choices:
        return str(config.hydra.runtime.choices[name])
    value: Value | None = OmegaConf.select(config, name)
    if value is None:
        raise ValueError(f"the search space names {name}, which isn't in the configuration")
    return value


def _choices(name: str, override: Override) -> list[str]:
    if not override.is_choice_sweep():
        raise ValueError(f"a grid needs {name}=choice(...), got {override.input_line}")
    return list(override.sweep_iterator(transformer=Transformer.encode))  # type: ignore[arg-type]


def _check_inside(name: str, override: Override, default: Value) -> None:
    value = override.value()
    if override.is_interval_sweep() or override.is_range_sweep():
        low, high = (value.start, value.end) if override.is_interval_sweep() else (value.start, value.stop)  # type: ignore[union-attr]
        inside = isinstance(default, (int, float)) and low <= default <= high  # type: ignore[operator]
    else:
        inside = any(same(choice, default) for choice in override.sweep_iterator(transformer=Transformer.encode))
    if not inside:
        raise ValueError(
            f"{name} is {default!r} by default, outside what is swept ({override.input_line}): trial 0 is always the "
            "default configuration; widen the sweep or change the default"
        )
