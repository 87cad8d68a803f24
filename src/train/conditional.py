"""Search spaces whose keys exist only where another key has some value: knobs of one method, sizes of local views."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from pydantic import JsonValue

GROUPS = ("method", "model", "optimizer")  # each option has a file in conf/space/<group>/
CONDITION = re.compile(r"([\w.]+)(=|>)([\w.]+)")


class Term(NamedTuple):
    """That a key is a value, or more than it."""

    name: str
    sign: str  # =, >
    value: str

    def holds(self, drawn: Mapping[str, object], config: DictConfig) -> bool:
        """By what was drawn, or by the configuration where the key isn't swept."""
        configured = config.hydra.runtime.choices.get(self.name) or OmegaConf.select(config, self.name)
        value = drawn.get(self.name, configured)
        if value is None:
            return False
        if self.sign == ">":
            return float(str(value)) > float(self.value)
        return same(value, self.value)


class Condition(NamedTuple):
    """Keys that are swept where all terms hold."""

    terms: tuple[Term, ...]
    space: dict[str, Override]

    def holds(self, drawn: Mapping[str, object], config: DictConfig) -> bool:
        return all(term.holds(drawn, config) for term in self.terms)

    def overrides(self) -> tuple[str, ...]:
        """What makes the keys exist, as far as options and values do."""
        return tuple("".join(term) for term in self.terms if term.sign == "=")

    def lines(self) -> list[str]:
        """As they were written, the condition first."""
        where = " ".join("".join(term) for term in self.terms)
        return [f"{where}: {override.input_line}" for override in self.space.values()]


def split_off(config: DictConfig, folder: Path) -> tuple[dict[str, str], list[Condition]]:
    """The keys that always exist, and those that depend on a value or on a swept group's option. A key of the command
    line is unconditional.

    Raises ValueError on a condition that can't be read.
    """
    given = parsed(config.hydra.overrides.task)
    plain, conditions = _split(_plain(config.hydra.sweeper.params or OmegaConf.create({})), ())
    swept = _of_params(plain) | given
    for group in GROUPS:
        override = swept.get(group)
        if (
            override is None
            or not override.is_sweep_override()
            or not config.hydra.runtime.choices.get(f"space/{group}")
        ):
            continue
        of_default = _of_option(folder, group, config.hydra.runtime.choices[group])
        owned = {name for condition in of_default for name in condition.space}
        plain = {name: value for name, value in plain.items() if name not in owned}
        conditions = [condition for condition in conditions if not owned & condition.space.keys()]
        for option in override.sweep_iterator():
            conditions += _of_option(folder, group, str(option))
    kept = []
    for terms, space in conditions:
        still_conditional = {name: override for name, override in space.items() if name not in given}
        kept.append(Condition(terms, still_conditional))
    _check_alike(kept, str(config.hydra.sweeper.sampler.sampler._target_))
    return plain, kept


def _plain(config: DictConfig) -> dict[str, JsonValue]:
    return cast(dict[str, JsonValue], OmegaConf.to_container(config))


def _check_alike(conditions: list[Condition], sampler: str) -> None:
    """Raise ValueError where a key has other choices, or for a guided sampler other ranges, under two conditions."""
    seen: dict[str, tuple[Condition, Override]] = {}
    for condition in conditions:
        for name, override in condition.space.items():
            first, other = seen.setdefault(name, (condition, override))
            if str(override.value()) == str(other.value()):
                continue
            where = " and ".join(" ".join(one.overrides()) or one.lines()[0] for one in (first, condition))
            if override.is_choice_sweep() or other.is_choice_sweep():
                raise ValueError(f"{name} has other choices under {where}, which Optuna can't draw: leave one out")
            if not sampler.endswith("RandomSampler"):
                raise ValueError(
                    f"{name} has other ranges under {where}, which misleads a guided sampler: use sweep=random"
                )


def same(one: object, other: object) -> bool:
    """Whether a choice, which Optuna keeps as text, is a configured value."""
    try:
        return float(str(one)) == float(str(other))
    except ValueError:
        return str(one).lower() == str(other).lower()


def _of_option(folder: Path, group: str, option: str) -> list[Condition]:
    """An option's keys, under the condition that it is chosen."""
    path = folder / group / f"{option}.yaml"
    params = _plain(cast(DictConfig, OmegaConf.load(path))) if path.exists() else {}
    chosen = (Term(group, "=", option),)
    plain, nested = _split(params, chosen)
    return [Condition(chosen, _of_params(plain)), *nested]


def _split(params: Mapping[str, JsonValue], terms: tuple[Term, ...]) -> tuple[dict[str, str], list[Condition]]:
    """Plain keys, and the conditions among them: ``method.local_views>0: {augmentation.local.size: ...}``."""
    plain, conditions = {}, []
    for key, value in params.items():
        if not isinstance(value, dict):
            plain[key] = str(value)
            continue
        matched = CONDITION.fullmatch(key)
        if matched is None:
            raise ValueError(f"a condition of the search space must be key=value or key>number, got {key}")
        conditions.append(Condition((*terms, Term(matched[1], matched[2], matched[3])), _of_params(value)))
    return plain, conditions


def _of_params(params: Mapping[str, JsonValue]) -> dict[str, Override]:
    return parsed(f"{key}={value}" for key, value in params.items())


def parsed(lines: Iterable[str]) -> dict[str, Override]:
    overrides = OverridesParser.create().parse_overrides(list(lines))
    return {override.get_key_element(): override for override in overrides}
