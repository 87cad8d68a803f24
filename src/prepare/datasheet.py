"""What prepare learned of a data set, as numbers, tables, a contact sheet and a page for people."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from src.data.pack import Manifest
from src.data.source import SPLITS, DataSet, Source
from src.prepare.inspection import Inspection
from src.runtime import files
from src.runtime.templates import environment

COLUMNS, TILE = 16, 64  # of the contact sheet: images in a row, pixels of one
ROWS = {"pretrain": 4, "probe": 2, "val": 2, "test": 2}
TITLE = 26  # pixels above each split
SHOWN_PAIRS = 12


@dataclass(frozen=True)
class SplitFacts:
    """Numbers of images, but for ``groups``, which are source images."""

    images: int
    groups: int
    blank: int
    identical: int  # beyond the first of their kind
    near: int  # likewise, identical ones among them


@dataclass(frozen=True)
class ClassCount:
    """A class's images in each split."""

    name: str
    pretrain: int
    probe: int
    val: int
    test: int

    def of(self, split: str) -> int:
        count: int = getattr(self, split)
        return count


@dataclass(frozen=True)
class Sizes:
    """Of the image files, in pixels: smallest, median, largest."""

    width: list[int]
    height: list[int]
    enlarged: int  # images that are smaller than the packed size


@dataclass(frozen=True)
class Leaks:
    pictures: int  # that are in several splits
    images: int  # of these
    moved: int  # images that changed their split because of duplicates


@dataclass(frozen=True)
class DatasheetFacts:
    """What prepare learned of a data set."""

    name: str
    mean: list[float]
    std: list[float]
    shape: list[int]
    splits: dict[str, SplitFacts]
    classes: list[ClassCount]  # empty without labels
    sizes: Sizes | None  # where the images came from files
    skipped: dict[str, int]  # reason -> files that were left out
    near_searched: bool
    leaks: Leaks


def write_datasheet(
    folder: Path, manifest: Manifest, data: DataSet, inspection: Inspection, moved: int
) -> DatasheetFacts:
    """Write index.html, its pictures, duplicates.csv, skipped.csv and report.json, whose content is returned.

    ``moved`` is how many images changed their split because of duplicates; the rest is as packed.
    """
    leaks = inspection.across(inspection.near)
    facts = DatasheetFacts(
        name=manifest.name,
        mean=list(manifest.mean),
        std=list(manifest.std),
        shape=list(manifest.shape),
        splits={name: _split_facts(number, data.splits[name], inspection) for number, name in enumerate(SPLITS)},
        classes=_class_balance(data.splits),
        sizes=_sizes(data.splits, manifest.shape[1]),
        skipped=dict(Counter(reason for _, reason in data.skipped).most_common()),
        near_searched=inspection.near_searched,
        leaks=Leaks(len(leaks), int(np.isin(inspection.near, leaks).sum()), moved),
    )
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / "report.json", _as_kept(facts))
    head = ["cluster", "kind", "across_splits", "split", "index", "file"]
    files.write_atomically(folder / "duplicates.csv", files.to_csv(head, _duplicates(data.splits, inspection)))
    files.write_atomically(folder / "skipped.csv", files.to_csv(["file", "reason"], data.skipped))
    _write_png(folder / "sheet.png", _contact_sheet(data.splits))
    if len(leaks):
        _write_png(folder / "leaks.png", _leak_sheet(data.splits, inspection, leaks))
    template = environment(Path(__file__).parent, html=True).get_template("datasheet.html.j2")
    files.write_atomically(folder / "index.html", template.render(f=facts, leaks=len(leaks) > 0).encode())
    return facts


def _as_kept(facts: DatasheetFacts) -> dict[str, object]:
    """In the file a class is called ``class``, which no attribute can be."""
    classes = [{"class": one.name} | {split: one.of(split) for split in SPLITS} for one in facts.classes]
    return {field.name: getattr(facts, field.name) for field in fields(facts)} | {"classes": classes}


def _split_facts(number: int, source: Source, inspection: Inspection) -> SplitFacts:
    mine = inspection.split == number
    return SplitFacts(
        images=len(source.images),
        groups=len(np.unique(source.group)),
        blank=int(inspection.blank[mine].sum()),
        identical=_repeats(inspection.exact[mine]),
        near=_repeats(inspection.near[mine]),
    )


def _repeats(clusters: np.ndarray) -> int:
    """Images beyond the first of their cluster."""
    member = clusters[clusters >= 0]
    return len(member) - len(np.unique(member))


