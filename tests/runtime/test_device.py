from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch

from src.runtime.device import set_up
from tests.project import ROOT

PAGES = """
import resource, torch
from src.runtime.device import set_up
set_up("cpu", 1)
for step in range(20):
    if step == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(10 * 2**20) for _ in range(4)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's malloc")
def test_freed_memory_is_taken_again_without_the_system() -> None:
    """Ten times 160 MB: 400,000 pages if the system clears them afresh, 800 of the huge ones."""
    done = subprocess.run([sys.executable, "-c", PAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100


def test_more_threads_than_a_machine_has_use_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    with pytest.raises(ValueError, match=r"^threads must be >= 1 and <= 64, got 100000$"):
        set_up("cpu", 100_000)
    monkeypatch.setattr(os, "cpu_count", lambda: 192)
    with pytest.raises(ValueError, match=r"^threads must be >= 1 and <= 192, got 193$"):
        set_up("cpu", 193)
    assert torch.get_num_threads() <= 64
