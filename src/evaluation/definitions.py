"""Criteria as conf/criterion/ defines them, read as Hydra reads its configs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf


def load_criteria(folder: Path, chosen: dict[str, Any]) -> list[dict[str, Any]]:
    """Every criterion of conf/criterion/, the chosen one as it was composed."""
    criteria: list[Any] = [OmegaConf.to_container(OmegaConf.load(path)) for path in sorted(folder.glob("*.yaml"))]
    return [chosen if criterion["name"] == chosen["name"] else criterion for criterion in criteria]
