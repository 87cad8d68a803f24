"""What this process knows beyond one configuration: the space it sweeps, the study it writes, the costs it predicted.

Hydra calls the stage once for each proposal, with nothing but that proposal's configuration; whoever owns the sweep
owns the one object here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from src.runtime import distributed

if TYPE_CHECKING:
    from optuna.trial import Trial

    from src.train.dry_run import Forecast
    from src.train.runner import StudyRunner
    from src.train.space import SweepSpace


@dataclass
class Session:
    space: SweepSpace | None = None  # None: one trial by hand
    runner: StudyRunner | None = None  # None until the first configuration has been checked
    forecasts: list[Forecast] = field(default_factory=list)  # of a dry run
    forecast_file: Path | None = None  # where they are kept

    @property
    def begun(self) -> bool:
        """Whether the search space has been checked."""
        return self.runner is not None or len(self.forecasts) > 0


SESSION = Session()


class Sweep(Callback):
    """Completes the sweeper's config before Optuna is asked, and keeps the space for the trials of this process."""

    def on_multirun_start(self, config: DictConfig, **kwargs: object) -> None:
        from src.train.space import complete_sweep

        try:
            SESSION.space = complete_sweep(config)
        except ValueError as error:
            said = f"error: {error}" if distributed.rank() == 0 else 1
            raise SystemExit(said) from None  # Hydra swallows a callback's ordinary exceptions


def suggest(config: DictConfig, trial: Trial) -> None:
    """What Hydra's sweeper asks for the rest of a proposal."""
    from src.train.space import draw_conditional

    assert SESSION.space is not None
    draw_conditional(SESSION.space, config, trial)
