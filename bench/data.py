"""Packing a folder, and training from a set that doesn't fit in memory.

    python -m bench.data [photos=3000] [small=20000] [large_gb=5]

1. Images per second of src.prepare's decoding, and of torchvision's ImageFolder loop with the same size, in one process
   and in as many DataLoader workers as there are cores: on JPEGs of 500 x 375 and on PNGs of 32 x 32.
2. The whole of src.prepare on the small ones: seconds, and the largest sum of memory of all its processes.
3. Training steps on a set of ``large_gb`` GB left in its file: how much more memory the process takes than without it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
SIZE, ROUNDS = 32, 3
CORES = len(os.sched_getaffinity(0))


def picture(draw: np.random.Generator, width: int, height: int) -> Image.Image:
    coarse = draw.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def write_folder(root: Path, count: int, width: int, height: int, suffix: str) -> Path:
    draw = np.random.default_rng(0)
    for number in range(count):
        inside = root / f"class{number % 10}" / str(number // 10_000)
        inside.mkdir(parents=True, exist_ok=True)
        picture(draw, width, height).save(inside / f"{number}{suffix}")
    return root


def with_stepwise(root: Path, staging: Path) -> int:
    from src.prepare.staging import stage

    shutil.rmtree(staging, ignore_errors=True)
    paths = sorted(str(path) for path in root.rglob("*.*"))
    return len(stage(staging, paths, size=SIZE, channels=3, bits=16).facts)


def with_torchvision(root: Path, workers: int) -> int:
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    cut = transforms.Compose([transforms.Resize(SIZE), transforms.CenterCrop(SIZE), transforms.PILToTensor()])
    loader = DataLoader(ImageFolder(str(root), cut), batch_size=256, num_workers=workers)
    packed = np.empty((len(loader.dataset), 3, SIZE, SIZE), np.uint8)  # type: ignore[arg-type]
    for number, (images, _) in enumerate(loader):
        packed[number * 256 : number * 256 + len(images)] = images.numpy()
    return len(packed)


def compare(title: str, root: Path, scratch: Path) -> None:
    contestants: dict[str, Callable[[], int]] = {
        f"src.prepare's decoding, {CORES} processes": lambda: with_stepwise(root, scratch),
        "ImageFolder, one process": lambda: with_torchvision(root, 0),
        f"ImageFolder, {CORES} workers": lambda: with_torchvision(root, CORES),
    }
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, run in contestants.items():
            started = time.perf_counter()
            count = run()
            speeds[name].append(count / (time.perf_counter() - started))
    print(f"\n{title}, to {SIZE} x {SIZE}: images/s, median (and range) of {ROUNDS}")
    first = np.array(next(iter(speeds.values())))
    for name, values in speeds.items():
        spread = f"({min(values):,.0f} to {max(values):,.0f})"
        print(
            f"  {name:<38} {np.median(values):8,.0f} {spread:<20} ours / it {np.median(first / np.array(values)):.2f}"
        )


def memory_of(process: subprocess.Popen[bytes]) -> float:
    """The largest sum of MB, shared pages divided, that a process and its children took while it ran."""
    most = 0.0
    while process.poll() is None:
        total = 0.0
        for pid in [process.pid, *children(process.pid)]:
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1e3
        most = max(most, total)
        time.sleep(0.2)
    return most


def children(pid: int) -> list[int]:
    try:
        found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [*found, *(other for child in found for other in children(child))]


def prepare(root: Path, folder: Path, count: int) -> None:
    command = [sys.executable, "-m", "src.prepare", "data=folder", "data.name=bench", f"data.source.root={root}"]
    started = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    most = memory_of(process)
    spent = time.perf_counter() - started
    print(
        f"\nsrc.prepare of {count:,} images of {SIZE} x {SIZE}: {spent:.0f} s ({count / spent:,.0f} images/s), ", end=""
    )
    print(f"at most {most:,.0f} MB in all its processes, exit code {process.returncode}")


def resident() -> float:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def train_from_a_file(folder: Path, gigabytes: float) -> None:
    """In a child: steps on a set that stays in its file, beside the same on one that is small."""
    from bench.train import CASES, DEFAULTS, ours, trial_of
    from src.data.pack import write_pack
    from src.data.source import SPLITS, Rows, Source
    from src.runtime.device import set_up

    set_up("cpu", 2)
    few = np.random.default_rng(0).integers(0, 256, (1000, 3, SIZE, SIZE), dtype=np.uint8)
    np.save(folder / "few.npy", few)
    count = int(gigabytes * 1e9 / few[0].size)
    case, found = CASES["cnn32"], []
    for name, number in (("small", 1000), ("large", count)):
        places = {split: np.arange(10) + number + 10 * k for k, split in enumerate(SPLITS)}
        splits = {split: Source(few[:10], place, {}) for split, place in places.items()}
        splits["pretrain"] = Source(Rows(folder / "few.npy", np.arange(number) % 1000), np.arange(number), {})
        manifest = write_pack(folder / name, name, splits, {})
        trial = trial_of(case, DEFAULTS, manifest, folder / "unused")
        step = ours(trial, manifest, "cpu")
        times = []
        for _ in range(40):
            started = time.perf_counter()
            step()
            times.append(time.perf_counter() - started)
        found.append((resident(), case.batch_size / float(np.median(times[5:]))))
    (base, speed), (more, large_speed) = found
    print(f"\ntraining on {gigabytes:g} GB ({count:,} images) left in their file: {more:,.0f} MB resident and ", end="")
    print(f"{large_speed:,.0f} images/s; on 1,000 images {base:,.0f} MB and {speed:,.0f}")


def main(arguments: list[str]) -> None:
    given = dict(argument.split("=") for argument in arguments)
    photos, small = int(given.pop("photos", 3000)), int(given.pop("small", 20_000))
    gigabytes = float(given.pop("large_gb", 5))
    if given:
        sys.exit(f"error: options are photos, small and large_gb, got {' '.join(given)}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if photos:
            compare(
                f"{photos:,} JPEGs of 500 x 375",
                write_folder(folder / "photos", photos, 500, 375, ".jpg"),
                folder / "s",
            )
        if small:
            root = write_folder(folder / "small", small, SIZE, SIZE, ".png")
            if small <= 50_000:
                compare(f"{small:,} PNGs of {SIZE} x {SIZE}", root, folder / "s")
            prepare(root, folder, small)
        if gigabytes:
            child = [sys.executable, "-m", "bench.data", "child", str(folder), str(gigabytes)]
            subprocess.run(child, check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        train_from_a_file(Path(sys.argv[2]), float(sys.argv[3]))
    else:
        main(sys.argv[1:])
