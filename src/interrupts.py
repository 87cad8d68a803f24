"""Ctrl-C: what says so takes it between two steps, anything else at once.

KeyboardInterrupt raised just anywhere may be lost in a destructor, come out of a library as another error, or leave a
lock held that the end of the command waits for.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

_asked = False  # since the command began
_patient = False


def listen() -> None:
    signal.signal(signal.SIGINT, _on_interrupt)


def asked() -> bool:
    return _asked


def wait_for_points(patient: bool) -> None:
    """Whether Ctrl-C waits for the next point; a second one never does."""
    global _patient
    _patient = patient


def point() -> None:
    """Raise KeyboardInterrupt if it was asked for. Nothing is half-done here."""
    if _asked:
        raise KeyboardInterrupt


def _on_interrupt(number: int, frame: FrameType | None) -> None:
    global _asked
    again, _asked = _asked, True
    if again or not _patient:
        raise KeyboardInterrupt
    os.write(2, b"\nends after this step; Ctrl-C again ends at once\n")
