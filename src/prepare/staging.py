"""Decodes many files into one array on disk: on all cores, in little memory, and going on where it was stopped."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import resource
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import AvifImagePlugin
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from src.prepare.decode import MOST_BYTES, decode
from src.runtime import files, interrupts
from src.runtime.console import make_console

CHUNK = 64  # files a worker takes at a time
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
    """Decode the files into ``folder``, or take what an earlier run of the same files and settings left there.

    ``processes`` decode at a time; None: one per core. Raises ValueError where one of them is killed.
    """
    identity = _identity(paths, size, channels, bits)
    if not (folder / "identity").exists() or (folder / "identity").read_text() != identity:
        claim(folder)
        shape = (len(paths), channels, size, size)
        np.lib.format.open_memmap(folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=shape).flush()
        np.save(folder / "facts.npy", np.zeros(len(paths), FACTS))
        (folder / "problems.txt").touch()
        # last: killed before this line, the next run begins anew
        (folder / "identity").write_text(identity)
    journal = _Journal(folder)
    left = np.flatnonzero(journal.facts["state"] == PENDING)
    if len(left):
        _decode_all(journal, paths, left, size, channels, bits, processes or len(os.sched_getaffinity(0)))
    return Staged(folder / "pixels.npy", journal.facts, journal.problems)


def claim(folder: Path) -> None:
    """Make ``folder`` an empty one to decode into. Raises ValueError where it holds anything else."""
    known = {"pixels.npy", "facts.npy", "problems.txt", "identity"}
    if folder.exists():
        strange = sorted(path.name for path in folder.iterdir() if path.name not in known and not _partial(path))
        if strange or (any(folder.iterdir()) and not (folder / "identity").is_file()):
            what = strange[0] if strange else "files"
            raise ValueError(f"data.source.staging={folder} holds {what!r}, not written by prepare: name a new folder")
        clear(folder)
    folder.mkdir(parents=True)
    (folder / "identity").touch()  # whose folder it is


def clear(folder: Path) -> None:
    """Remove what ``claim`` and ``stage`` have written, and the folder where nothing else is in it."""
    if not folder.exists():
        return
    for path in list(folder.iterdir()):
        if path.name in ("pixels.npy", "facts.npy", "problems.txt") or _partial(path):
            path.unlink()
    if {path.name for path in folder.iterdir()} == {"identity"}:
        (folder / "identity").unlink()
        folder.rmdir()


def _partial(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(files.PARTIAL)


def _identity(paths: Sequence[str], size: int, channels: int, bits: int) -> str:
    digest = hashlib.blake2b(f"{size} {channels} {bits}".encode(), digest_size=16)
    for path in paths:
        # by size and time: reading every file's content would cost what is to be saved
        stat = Path(path).stat()
        digest.update(os.fsencode(path) + f"\0{stat.st_size} {stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()


class _Journal:
    """Which files are done. It is written after their pixels, so that it never claims too much."""

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
            # writes out the workers' pixels too: fsync is of the file, whoever wrote to it
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
    offset = int(np.load(pixels, mmap_mode="r").offset)
    chunks = (left[first : first + CHUNK] for first in range(0, len(left), CHUNK))
    bar = _make_bar()
    task = bar.add_task("", total=len(paths), completed=len(paths) - len(left), facts="")
    processes = min(processes, -(-len(left) // CHUNK))
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=spawn, initializer=_begin_worker, initargs=(MOST_BYTES,))
    running: dict[Future[tuple[np.ndarray, dict[int, str]]], np.ndarray] = {}
    interrupts.wait_for_points(True)
    try:
        with bar:
            while True:
                interrupts.point()
                # enough that no worker waits, and few, so that memory doesn't grow with the number of files
                while len(running) < 4 * processes and (chunk := next(chunks, None)) is not None:
                    mine = [paths[i] for i in chunk]
                    running[pool.submit(_decode_chunk, pixels, offset, chunk, mine, size, channels, bits)] = chunk
                if not running:
                    break
                for job in wait(running, return_when=FIRST_COMPLETED).done:
                    places = running.pop(job)
                    journal.add(places, *job.result())
                    facts = f"{len(journal.problems)} broken" if journal.problems else ""
                    bar.update(task, advance=len(places), facts=facts)
    except BrokenProcessPool:
        lower = f"a smaller data.source.workers, of {processes}" if processes > 1 else "more memory"
        raise ValueError(
            "a process that decodes images was killed, as happens where memory runs out (a large image takes up to "
            f"{MOST_BYTES / 1e9:g} GB): what was decoded is kept, run this again with {lower}"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
        journal.save()
        interrupts.wait_for_points(False)


def _make_bar() -> Progress:
    return Progress(
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


def _begin_worker(most: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff writes its complaints there, over the bar
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # every core has a process, and each thread takes memory
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _limit_memory(most)


def _end_with_parent() -> None:
    """A process that was killed can't tell those it started, which would wait for its next word for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    # sys.exit would end this thread alone
    os._exit(1)


def _limit_memory(most: int) -> None:
    """Have the system refuse this process more than ``most`` bytes beyond what it has, where it says what that is."""
    held = Path("/proc/self/statm")
    if not held.exists():
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    # RLIMIT_AS counts address space, of which the libraries hold much already
    wanted = int(held.read_text().split()[0]) * resource.getpagesize() + most
    limits = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *limits]), hard))


def _decode_chunk(
    pixels: str, offset: int, places: np.ndarray, paths: list[str], size: int, channels: int, bits: int
) -> tuple[np.ndarray, dict[int, str]]:
    """``offset``: of the first image in the file, which may be larger than the memory that this process may map."""
    facts = np.zeros(len(paths), FACTS)
    problems = {}
    with Path(pixels).open("rb+") as file:
        for row, (place, path) in enumerate(zip(places.tolist(), paths, strict=True)):
            try:
                decoded = decode(path, size, channels, bits)
            except ValueError as error:
                facts[row] = (BROKEN, 0, 0)
                problems[place] = str(error)
                continue
            file.seek(offset + place * decoded.pixels.size)
            file.write(decoded.pixels.tobytes())
            facts[row] = (BLANK if decoded.blank else GOOD, decoded.width, decoded.height)
    return facts, problems
