"""Run first in a process under test: what the machine does to it, at the n-th step of writing a file.

`python -m tests.killer src.train ...` runs a command after it.

FAULT says what: ``kill`` ends the process as kill -9 would; ``hold`` makes the file HELD and waits until there is
GO_ON; ``full`` fails that step and every later one as a full disk does, an appended line half written; ``memory``
leaves the process no more memory than it has, and ``MORE_MEMORY`` bytes; ``small`` refuses larger files than
``LARGEST`` bytes, ``output`` puts standard output on a full disk, ``impatient`` waits for a locked database no longer
than a moment, and ``unprivileged`` makes root obey the permissions of files, all four at once. With STEPS=work it is
pieces of work that are counted, which it gives to processes of its own.
"""

from __future__ import annotations

import builtins
import ctypes
import errno
import io
import os
import resource
import runpy
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

CAPABILITIES = 0x20080522  # version 3 of the system call's structures: two words of each set
OVERRIDES = 0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH

left = int(os.environ["KILL_AT_WRITE"])
fault = os.environ.get("FAULT", "kill")


def step() -> None:
    global left
    left -= 1
    if left == 0 and fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if left == 0 and fault == "hold":
        Path(os.environ["HELD"]).touch()
        while not Path(os.environ["GO_ON"]).exists():
            time.sleep(0.005)
    if left == 0 and fault == "memory":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + int(os.environ["MORE_MEMORY"])
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    if left <= 0 and fault == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def counted(call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*arguments: Any, **keywords: Any) -> Any:
        step()
        return call(*arguments, **keywords)

    return wrapper


class Appended:
    """A file opened for appending, whose every write is a step and may come to half."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> Appended:
        return self

    def __exit__(self, *error: Any) -> None:
        self.file.close()

    def write(self, content: Any) -> int:
        try:
            step()
        except OSError:
            self.file.write(content[: len(content) // 2])
            self.file.flush()
            raise
        return int(self.file.write(content))


really_open = io.open


def opened(file: Any, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
    if set(mode) & set("wxa") and not str(file).startswith("/dev/"):
        step()
    found = really_open(file, mode, *arguments, **keywords)
    return Appended(found) if "a" in mode else found


really_connect = sqlite3.connect


def connected_or_not(*arguments: Any, **keywords: Any) -> sqlite3.Connection:
    return really_connect(*arguments, **keywords | {"timeout": 0.1})


def obey_permissions() -> None:
    header = (ctypes.c_uint32 * 2)(CAPABILITIES, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable of the low word, then of the high one
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, sets) == 0
    for kind in range(3):
        sets[kind] &= ~OVERRIDES
    assert libc.capset(header, sets) == 0, os.strerror(ctypes.get_errno())


if fault == "unprivileged":
    obey_permissions()
elif fault == "output":
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
elif fault == "impatient":
    sqlite3.connect = connected_or_not  # type: ignore[assignment]
elif fault == "small":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that a write fails, with the system's own error
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(os.environ["LARGEST"]), -1))
elif os.environ.get("STEPS") == "work":
    ProcessPoolExecutor.submit = counted(ProcessPoolExecutor.submit)  # type: ignore[method-assign]
else:
    os.fsync = counted(os.fsync)
    os.replace = counted(os.replace)
    os.mkdir = counted(os.mkdir)
    io.open = builtins.open = opened

if __name__ == "__main__":
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