def _class_balance(splits: dict[str, Source]) -> list[ClassCount]:
    if "class" not in splits["probe"].labels:
        return []
    names = splits["probe"].class_names
    columns = {name: source.labels.get("class", np.array([], int)) for name, source in splits.items()}
    present = np.unique(np.concatenate(list(columns.values())))
    numbers = present[present >= 0].tolist()  # -1: without a class
    counts = []
    for number in numbers:
        images = {name: int((column == number).sum()) for name, column in columns.items()}
        counts.append(ClassCount(names[number] if names else str(number), **images))
    return counts


def _sizes(splits: dict[str, Source], size: int) -> Sizes | None:
    if splits["pretrain"].sizes is None:
        return None
    sizes = np.concatenate([source.sizes for source in splits.values() if source.sizes is not None])
    # nearest: a side that some file has, none in between
    sides = np.quantile(sizes, (0, 0.5, 1), axis=0, method="nearest").astype(int)
    width, height = sides.T.tolist()
    return Sizes(width, height, enlarged=int((sizes.min(1) < size).sum()))


def _duplicates(splits: dict[str, Source], inspection: Inspection) -> Iterator[list[str | int]]:
    """A line for each image that has a duplicate, cluster by cluster, those across splits first."""
    starts = np.cumsum([0, *(len(splits[name].images) for name in SPLITS)])
    places = np.flatnonzero(inspection.near >= 0)
    leaking = np.isin(inspection.near[places], inspection.across(inspection.near))
    # lexsort's last key counts most: leaking clusters, then cluster by cluster
    order = np.lexsort((places, inspection.near[places], ~leaking))
    for place, leaks in zip(places[order].tolist(), leaking[order].tolist(), strict=True):
        split = SPLITS[inspection.split[place]]
        index = place - int(starts[inspection.split[place]])
        names = splits[split].names
        kind = "identical" if inspection.exact[place] >= 0 else "near"
        across = "yes" if leaks else "no"
        yield [int(inspection.near[place]), kind, across, split, index, names[index] if names else ""]


def _contact_sheet(splits: dict[str, Source]) -> Image.Image:
    """Images spread evenly over each split, below its name."""
    blocks = []
    for name in SPLITS:
        images = splits[name].images
        places = np.linspace(0, len(images) - 1, min(len(images), ROWS[name] * COLUMNS)).round().astype(int)
        title = Image.new("RGB", (COLUMNS * TILE, TITLE), "white")
        text = f"{name}: {len(places)} of {len(images):,} images"
        ImageDraw.Draw(title).text((2, TITLE - 4), text, "black", ImageFont.load_default(16), anchor="ls")
        blocks += [np.asarray(title), _grid(images[places])]
    return Image.fromarray(np.concatenate(blocks))


def _leak_sheet(splits: dict[str, Source], inspection: Inspection, leaks: np.ndarray) -> Image.Image:
    """The first pictures that are in several splits, one in a row."""
    starts = np.cumsum([0, *(len(splits[name].images) for name in SPLITS)])
    rows = []
    for cluster in leaks[:SHOWN_PAIRS]:
        places = np.flatnonzero(inspection.near == cluster)[:COLUMNS]
        pictures = []
        for place in places:
            split = inspection.split[place]
            pictures.append(splits[SPLITS[split]].images[np.array([place - starts[split]])])
        rows.append(_grid(np.concatenate(pictures)))
    return Image.fromarray(np.concatenate(rows))


def _grid(images: np.ndarray) -> np.ndarray:
    """Rows of COLUMNS tiles, uint8 (height, width, 3), white where there is no image."""
    rows = -(-len(images) // COLUMNS)
    sheet = np.full((rows * TILE, COLUMNS * TILE, 3), 255, dtype=np.uint8)
    for place, image in enumerate(images):
        tile = Image.fromarray(np.broadcast_to(image.transpose(1, 2, 0), (*image.shape[1:], 3)).copy())
        top, left = place // COLUMNS * TILE, place % COLUMNS * TILE
        shown = tile.resize((TILE - 2, TILE - 2), Image.Resampling.NEAREST)
        sheet[top : top + TILE - 2, left : left + TILE - 2] = np.asarray(shown)
    return sheet


def _write_png(path: Path, image: Image.Image) -> None:
    content = io.BytesIO()
    image.save(content, "PNG")
    files.write_atomically(path, content.getvalue())
