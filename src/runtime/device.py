"""What has to be set before torch computes, so that the same config gives the same bits on one machine."""

from __future__ import annotations

import ctypes
import os

import torch

from src.runtime import check

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
MOST_THREADS = 64  # or as many as there are CPUs, where that is more
KEPT, LARGEST_KEPT = 2**30, 2**27  # bytes: in all, and in one block


def set_up(device: str, threads: int) -> None:
    """Fix threads and deterministic algorithms.

    Raises ValueError on a device that isn't here, and on more threads than a machine has use for: some thousands end
    in a segmentation fault.
    """
    check.number("threads", threads, at_least=1, at_most=max(MOST_THREADS, os.cpu_count() or 1), whole=True)
    check.choice("device", device, ("cpu", "cuda"))
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device must be cpu where torch sees no GPU, got 'cuda'")
    # else cuBLAS gives other bits from run to run, and torch refuses to use it
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms(True) without its import of inductor
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing reads it
    # it would choose kernels by timing them, and so others in each run
    torch.backends.cudnn.benchmark = False
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """glibc would hand large blocks back to the system, which clears them for the next step: a fifth of its time."""
    libc = ctypes.CDLL(None)
    # other C libraries have no such setting
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_TRIM_THRESHOLD, KEPT)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
