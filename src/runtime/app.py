"""Runs a stage as a Hydra app whose user errors are one line and a non-zero exit."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import hydra
from hydra.errors import CompactHydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.runtime import distributed, files, interrupts, records
from src.runtime.memory import out_of_memory
from src.runtime.settings import Folders, hold

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: threads that spin would take a neighbour's core

S = TypeVar("S")

CONF = str(Path(__file__).resolve().parent.parent.parent / "conf")
LOWERED = ("batch_size", "model.width", "evaluation.images", "data.source.size")  # where memory runs out


def run(stage: Callable[[S], object], config_name: str, shape: type[S]) -> None:
    """Compose conf/<config_name>.yaml with the command line and call the stage with it, as its settings.

    ValueError, OSError, lack of memory and anything Hydra says of the command line become ``error: <one line>``, a
    signal a line of its own; every other exception is a defect of this project and keeps its traceback.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hand exceptions over instead of printing them

    def task(config: DictConfig) -> object:
        try:
            if distributed.world() > 1 and config_name != "train":
                raise ValueError(f"src.{config_name} runs in one process: leave torchrun to src.train")
            return stage(_settings(config, shape))
        except Exception as error:  # Hydra would wrap them up in a sweep
            known = (ValueError, OSError, files.Busy, OmegaConfBaseException)
            if not isinstance(error, known) and not out_of_memory(error):
                raise
            if distributed.rank() > 0:
                raise SystemExit(1) from None  # the first process says it
            lowered = [key for key in LOWERED if OmegaConf.select(config, key) is not None]
            raise SystemExit(f"error: {_explain(error, lowered)}") from None

    warnings.filterwarnings("error", "Callback .* raised")  # Hydra would only warn and go on
    interrupts.listen()
    with one_line(config_name):
        _check_arguments()
        hydra.main(version_base="1.3", config_path=CONF, config_name=config_name)(task)()


@contextlib.contextmanager
def one_line(config_name: str) -> Iterator[None]:
    """Make whatever ends the command one line and its exit code, after all of standard output has been written."""
    try:
        yield
        _flush()
    except interrupts.OutOfTime:
        raise
    except BaseException as error:
        _let_go_of_output()
        if isinstance(error, UserWarning) and error.__context__ is not None:
            error = error.__context__  # what a callback raised
        if interrupts.asked():
            if distributed.rank() == 0 and not isinstance(error.__context__, SystemExit):  # which has said it
                again = f"python -m src.{config_name} {shlex.join(sys.argv[1:])}".rstrip()
                print(f"interrupted; what was finished is kept, the same command goes on: {again}", file=sys.stderr)
            sys.exit(interrupts.exit_code())
        if isinstance(error, BrokenPipeError):  # whoever read the output has seen enough
            sys.exit(1)
        hydras = isinstance(error, CompactHydraException)  # some of which are OSErrors too
        if (isinstance(error, OSError) and not hydras) or out_of_memory(error):
            sys.exit(f"error: {_explain(error, [])}" if distributed.rank() == 0 else 1)
        if not isinstance(error, (CompactHydraException, OmegaConfBaseException, ValueError)):
            raise
        sys.exit(f"error: {_cure(error, config_name)}" if distributed.rank() == 0 else 1)


def _let_go_of_output() -> None:
    """Where standard output can't be written, drop what is left of it: Python would fail on it again at exit."""
    try:
        _flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _flush() -> None:
    if sys.stdout is not None:  # as where the shell has closed it
        sys.stdout.flush()


PLACES = ("hydra.run", "hydra.sweep", "hydra.output_subdir", "hydra.job.chdir", "hydra.searchpath")


def _check_arguments() -> None:
    """Raise ValueError where Hydra would be told to write elsewhere: it makes that folder before all checks."""
    for argument in sys.argv[1:]:
        key = argument.lstrip("+~").partition("=")[0]
        if key.startswith(tuple(f"{place}." for place in PLACES)) or key in PLACES:
            raise ValueError(f"{key} can't be set: what a command writes lies below its folders.<name>")


