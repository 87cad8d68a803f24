"""A data set on disk: images/ (unlabelled, fixed-size uint8, memory-mapped) and labels/, each with a manifest."""

from __future__ import annotations

import csv
import difflib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8
from pydantic import Field

from src.data.source import SPLITS, Rows, Source
from src.runtime import files, records
from src.runtime.records import Checksum, Config, Count, Name, closed

FORMAT: Literal[1] = 1
CHUNK = 2048  # images in memory at a time

Shape = tuple[int, int, int]  # of an image: channels, height, width


@closed
@dataclass(frozen=True)
class PackedSplit:
    """One split of a packed data set."""

    count: Count  # images
    groups: Count  # source images
    shape: Annotated[list[Count], Field(min_length=4, max_length=4)]  # images, channels, height, width
    checksum: Checksum


@closed
@dataclass(frozen=True)
class PackedSplits:
    pretrain: PackedSplit
    probe: PackedSplit
    val: PackedSplit
    test: PackedSplit

    def __getitem__(self, name: str) -> PackedSplit:
        split: PackedSplit = getattr(self, name)
        return split


@closed
@dataclass(frozen=True)
class ImagesManifest:
    """data/<name>/images/manifest.json."""

    format: Literal[1]
    name: Name
    config: Config  # of prepare
    splits: PackedSplits
    mean: Annotated[list[float], Field(min_length=1)]  # per channel, of the pretrain split, in [0, 1]
    std: Annotated[list[float], Field(min_length=1)]
    labelled: bool | None = None  # release 0.1.0 didn't say


@closed
@dataclass(frozen=True)
class LabelsManifest:
    """data/<name>/labels/manifest.json."""

    format: Literal[1]
    checksums: dict[str, Checksum]  # split -> of its table
    images: dict[str, Checksum]  # split -> of the images that it labels
    classes: list[str]


class Manifest(NamedTuple):
    """What images/manifest.json says, for whoever reads the packed images."""

    name: str
    folder: Path
    mean: tuple[float, ...]  # per channel, of the pretrain split, in [0, 1]
    std: tuple[float, ...]
    splits: PackedSplits
    oriented: bool  # whether the images have a way up
    labelled: bool  # whether labels/ has classes of them; that alone is known here

    @property
    def shape(self) -> Shape:
        channels, height, width = self.splits.pretrain.shape[1:]
        return channels, height, width


def write_pack(folder: Path, name: str, splits: dict[str, Source], config: Config) -> Manifest:
    """Write images/ and labels/ below ``folder``. Raises ValueError where a split is missing or groups cross splits."""
    check_splits(splits)
    folder.mkdir(parents=True, exist_ok=True)
    entries = _write_images(folder / "images", name, splits, config)
    _write_labels(folder / "labels", splits, {split: entries[split].checksum for split in SPLITS})
    return read_manifest(folder)


def check_splits(splits: dict[str, Source]) -> None:
    """Raise ValueError where a split is missing, or a group is in two."""
    missing = [split for split in SPLITS if split not in splits]
    if missing:
        raise ValueError(f"the data source has no {missing[0]} split: each of {', '.join(SPLITS)} needs images")
    seen: dict[int, str] = {}
    for split, source in splits.items():
        for group in np.unique(source.group).tolist():
            if seen.setdefault(group, split) != split:
                raise ValueError(f"group {group} is in two splits, {seen[group]} and {split}: each must be in one")


def _write_images(folder: Path, name: str, splits: dict[str, Source], config: Config) -> PackedSplits:
    folder.mkdir(exist_ok=True)
    entries = {}
    sums = {}
    for split, source in splits.items():
        sums[split] = _write_array(folder / f"{split}.npy", source.images)
        if source.names and not _told(source):
            files.write_atomically(folder / f"{split}.csv", _table_of_names(source))
        entries[split] = PackedSplit(
            count=len(source.images),
            groups=len(np.unique(source.group)),
            shape=list(source.images.shape),
            checksum=files.checksum(folder / f"{split}.npy"),
        )
    mean, std = _statistics(*sums["pretrain"], splits["pretrain"].images.shape)
    packed = PackedSplits(**entries)
    labelled = all(_told(splits[split]) for split in SPLITS[1:])
    files.write_json(folder / "manifest.json", ImagesManifest(FORMAT, name, config, packed, mean, std, labelled))
    return packed


def _told(source: Source) -> bool:
    """Whether classes are known: then file names may give them away, as a folder's name does."""
    return "class" in source.labels


def _table_of_names(source: Source) -> bytes:
    return files.to_csv(["index", "file"], enumerate(source.names))


def _write_array(path: Path, images: UInt8[np.ndarray, "n c h w"] | Rows) -> tuple[list[int], list[int]]:
    """Write images chunk by chunk; their sum and sum of squares per channel, which are exact whatever the chunks."""
    shape = tuple(int(side) for side in images.shape)
    # whole numbers: mean and std are part of trials' names, and must not depend on CHUNK
    total, squares = np.zeros(shape[1], np.int64), np.zeros(shape[1], np.int64)
    with path.open("wb") as file:
        # np.save would need the whole array in memory
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, shape[0], CHUNK):
            chunk = np.ascontiguousarray(images[start : start + CHUNK])
            file.write(chunk.data)
            wide = chunk.astype(np.int64)
            total += wide.sum((0, 2, 3))
            squares += (wide * wide).sum((0, 2, 3))
    return total.tolist(), squares.tolist()


