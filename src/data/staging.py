"""Decodes many files into one array on disk: on all cores, in little memory, and going on where it was stopped."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from src import files, interrupts
from src.data.decode import decode
from src.screen import make_console

CHUNK = 64  # files that a worker takes at a time
SAVE_SECONDS = 3.0
PENDING, GOOD, BLANK, BROKEN = range(4)
FACTS = np.dtype([("state", np.uint8), ("width", np.uint32), ("height", np.uint32)])


class Staged(NamedTuple):
    """What became of each file; only good and blank ones have pixels."""

    pixels: Path  # .npy, uint8 (n, channels, size, size)
    facts: np.ndarray  # (n,) of FACTS
    problems: dict[int, str]  # place of a broken file -> what is wrong with it


def stage(
    folder: Path, paths: Sequence[str], *, size: int, channels: int, bits: int, processes: int | None = None
) -> Staged:
    """Decode the files into ``folder``, or take what an earlier run of the same files and settings left there."""
    identity = _identity(paths, size, channels, bits)
    if not (folder / "identity").exists() or (folder / "identity").read_text() != identity:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shape = (len(paths), channels, size, size)
        np.lib.format.open_memmap(folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=shape).flush()
        np.save(folder / "facts.npy", np.zeros(len(paths), FACTS))
        (folder / "problems.txt").touch()
        (folder / "identity").write_text(identity)
    journal = _Journal(folder)
    left = np.flatnonzero(journal.facts["state"] == PENDING)
    if len(left):
        _decode_all(journal, paths, left, size, channels, bits, processes or len(os.sched_getaffinity(0)))
    return Staged(folder / "pixels.npy", journal.facts, journal.problems)


def _identity(paths: Sequence[str], size: int, channels: int, bits: int) -> str:
    digest = hashlib.blake2b(f"{size} {channels} {bits}".encode(), digest_size=16)
    for path in paths:
        found = Path(path).stat()
        digest.update(os.fsencode(path) + f"\0{found.st_size} {found.st_mtime_ns}\0".encode())
    return digest.hexdigest()


class _Journal:
    """Which files are done. It is written after their pixels are, so that it never says too much."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts = np.load(folder / "facts.npy")
        lines = (folder / "problems.txt").read_text().splitlines()
        self.problems = {int(place): reason for place, _, reason in (line.partition(" ") for line in lines)}
        self._saved = time.monotonic()

    def add(self, places: np.ndarray, facts: np.ndarray, problems: dict[int, str]) -> None:
        self.facts[places] = facts
        self.problems |= problems
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        with (self.folder / "pixels.npy").open("rb+") as file:
            os.fsync(file.fileno())
        lines = [f"{place} {reason}" for place, reason in self.problems.items()]
        files.write_atomically(self.folder / "problems.txt", "\n".join(lines).encode(errors="backslashreplace"))
        content = io.BytesIO()
        np.save(content, self.facts)
        files.write_atomically(self.folder / "facts.npy", content.getvalue())
        self._saved = time.monotonic()


def _decode_all(
    journal: _Journal, paths: Sequence[str], left: np.ndarray, size: int, channels: int, bits: int, processes: int
) -> None:
    pixels = str(journal.folder / "pixels.npy")
    chunks = (left[first : first + CHUNK] for first in range(0, len(left), CHUNK))
    bar = Progress(
        TextColumn("decoding"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=make_console(),
        transient=True,
    )
    task = bar.add_task("", total=len(paths), completed=len(paths) - len(left), facts="")
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        min(processes, -(-len(left) // CHUNK)),
        mp_context=context,
        initializer=_begin_worker,
    )
    running: dict[Future[tuple[np.ndarray, dict[int, str]]], np.ndarray] = {}
    interrupts.wait_for_points(True)
    try:
        with bar:
            while True:
                interrupts.point()
                while len(running) < 4 * processes and (chunk := next(chunks, None)) is not None:
                    job = pool.submit(_decode_chunk, pixels, chunk, [paths[i] for i in chunk], size, channels, bits)
                    running[job] = chunk
                if not running:
                    break
                for job in wait(running, return_when=FIRST_COMPLETED).done:
                    places = running.pop(job)
                    journal.add(places, *job.result())
                    facts = f"{len(journal.problems)} broken" if journal.problems else ""
                    bar.update(task, advance=len(places), facts=facts)
    except BrokenProcessPool:
        raise ValueError(
            "a process that decodes images was killed, as happens where memory runs out: what was decoded is kept, "
            "run this again"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
        journal.save()
        interrupts.wait_for_points(False)


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff writes its complaints there, over the bar


def _decode_chunk(
    pixels: str, places: np.ndarray, paths: list[str], size: int, channels: int, bits: int
) -> tuple[np.ndarray, dict[int, str]]:
    facts = np.zeros(len(paths), FACTS)
    problems = {}
    offset = int(np.load(pixels, mmap_mode="r").offset)
    with Path(pixels).open("rb+") as file:
        for row, (place, path) in enumerate(zip(places.tolist(), paths, strict=True)):
            try:
                found = decode(path, size, channels, bits)
            except ValueError as error:
                facts[row] = (BROKEN, 0, 0)
                problems[place] = str(error)
                continue
            file.seek(offset + place * found.pixels.size)
            file.write(found.pixels.tobytes())
            facts[row] = (BLANK if found.blank else GOOD, found.width, found.height)
    return facts, problems
