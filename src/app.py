"""Runs a stage as a Hydra app whose user errors are one line and a non-zero exit."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import CompactHydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src import check, files, interrupts, processes

CONF = str(Path(__file__).resolve().parent.parent / "conf")
INTERRUPTED = 130


class OutOfTime(BaseException):
    """A budget of hours is spent; not an Exception, which Hydra would take for a failed job."""


def run(stage: Callable[[DictConfig], Any], config_name: str) -> None:
    """Compose conf/<config_name>.yaml with the command line and call the stage.

    ValueError, OSError and anything Hydra says of the command line become ``error: <one line>``; every other exception
    is a defect of this project and keeps its traceback.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hand exceptions over instead of printing them

    def task(config: DictConfig) -> Any:
        try:
            if processes.world() > 1 and config_name != "train":
                raise ValueError(f"src.{config_name} runs in one process: leave torchrun to src.train")
            _check_folders(config.get("folders", {}))
            if config.get("study") is not None:
                check.plain_name("study", config.study)
            return stage(config)
        except (ValueError, OSError, files.Busy) as error:  # Hydra would wrap them up in a sweep
            if processes.rank() > 0:
                raise SystemExit(1) from None  # the first process says it
            raise SystemExit(f"error: {_explain(error)}") from None

    interrupts.listen()
    try:
        hydra.main(version_base="1.3", config_path=CONF, config_name=config_name)(task)()
    except OutOfTime:
        raise
    except BaseException as error:
        if interrupts.asked():
            if processes.rank() == 0:
                again = f"python -m src.{config_name} {shlex.join(sys.argv[1:])}".rstrip()
                print(f"interrupted; what was finished is kept, the same command goes on: {again}", file=sys.stderr)
            sys.exit(INTERRUPTED)
        if isinstance(error, BrokenPipeError):  # whoever read the output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        if not isinstance(error, (CompactHydraException, OmegaConfBaseException, ValueError)):
            raise
        sys.exit(f"error: {_mend(error, config_name)}" if processes.rank() == 0 else 1)


def _check_folders(folders: Any) -> None:
    if not isinstance(folders, Mapping):
        raise ValueError(f"folders must name folders, as in folders.<name>=<path>, got {folders!r}")
    for name, place in folders.items():
        if not isinstance(place, str):
            raise ValueError(f"folders.{name} must be a path, got {place!r}")


def _explain(error: Exception) -> str:
    if isinstance(error, files.Busy):
        return f"{Path(str(error)).parent} is being written by another process: wait until it ends, then run this again"
    if isinstance(error, OSError):
        return f"{error.filename or 'output'}: {error.strerror or error}; what was finished is kept, run this again"
    return " ".join(str(error).split())


def _mend(error: Exception, config_name: str) -> str:
    """Hydra's message in one line, with the nearest valid names."""
    causes = [error, error.__cause__]
    text = " ".join(" ".join(str(cause) for cause in causes if cause is not None).split())
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        options = list(error.options)
        return f"{group}={option} doesn't exist{_nearest(option, options)}; the options are {', '.join(options)}"
    key = re.search(r"(?:Could not override|Could not append to config\. An item is already at) '([^']+)'", text)
    if key is None:
        return text.replace("Got NoneType", "got null: ~group leaves a group out")
    name = key[1].split("@")[0]
    if "already at" in key[0]:
        return f"{name} is already in the configuration: write {name}=value without a +"
    near = _nearest(name, _known_names(config_name))
    return f"{name} isn't a key or group of {config_name}{near}; --help lists them all"


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if not close:  # a key given without its group
        close = [other for other in known if other.rpartition(".")[2] == name.rpartition(".")[2]][:3]
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def _known_names(config_name: str) -> list[str]:
    with hydra.initialize_config_dir(CONF, version_base="1.3"):
        config = hydra.compose(config_name, return_hydra_config=True)
        choices = config.hydra.runtime.choices
        chosen = [argument for argument in sys.argv[1:] if argument.partition("=")[0] in choices]
        with contextlib.suppress(CompactHydraException):
            config = hydra.compose(config_name, chosen, return_hydra_config=True)
    groups = [name for name in config.hydra.runtime.choices if not name.startswith("hydra/")]

    def leaves(node: Any, prefix: str) -> list[str]:
        if not isinstance(node, dict):
            return [prefix]
        return [
            leaf for key, value in node.items() for leaf in leaves(value, f"{prefix}.{key}" if prefix else str(key))
        ]

    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    return groups + leaves({key: value for key, value in plain.items() if key != "hydra"}, "")
