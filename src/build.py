"""Objects from configs: Hydra's instantiate, for targets of this project and torch's layers and optimizers only."""

from __future__ import annotations

from typing import Any

import hydra.utils
from hydra.errors import InstantiationException

ALLOWED = (
    "src.augmentation.",
    "src.criteria.",
    "src.data.",
    "src.methods.",
    "src.models.",
    "src.probes.",
    "torch.nn.",
    "torch.optim.",
    "timm.optim.",
)


def check_targets(config: Any) -> None:
    """Raise ValueError where a ``_target_`` names anything but the allowed modules: a record may come from anywhere."""
    if isinstance(config, dict):
        target = config.get("_target_")
        if target is not None and not (isinstance(target, str) and target.startswith(ALLOWED)):
            raise ValueError(f"_target_ must start with one of {', '.join(ALLOWED)}, got {target!r}")
        for value in config.values():
            check_targets(value)
    elif isinstance(config, list):
        for value in config:
            check_targets(value)


def build(config: dict[str, Any], *args: Any) -> Any:
    """Instantiate a plain config; its ``name`` is for people and isn't passed on.

    Raises ValueError with the target's own message on a bad value, an unknown or a missing argument.
    """
    check_targets(config)
    arguments = {key: value for key, value in config.items() if key != "name"}
    try:
        return hydra.utils.instantiate(arguments, *args, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ValueError):
            raise ValueError(str(cause)) from error
        if isinstance(cause, TypeError):
            raise ValueError(f"{config['_target_']}: {cause}") from error
        raise
