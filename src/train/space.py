"""Completes Hydra's sweeper for a study: the default of every swept key, the size of a grid."""

from __future__ import annotations

import atexit
import itertools
import logging
import tempfile
from pathlib import Path
from typing import Any, ClassVar, cast, get_type_hints

import hydra.utils
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString, Transformer
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict

from src.runtime import check, distributed
from src.runtime.settings import hold
from src.train.conditional import Conditional, take_out

SPACES = Path(__file__).resolve().parent.parent.parent / "conf" / "space"


# what a sweep resumes from is the study's own log, higher is always better, and no failure is passed over
FIXED = {"storage": None, "study_name": None, "direction": "maximize", "max_failure_rate": 0.0}


class Sweep(Callback):
    """Completes the sweeper's config before Optuna is asked: the default of every swept key, the size of a grid.

    What it found out about the sweep stays readable for the trials, which run in this process.
    """

    space: ClassVar[dict[str, Override]] = {}
    trials: ClassVar[int] = 0

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        import optuna

        optuna.logging.set_verbosity(logging.WARNING)
        try:
            with open_dict(config):
                take_out(config, SPACES)
            Sweep.space = search_space(config)
            complete(config, Sweep.space)
            Sweep.trials = config.hydra.sweeper.n_trials
            config.hydra.sweep.dir = _throwaway_folder()
        except ValueError as error:
            said = f"error: {error}" if distributed.rank() == 0 else 1
            raise SystemExit(said) from None  # Hydra swallows a callback's ordinary exceptions

    @classmethod
    def lines(cls) -> list[str]:
        """The search space as it was written."""
        return [str(override.input_line) for _, override in sorted(cls.space.items())] + Conditional.lines()

    @classmethod
    def names(cls) -> set[str]:
        """Every key that some proposal sets."""
        return {*cls.space, *Conditional.names()}

    @classmethod
    def ends(cls) -> list[tuple[tuple[str, ...], str, Any]]:
        """Every choice, and both ends of every interval: what makes the key exist, the key, the end."""
        parts = [((), cls.space), *((condition.overrides(), condition.space) for condition in Conditional.conditions)]
        return [(terms, name, end) for terms, space in parts for name, over in space.items() for end in _ends(over)]


def _ends(override: Override) -> list[Any]:
    value: Any = override.value()
    if override.is_interval_sweep():
        return [value.start, value.end]
    if override.is_range_sweep():
        return [value.start, value.stop]
    return [str(choice) if isinstance(choice, QuotedString) else choice for choice in value.list]


def _throwaway_folder() -> str:
    """Where the sweeper may write its own summary, which nobody reads: the study's log is the record."""
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    return folder.name


def complete(config: DictConfig, space: dict[str, Override]) -> None:
    """Raise ValueError where the default configuration lies outside the space, or a grid isn't made of choices."""
    check.number("hydra.sweeper.n_trials", config.hydra.sweeper.n_trials, at_least=1, whole=True)
    for key, meant in FIXED.items():
        if config.hydra.sweeper.get(key) != meant:
            raise ValueError(f"hydra.sweeper.{key} must stay {meant}, got {config.hydra.sweeper.get(key)!r}")
    sampler = config.hydra.sweeper.sampler
    if not isinstance(sampler, DictConfig) or not isinstance(sampler.get("sampler"), DictConfig):
        raise ValueError("hydra.sweeper.sampler must be a group with a sampler in it: choose one with sweep=<name>")
    _check_sampler(sampler.sampler)
    if config.hydra.sweeper.n_jobs != 1:
        raise ValueError(f"hydra.sweeper.n_jobs must be 1, got {config.hydra.sweeper.n_jobs}: use threads instead")
    existing = [condition.space for condition in Conditional.conditions if condition.holds({}, config)]
    whole = {name: override for part in (space, *existing) for name, override in part.items()}
    defaults = {name: default_of(config, name) for name in whole}
    for name, override in whole.items():
        _check_inside(name, override, defaults[name])
    with open_dict(config):
        sampler.defaults = defaults
        if "choices" in sampler.sampler and Conditional.conditions:
            raise ValueError(f"a grid has no conditional keys, and {Conditional.lines()[0]} is one: use sweep=random")
        if "choices" in sampler.sampler:
            choices = {name: _choices(name, override) for name, override in space.items()}
            sampler.sampler.choices = choices
            config.hydra.sweeper.n_trials = 1 + len(list(itertools.product(*choices.values())))


def _check_sampler(sampler: DictConfig) -> None:
    """Raise ValueError where a setting isn't of the type that Optuna states, or the draws wouldn't repeat."""
    name = "hydra.sweeper.sampler.sampler"
    try:
        made_by: Any = hydra.utils.get_class(str(sampler.get("_target_")))
    except Exception:  # of all kinds, in several lines
        raise ValueError(f"{name}._target_ must be a sampler of Optuna's, got {sampler.get('_target_')!r}") from None
    hints, plain = get_type_hints(made_by.__init__), cast(dict[str, Any], OmegaConf.to_container(sampler))
    for key in plain.keys() & hints.keys():
        if "Callable" not in str(hints[key]):
            hold(f"{name}.{key}", plain[key], hints[key])
    if "seed" in hints and sampler.get("seed") is None:
        raise ValueError(f"{name}.seed must be a whole number, so that a sweep proposes the same again, got None")


def search_space(config: DictConfig) -> dict[str, Override]:
    """The swept keys: hydra.sweeper.params, and on top the command line; a key set there to one value isn't swept."""
    lines = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    overrides = OverridesParser.create().parse_overrides([*lines, *config.hydra.overrides.task])
    last = {override.get_key_element(): override for override in overrides}
    return {name: override for name, override in last.items() if override.is_sweep_override()}


def default_of(config: DictConfig, name: str) -> Any:
    """What the composed config says where nothing is swept: a value, or a config group's chosen option."""
    if name in config.hydra.runtime.choices:
        return config.hydra.runtime.choices[name]
    value = OmegaConf.select(config, name)
    if value is None:
        raise ValueError(f"the search space names {name}, which isn't in the configuration")
    return value


def _choices(name: str, override: Override) -> list[str]:
    if not override.is_choice_sweep():
        raise ValueError(f"a grid needs {name}=choice(...), got {override.input_line}")
    return list(override.sweep_iterator(transformer=Transformer.encode))  # type: ignore[arg-type]


def _check_inside(name: str, override: Override, default: Any) -> None:
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


def same(choice: Any, default: Any) -> bool:
    """Whether a choice, which Optuna keeps as text, is the configured value."""
    try:
        return float(choice) == float(default)
    except (TypeError, ValueError):
        return str(choice) == str(default)
