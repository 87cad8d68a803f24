from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tests.project import ROOT

PAGES = """
import resource, torch
from src.device import set_up
set_up("cpu", 1)
for step in range(12):
    if step == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(2**21) for _ in range(8)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's malloc")
def test_freed_memory_is_taken_again_without_the_system() -> None:
    """Ten times 64 MB: 160,000 pages if the system clears them afresh, 320 of the huge ones."""
    done = subprocess.run([sys.executable, "-c", PAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100
