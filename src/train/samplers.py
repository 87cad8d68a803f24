"""Samplers of a study: the default configuration first, and grids in a fixed order."""

from __future__ import annotations

import itertools

from optuna.distributions import BaseDistribution, CategoricalChoiceType, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from src.train.conditional import same


class DefaultFirst(BaseSampler):
    """Trial 0 is the default configuration, so that every study knows what tuning gained; then another sampler."""

    def __init__(self, *, sampler: BaseSampler, defaults: dict[str, CategoricalChoiceType]) -> None:
        self.sampler, self.defaults = sampler, defaults

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        # without a joint space, trial 0 is asked for key by key, and gets the defaults
        return self.sampler.infer_relative_search_space(study, trial) if trial.number else {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, CategoricalChoiceType]:
        return self.sampler.sample_relative(study, trial, search_space) if trial.number else {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> CategoricalChoiceType:
        if trial.number:
            return self.sampler.sample_independent(study, trial, name, distribution)
        default = self.defaults[name]
        if isinstance(distribution, CategoricalDistribution):
            # the choice as Optuna has it, which may be the default's text
            return next(choice for choice in distribution.choices if same(choice, default))
        return default


class GridInOrder(BaseSampler):
    """Every combination of the choices, the last key fastest; Optuna's own grid draws its order afresh each run."""

    def __init__(self, *, choices: dict[str, list[str]]) -> None:
        self.names, self.points = list(choices), list(itertools.product(*choices.values()))

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, CategoricalChoiceType]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> CategoricalChoiceType:
        return self.points[trial.number - 1][self.names.index(name)]  # trial 0 is the default configuration
