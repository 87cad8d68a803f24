"""Run first in a process under test: ends it, as kill -9 would, at the n-th step of writing a file."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

if "KILL_AT_WRITE" in os.environ:
    left = int(os.environ["KILL_AT_WRITE"])

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **keywords: Any) -> Any:
            global left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **keywords)

        return wrapper

    os.fsync = counted(os.fsync)
    os.replace = counted(os.replace)
