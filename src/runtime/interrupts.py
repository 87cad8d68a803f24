"""Ctrl-C, SIGTERM and SIGHUP: code that asks for it is interrupted between two steps only, other code at once.

KeyboardInterrupt raised just anywhere may be lost in a destructor, come out of a library as another error, or leave a
lock held that the end of the command waits for.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from types import FrameType

from src.runtime.distributed import rank, world

AGAIN_SECONDS = 1.0  # torchrun and timeout send a signal twice: what comes sooner is the same wish

_asked: int | None = None  # the first signal since the command began
_since = 0.0
_patient = False


class OutOfTime(BaseException):
    """A budget of hours is spent; not an Exception, which Hydra would take for a failed job."""


def listen() -> None:
    """Take all three alike; SIGHUP stays ignored where it is, as under nohup."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _on_interrupt)


def asked() -> bool:
    return _asked is not None


def exit_code() -> int:
    """What a shell expects of a command that was asked to end."""
    return 128 + (_asked or signal.SIGINT)


def wait_for_points(patient: bool) -> None:
    """Whether a signal waits for the next point; a second one never does."""
    global _patient
    _patient = patient


def point() -> None:
    """Raise KeyboardInterrupt if it was asked for. Nothing is half-done here."""
    if asked():
        raise KeyboardInterrupt


def _on_interrupt(number: int, frame: FrameType | None) -> None:
    global _asked, _since
    again, now = asked(), time.monotonic()
    typed = number == signal.SIGINT and world() == 1  # by a person, who means it
    if again and not typed and now - _since < AGAIN_SECONDS:
        return
    if not again:
        _asked, _since = number, now
    if number == signal.SIGHUP:
        _leave_the_terminal()
    if again or not _patient:
        raise KeyboardInterrupt
    if rank() == 0:
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        with suppress(OSError):  # nobody reads it
            os.write(2, f"\nends after this step; {name} again ends at once\n".encode())


def _leave_the_terminal() -> None:
    """Where it is gone, as SIGHUP says, let what is still printed go nowhere instead of failing."""
    for descriptor in (1, 2):
        try:
            os.write(descriptor, b"")
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
