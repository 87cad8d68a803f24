"""Whether an error says that memory ran out, whoever raised it."""

from __future__ import annotations

import errno
import re

SAID = re.compile(
    "(?i)out of memory|not enough memory|can.t allocate memory|alloc_failed|bad_alloc|can.t start new thread"
    "|failed to map segment"  # of a library that is loaded just then
)


def out_of_memory(error: BaseException) -> bool:
    """Whether Python, torch on any device, or the system had no memory left."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    told = isinstance(error, (RuntimeError, ImportError)) and SAID.search(str(error))
    return isinstance(error, MemoryError) or bool(told)
