"""Runs the commands under test in forks of a process that has already imported the libraries they use.

A stage spends six seconds importing torch, MLflow, scikit-learn and the rest, and the suite runs some hundreds. The
standard library's fork server keeps such a process for each worker of the suite; nothing of src is imported there.
What a fork then does is what `python -m src.<stage>` does: session, arguments, folder, environment, output, signals
and exit code are its own. tests/test_pipeline.py and the first of the command line's tests start real processes all
the same.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
PRELOADED = (  # whatever else these import comes with them
    *("torch._dynamo", "torch.distributed", "torch.utils.flop_counter", "torchvision.models", "timm"),
    *("mlflow.tracking.client", "mlflow.store.tracking.sqlalchemy_workspace_store", "alembic.command"),
    *("hydra_plugins.hydra_optuna_sweeper._impl", "hydra._internal.core_plugins.basic_launcher"),
    *("hydra._internal.core_plugins.basic_sweeper", "sqlalchemy.dialects.sqlite", "pyarrow.dataset"),
    *("sklearn.cluster", "sklearn.datasets", "sklearn.ensemble", "sklearn.model_selection", "scipy.stats"),
    *("matplotlib.pyplot", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg"),
    *("rich.progress", "jinja2", "pydantic", "jaxtyping", "safetensors.torch", "PIL.AvifImagePlugin"),
)

one_at_a_time = threading.Lock()  # whichever thread starts a process looks at the exit codes of all
server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(list(PRELOADED))


@cache
def _written() -> Path:
    """A folder for outputs, and for src as it was compiled by the first that imported it."""
    return Path(tempfile.mkdtemp(prefix="stepwise-tests-"))


class Forked:
    """A running command: the part of subprocess.Popen that tests use."""

    def __init__(self, module: str, arguments: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.outputs = [_written() / f"{time.monotonic_ns()}.{kind}" for kind in ("out", "err")]
        self.process = server.Process(target=_run, args=(module, arguments, folder, environment, self.outputs))
        with one_at_a_time:
            self.process.start()
        assert self.process.pid is not None
        self.pid = self.process.pid

    @property
    def returncode(self) -> int | None:
        with one_at_a_time:
            return self.process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        if not wait([self.process.sentinel], timeout):
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        out, err = self.outputs
        return out.read_text(), err.read_text()


def kill_all() -> None:
    """What a failed test left running."""
    for process in multiprocessing.active_children():
        process.kill()


def _run(module: str, arguments: list[str], folder: Path, environment: dict[str, str], outputs: list[Path]) -> None:
    """Become the command. What ends it, SystemExit or another exception, is multiprocessing's to turn into a code."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the suite itself runs under nohup
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout, sys.stderr = (_opened(number, path) for number, path in enumerate(outputs, 1))
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    sys.path.insert(0, str(folder))  # where a project may have code of its own
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(outputs[0].parent)
    if "KILL_AT_WRITE" in os.environ:
        runpy.run_path(str(ROOT / "tests" / "killer.py"))
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()


def _opened(number: int, path: Path) -> TextIO:
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    return os.fdopen(number, "w", buffering=1 if number == 2 else -1, closefd=False)  # as Python opens them