def _statistics(total: list[int], squares: list[int], shape: tuple[int, ...]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel in [0, 1]: whole numbers until the last division."""
    n = shape[0] * shape[2] * shape[3]
    # Python's integers: n times a sum of squares would overflow int64
    variance = [(n * square - sum_ * sum_) / (n * n) for sum_, square in zip(total, squares, strict=True)]
    return [sum_ / n / 255 for sum_ in total], [math.sqrt(value) / 255 for value in variance]


def _write_labels(folder: Path, splits: dict[str, Source], images: dict[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    checksums = {}
    for split in SPLITS[1:]:
        source = splits[split]
        columns = [source.group.tolist(), *(column.tolist() for column in source.labels.values())]
        table = files.to_csv(["group", *source.labels], zip(*columns, strict=True))
        files.write_atomically(folder / f"{split}.csv", table)
        if source.names and _told(source):
            files.write_atomically(folder / f"{split}-files.csv", _table_of_names(source))
        checksums[split] = files.checksum(folder / f"{split}.csv")
    about = LabelsManifest(FORMAT, checksums, images, list(splits["probe"].class_names))
    files.write_json(folder / "manifest.json", about)


def read_manifest(folder: Path) -> Manifest:
    """Read images/manifest.json. Raises ValueError where the data set isn't there or is of another format."""
    path = folder / "images" / "manifest.json"
    if not path.exists():
        raise ValueError(f"no packed data in {folder}/images: {_prepare(folder)}")
    raw = records.read(path, ImagesManifest, _prepare(folder))
    oriented = bool(raw.config.get("oriented", False))
    return Manifest(raw.name, folder, tuple(raw.mean), tuple(raw.std), raw.splits, oriented, bool(raw.labelled))


def open_images(manifest: Manifest, split: str) -> UInt8[np.ndarray, "n c h w"]:
    """Memory-map a split's images. Raises ValueError if missing or altered."""
    path = manifest.folder / "images" / f"{split}.npy"
    _verify(path, manifest.splits[split].checksum)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def open_rows(manifest: Manifest, split: str) -> Rows:
    """The same for images that may not fit in memory: read when asked for. Raises ValueError if missing or altered."""
    path = manifest.folder / "images" / f"{split}.npy"
    _verify(path, manifest.splits[split].checksum)
    return Rows(path)


def read_names(manifest: Manifest, split: str) -> list[str]:
    """The files that a labelled split's images came from, if any: kept with the labels where they tell a class."""
    places = manifest.folder / "images" / f"{split}.csv", manifest.folder / "labels" / f"{split}-files.csv"
    path = next((path for path in places if path.exists()), None)
    if path is None:
        return []
    # file names needn't be UTF-8 on disk
    with path.open(newline="", errors="surrogateescape") as file:
        return [files.plain_cell(row["file"]) for row in csv.DictReader(file)]


def read_labels(manifest: Manifest, split: str) -> dict[str, Shaped[np.ndarray, "n"]]:
    """A split's label columns and its ``group``. Raises ValueError on a missing or altered file."""
    folder = manifest.folder / "labels"
    if not (folder / "manifest.json").exists():
        raise ValueError(f"no labels in {folder}: {_prepare(manifest.folder)}")
    about = records.read(folder / "manifest.json", LabelsManifest, _prepare(manifest.folder))
    if about.images.get(split) != manifest.splits[split].checksum:
        raise ValueError(f"{folder} labels other images than {manifest.folder}/images: run python -m src.prepare again")
    _verify(folder / f"{split}.csv", about.checksums[split])
    with (folder / f"{split}.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    whole = ("group", "class")
    return {name: np.array(column, dtype=np.int64 if name in whole else np.float64) for name, column in columns.items()}


def _prepare(folder: Path) -> str:
    name = folder.name
    if name == "folder":
        return "run python -m src.prepare data=folder data.name=<name> data.source.root=<folder>, and name it here too"
    there = sorted(path.parent.name for path in folder.parent.glob("*/images"))
    near = difflib.get_close_matches(name, there, n=1)
    meant = f"did you mean {near[0]}? Else " if near else ""
    own = f"data=folder data.name={name} data.source.root=<folder> where the images are yours"
    return f"{meant}run python -m src.prepare data={name}, or {own}"


def _verify(path: Path, expected: str) -> None:
    if not path.exists():
        raise ValueError(f"{path} is missing: run python -m src.prepare again")
    actual = files.checksum(path)
    if actual != expected:
        raise ValueError(
            f"{path} was altered (checksum {actual}, its manifest says {expected}): move {path.parent.parent} away and "
            "run python -m src.prepare again"
        )
