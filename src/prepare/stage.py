"""What ``python -m src.prepare`` does."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.table import Table

from src.data.budgets import write_budgets
from src.data.pack import Manifest, PackedSplits, check_splits, read_labels, read_manifest, write_pack
from src.data.settings import Data
from src.data.source import SPLITS, DataSet
from src.prepare.datasheet import DatasheetFacts, write_datasheet
from src.prepare.inspection import inspect
from src.prepare.leaks import settle
from src.prepare.settings import Budgets, Settings
from src.prepare.staging import clear
from src.runtime import files, owned
from src.runtime.build import build
from src.runtime.console import make_console
from src.runtime.records import Config, extensible, read

PARTS = ("images", "labels", "budgets", "report")  # below data/<name>
SOURCES = ("root", "unlabelled", "labels", "groups")  # keys of a data source that name what it reads

FEW = 10  # images per class of a split, below which people are warned
FEWEST = 25  # images of probe that 20 neighbours, the default, need: cross-validation fits on four fifths


@extensible
@dataclass(frozen=True)
class TrainedOn:
    """The packed images that a study names."""

    folder: str
    splits: PackedSplits


@extensible
@dataclass(frozen=True)
class StudyOnImages:
    """What of a study.json concerns them; the rest, like all of study/, is downstream of here."""

    data: TrainedOn


def run(settings: Settings) -> None:
    """Make images/, labels/, budgets/ and report/ below data/<name> from conf/data/<name>.yaml."""
    data = settings.data
    folder = Path(settings.folders.data) / data.name
    target = owned.Target(folder, PARTS, "prepare", "choose data.name=<another name>")
    searched = ("root", "unlabelled") if "unlabelled" in data.source else ()  # a folder, at any depth
    for key in SOURCES:
        source = data.source.get(key)
        if isinstance(source, str) and Path(source).exists():
            owned.check_source(f"data.source.{key}", source, target, searched=key in searched)
    studies = _studies_of(folder, Path(settings.folders.runs))
    manifest, facts = _pack(data, target, settings.budgets, studies)
    train = GlobalHydra.instance().config_loader().load_configuration("train", [], RunMode.MULTIRUN)
    make_console().print(_table(manifest))
    for line in _remarks(facts, int(train.model.features)):
        print(line)
    print(f"written: {folder / 'report' / 'index.html'}")
    print(f"next: python -m src.train -m {' '.join(_next(data, manifest, train))}".rstrip())


def _table(manifest: Manifest) -> Table:
    table = Table(title=f"{manifest.name}: packed in {manifest.folder}", title_justify="left")
    for column in ("split", "images", "groups", "size"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for split in SPLITS:
        packed = manifest.splits[split]
        count, *shape = packed.shape
        table.add_row(split, f"{count:,}", f"{packed.groups:,}", " x ".join(map(str, shape)))
    return table


def _studies_of(folder: Path, runs: Path) -> list[str]:
    """The studies whose trials were trained on what is packed there."""
    studies = []
    for path in sorted(runs.glob("*/study.json")):
        with suppress(ValueError):  # what can't be read is no study of these images
            data = read(path, StudyOnImages, "").data
            if Path(data.folder) == folder and data.splits == read_manifest(folder).splits:
                studies.append(path.parent.name)
    return studies


def _pack(data: Data, target: owned.Target, budgets: Budgets, studies: list[str]) -> tuple[Manifest, DatasheetFacts]:
    """The packed data and what its report says; built beside what is there, which it replaces whole."""
    folder = target.parent
    with owned.replacing(target) as new:
        made = build("data", data.source)
        delivered = made if isinstance(made, DataSet) else DataSet(made)
        check_splits(delivered.splits)
        count = sum(len(source.images) for source in delivered.splits.values())
        make_console().print(f"looking for duplicates among {count:,} images", highlight=False)
        inspection = inspect(delivered.splits)
        splits, moved = settle(delivered.splits, inspection, data.leaks)
        manifest = write_pack(new, data.name, splits, cast(Config, files.plain(data)))
        if studies and manifest.splits != read_manifest(folder).splits:
            raise ValueError(
                f"{folder} holds other images than these, those of {', '.join(f'study {name}' for name in studies)}: "
                f"choose data.name=<another name>, or move {folder} away if nobody needs that any more"
            )
        labels = read_labels(manifest, "probe")
        write_budgets(new / "budgets", labels, per_class=budgets.per_class, draws=budgets.draws, seed=budgets.seed)
        kept = DataSet(splits, delivered.skipped)
        # images that changed their split are numbered anew
        inspection = inspect(splits) if moved else inspection
        facts = write_datasheet(new / "report", manifest, kept, inspection, moved)
    if "staging" in data.source:
        # not before: until the new folders are in place, a second run goes on from here
        clear(Path(str(data.source["staging"])))
    # the manifest at hand names the folder that it was built in
    return read_manifest(folder), facts


def _next(data: Data, manifest: Manifest, default: DictConfig) -> list[str]:
    """Overrides with which src.train takes these images: their recipe, and what fits their number."""
    hydra = HydraConfig.get()
    chosen = [name for name in hydra.overrides.task if name.startswith(("data=", "data.name="))]
    if data.recipe != default.hydra.runtime.choices.augmentation:
        recipe = [f"augmentation={data.recipe}", f"augmentation@evaluation.reference={data.recipe}"]
        chosen += [f"study={data.name}", "sweep=random", *recipe]
    count = manifest.splits.pretrain.count
    if count < default.evaluation.images:
        chosen.append(f"evaluation.images={count}")
    sizes = [int(size) for size in re.findall(r"\d+", str(default.hydra.sweeper.params.batch_size))]
    fitting = [size for size in sizes if size <= count]
    if fitting != sizes and default.batch_size in fitting:
        chosen.append(f"'batch_size=choice({','.join(map(str, fitting))})'")
    elif fitting != sizes:
        # none of the swept sizes fits: the largest power of two that does
        chosen.append(f"batch_size={2 ** int(math.log2(count))}")
    return chosen


def _remarks(facts: DatasheetFacts, features: int) -> list[str]:
    """What a person should know before training an encoder of that many features on these images."""
    lines = [f"left out: {reason} ({_images(count)})" for reason, count in facts.skipped.items()]
    lines += _remarks_on_classes(facts) if facts.classes else []
    enough = 2 * (features + 1)  # half of them are still more than features
    if facts.splits["pretrain"].images < enough:
        lines.append(f"fewer than {enough} images in pretrain: only src.confirm tells how certain a selection is")
    if facts.leaks.moved:
        lines.append(f"moved: {_images(facts.leaks.moved)}, so that no picture is in two splits")
    if facts.leaks.pictures:
        lines.append(f"leak: {facts.leaks.pictures:,} pictures are in several splits (data.leaks=move moves them)")
    if not facts.near_searched:
        lines.append("these images are so much alike that only identical ones were looked for")
    if facts.sizes is not None and facts.sizes.enlarged:
        lines.append(f"enlarged: {facts.sizes.enlarged:,} images are smaller than {facts.shape[1]} pixels")
    return lines


def _remarks_on_classes(facts: DatasheetFacts) -> list[str]:
    counts = {split: sum(one.of(split) for one in facts.classes) for split in facts.splits}
    everything = sum(split.images for split in facts.splits.values())
    lines = [f"classes: {len(facts.classes)}, of {sum(counts.values()):,} of the {everything:,} images"]
    few = [split for split in ("probe", "val", "test") if counts[split] < FEW * len(facts.classes)]
    if few:
        lines.append(f"few labels: fewer than {FEW} images per class in {', '.join(few)}; scores there are rough")
    for split in ("probe", "val", "test"):
        absent = [one.name for one in facts.classes if not one.of(split)]
        if absent:
            more = f" and {len(absent) - 5} more classes" if len(absent) > 5 else ""
            lines.append(f"{split} has no image of {', '.join(absent[:5])}{more}: label more of them")
    if counts["probe"] < FEWEST:
        lines.append("src.probe takes so few with: probe.knn.score.k=5 probe.cross_validated.score.knn.k=5")
    return lines


def _images(count: int) -> str:
    return f"{count:,} image{'s' if count != 1 else ''}"
