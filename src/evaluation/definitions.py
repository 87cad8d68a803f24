"""Criteria as conf/criterion/ defines them, read as Hydra reads its configs."""

from __future__ import annotations

from pathlib import Path

from omegaconf import OmegaConf

from src.evaluation.criterion import Criterion
from src.runtime.settings import hold


def load_criteria(folder: Path, chosen: Criterion) -> list[Criterion]:
    """Every criterion of conf/criterion/, the chosen one as it was composed."""
    known = [
        hold(path.stem, OmegaConf.to_container(OmegaConf.load(path)), Criterion)
        for path in sorted(folder.glob("*.yaml"))
    ]
    return [chosen if criterion.name == chosen.name else criterion for criterion in known]
