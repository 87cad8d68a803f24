"""Runs the commands under test in forks of a process that has already imported the heavy libraries.

A stage spends four seconds importing torch, mlflow and optuna, and the suite runs some two hundred. What a fork then
does is what `python -m src.<stage>` does: arguments, folder, environment, output, signals and exit code are its own.
tests/test_pipeline.py and the first of the command line's tests start real processes all the same.
"""

from __future__ import annotations

import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class Forked:
    """The part of subprocess.Popen that tests use."""

    def __init__(self, zygote: Zygote, pid: int, out: Path) -> None:
        self.zygote, self.pid, self.out = zygote, pid, out

    @property
    def returncode(self) -> int | None:
        return self.zygote.codes.get(self.pid)

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        end = time.monotonic() + timeout
        while self.returncode is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.005)
        return self.out.with_suffix(".out").read_text(), self.out.with_suffix(".err").read_text()


class Zygote:
    """One preloaded process; start() forks it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.codes: dict[int, int] = {}
        self.pids: list[int] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.zygote"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = json.loads(line)
            if "code" in message:
                self.codes[message["pid"]] = message["code"]
            else:
                self.pids.append(message["pid"])

    def start(self, module: str, arguments: list[str], folder: Path, environment: dict[str, str]) -> Forked:
        out = self.folder / str(time.monotonic_ns())
        request = {"module": module, "arguments": arguments, "cwd": str(folder), "env": environment, "out": str(out)}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        while not self.pids:
            time.sleep(0.002)
        return Forked(self, self.pids.pop(), out)


def _child(request: dict[str, Any]) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(request["out"] + suffix, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = [request["module"], *request["arguments"]]
    if "KILL_AT_WRITE" in os.environ:
        runpy.run_path(str(ROOT / "tests" / "killer.py"))
    code = 0
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    import atexit

    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _serve() -> None:
    import torch._dynamo  # noqa: F401
    from hydra_plugins.hydra_optuna_sweeper import optuna_sweeper  # noqa: F401

    channel = os.fdopen(os.dup(1), "w", buffering=1)  # what a child prints must not reach the parent's protocol
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                channel.write(json.dumps({"pid": ended[0], "code": os.waitstatus_to_exitcode(ended[1])}) + "\n")
        except ChildProcessError:
            pass
        if select.select([0], [], [], 0.01)[0]:
            line = os.read(0, 1 << 20)
            if not line:
                return
            for request in line.decode().splitlines():
                pid = os.fork()
                if pid == 0:
                    _child(json.loads(request))
                channel.write(json.dumps({"pid": pid}) + "\n")


if __name__ == "__main__":
    _serve()