def _settings(config: DictConfig, shape: type[S]) -> S:
    """Raises ValueError where a key has the wrong type or is out of range, before the stage does anything."""
    _check_folders(config.get("folders", {}))
    plain = OmegaConf.to_container(config, resolve=True)
    if isinstance(plain, dict) and plain.get("study") == "???":
        raise study_needed(plain["folders"]["runs"], plain.get("table"))
    settings = hold("", plain, shape)
    folders, study = getattr(settings, "folders", None), getattr(settings, "study", None)
    if isinstance(folders, Folders) and study and folders.of(study).resolve() == Path(folders.store).resolve():
        raise ValueError(f"study must be another name than the trial store's, {folders.store}, got {study!r}")
    return settings


def study_needed(runs: str, table: str | None) -> ValueError:
    """What to say where no study was named: which ones there are, or what makes the first."""
    if table:
        return ValueError(f"study is needed: add study=..., one of those that {table} holds")
    there = records.studies(Path(runs))
    if there:
        return ValueError(f"study is needed: add study=...; {runs} holds {there}")
    return ValueError(f"study is needed, and {runs} holds none: run python -m src.train -m first")


def _check_folders(folders: object) -> None:
    if not isinstance(folders, Mapping):
        raise ValueError(f"folders must name folders, as in folders.<name>=<path>, got {folders!r}")
    for name, place in folders.items():
        if not isinstance(place, str):
            raise ValueError(f"folders.{name} must be a path, got {place!r}")
        if Path(place).is_file():
            raise ValueError(f"folders.{name} must be a folder, and {place} is a file")


def _explain(error: BaseException, lowered: list[str]) -> str:
    """One line; ``lowered`` are the keys that decide how much memory is taken."""
    if out_of_memory(error):
        less = f"lower {', '.join(lowered[:-1])} or {lowered[-1]}" if len(lowered) > 1 else "free some"
        return f"out of memory: {less} and run this again; what was finished is kept"
    if isinstance(error, files.Busy):
        return f"{Path(str(error)).parent} is being written by another process: wait until it ends, then run this again"
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""  # there is none where a write fails halfway
        return f"{place}{error.strerror or error}; what was finished is kept, run this again"
    return " ".join(str(error).split())


def _cure(error: Exception, config_name: str) -> str:
    """Hydra's message in one line, with the nearest valid names."""
    causes = [error, error.__cause__]
    text = " ".join(" ".join(str(cause) for cause in causes if cause is not None).split())
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        options = list(error.options)
        return f"{group}={option} doesn't exist{_nearest(option, options)}; the options are {', '.join(options)}"
    if isinstance(error, OverrideParseException):
        typed, _, value = str(error.override).partition("=")
        return (
            f"{typed}={value} can't be read: other than plain letters need two pairs of quotes, '{typed}=\"{value}\"'"
        )
    if "Ambiguous value for argument" in text:
        return f"{text.partition('argument ')[2].split()[0]} names several: a list stands in brackets, 'key=[a,b]'"
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
        # with the chosen groups, whose keys differ from the defaults'
        chosen = [argument for argument in sys.argv[1:] if argument.partition("=")[0] in choices]
        # a group may be what was misspelt
        with contextlib.suppress(CompactHydraException):
            config = hydra.compose(config_name, chosen, return_hydra_config=True)
    groups = [name for name in config.hydra.runtime.choices if not name.startswith("hydra/")]

    def leaves(node: object, prefix: str) -> list[str]:
        if not isinstance(node, dict):
            return [prefix]
        return [
            leaf for key, value in node.items() for leaf in leaves(value, f"{prefix}.{key}" if prefix else str(key))
        ]

    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    return groups + leaves({key: value for key, value in plain.items() if key != "hydra"}, "")
