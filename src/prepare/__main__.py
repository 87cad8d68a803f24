"""prepare: pack a data set's images and labels, split by source image."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from src.runtime import app
from src.runtime.console import make_console

if TYPE_CHECKING:
    from src.data.pack import Manifest
    from src.runtime import owned

PARTS = ("images", "labels", "budgets", "report")  # below data/<name>
SOURCES = ("root", "unlabelled", "labels", "groups")  # keys of a data source that name what it reads

FEW = 10  # images per class of a split, below which people are warned
FEWEST = 25  # images of probe that its default of 20 neighbours takes, four fifths at a time


def prepare(config: DictConfig) -> None:
    """Make images/, labels/, budgets/ and report/ below data/<name> from conf/data/<name>.yaml."""
    from src.data.source import SPLITS
    from src.runtime import owned

    plain: Any = OmegaConf.to_container(config, resolve=True)
    data = plain["data"]
    folder = Path(plain["folders"]["data"]) / data["name"]
    target = owned.Target(folder, PARTS, "prepare", "choose data.name=<another name>")
    searched = ("root", "unlabelled") if "unlabelled" in data["source"] else ()  # a folder, at any depth
    for key in SOURCES:
        if isinstance(data["source"].get(key), str) and Path(data["source"][key]).exists():
            owned.check_source(f"data.source.{key}", data["source"][key], target, searched=key in searched)
    manifest, facts = _pack(data, target, plain["budgets"], _studies_of(folder, Path(plain["folders"]["runs"])))

    table = Table(title=f"{data['name']}: packed in {folder}", title_justify="left")
    for column in ("split", "images", "groups", "size"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for split, entry in ((split, manifest.splits[split]) for split in SPLITS):
        count, *shape = entry["shape"]
        table.add_row(split, f"{count:,}", f"{entry['groups']:,}", " x ".join(map(str, shape)))
    make_console().print(table)
    loader = GlobalHydra.instance().config_loader()
    train = loader.load_configuration("train", [], RunMode.MULTIRUN)
    for line in _remarks(facts, train):
        print(line)
    print(f"written: {folder / 'report' / 'index.html'}")
    print(f"next: python -m src.train -m {' '.join(_next(data, manifest, train))}".rstrip())


def _studies_of(folder: Path, runs: Path) -> list[str]:
    """The studies whose trials were trained on what is packed there."""
    from src.data.pack import read_manifest
    from src.runtime.records import StudyFile, read

    found = []
    for path in sorted(runs.glob("*/study.json")):
        with suppress(ValueError):  # what can't be read is no study of anything that is there
            data = read(path, StudyFile, "")["data"]
            if Path(data["folder"]) == folder and data["splits"] == read_manifest(folder).splits:
                found.append(path.parent.name)
    return found


def _pack(
    data: dict[str, Any], target: owned.Target, budgets: dict[str, Any], studies: list[str]
) -> tuple[Manifest, dict[str, Any]]:
    """The packed data and what its report says; built beside what is there, which it replaces whole."""
    from src.data.budgets import write_budgets
    from src.data.pack import check_splits, read_labels, read_manifest, write_pack
    from src.data.source import DataSet
    from src.prepare.datasheet import write_datasheet
    from src.prepare.inspection import inspect
    from src.prepare.leaks import settle
    from src.prepare.staging import clear
    from src.runtime import owned
    from src.runtime.build import build

    folder = target.parent
    with owned.replacing(target) as new:
        made = build("data", data["source"])
        delivered = made if isinstance(made, DataSet) else DataSet(made)
        check_splits(delivered.splits)
        count = sum(len(source.images) for source in delivered.splits.values())
        make_console().print(f"looking for duplicates among {count:,} images", highlight=False)
        found = inspect(delivered.splits)
        splits, moved = settle(delivered.splits, found, data["leaks"])
        manifest = write_pack(new, data["name"], splits, data)
        if studies and manifest.splits != read_manifest(folder).splits:
            raise ValueError(
                f"{folder} holds other images than these, those of {', '.join(f'study {name}' for name in studies)}: "
                f"choose data.name=<another name>, or move {folder} away if nobody needs that any more"
            )
        write_budgets(new / "budgets", read_labels(manifest, "probe"), **budgets)
        kept = DataSet(splits, delivered.skipped)
        facts = write_datasheet(new / "report", manifest, kept, inspect(splits) if moved else found, moved)
    if "staging" in data["source"]:
        clear(Path(data["source"]["staging"]))
    return read_manifest(folder), facts


def _next(data: dict[str, Any], manifest: Manifest, default: Any) -> list[str]:
    """Overrides with which src.train takes these images: their recipe, and what fits their number."""
    chosen = [name for name in HydraConfig.get().overrides.task if name.startswith(("data=", "data.name="))]
    if data["recipe"] != default.augmentation.name:
        recipe = [f"augmentation={data['recipe']}", f"augmentation@evaluation.reference={data['recipe']}"]
        chosen += [f"study={data['name']}", "sweep=random", *recipe]
    count = manifest.splits["pretrain"]["count"]
    if count < default.evaluation.images:
        chosen.append(f"evaluation.images={count}")
    sizes = [int(size) for size in re.findall(r"\d+", str(default.hydra.sweeper.params.batch_size))]
    fitting = [size for size in sizes if size <= count]
    if fitting != sizes:
        small = default.batch_size not in fitting
        chosen.append(
            f"batch_size={2 ** int(math.log2(count))}"
            if small
            else f"'batch_size=choice({','.join(map(str, fitting))})'"
        )
    return chosen


def _remarks(facts: dict[str, Any], train: Any) -> list[str]:
    """What a person should know before training on these images."""
    lines = [f"left out: {reason} ({_images(count)})" for reason, count in facts["skipped"].items()]
    if facts["classes"]:
        counts = {split: sum(entry[split] for entry in facts["classes"]) for split in facts["splits"]}
        everything = sum(split["images"] for split in facts["splits"].values())
        lines.append(f"classes: {len(facts['classes'])}, of {sum(counts.values()):,} of the {everything:,} images")
        few = [split for split in ("probe", "val", "test") if counts[split] < FEW * len(facts["classes"])]
        if few:
            lines.append(f"few labels: fewer than {FEW} images per class in {', '.join(few)}; scores there are rough")
        for split in ("probe", "val", "test"):
            absent = [entry["class"] for entry in facts["classes"] if not entry[split]]
            if absent:
                more = f" and {len(absent) - 5} more classes" if len(absent) > 5 else ""
                lines.append(f"{split} has no image of {', '.join(absent[:5])}{more}: label more of them")
        if counts["probe"] < FEWEST:
            lines.append("src.probe takes so few with: probe.knn.score.k=5 probe.cross_validated.score.knn.k=5")
    enough = 2 * (train.model.features + 1)  # half of them are still more than features
    if facts["splits"]["pretrain"]["images"] < enough:
        lines.append(f"fewer than {enough} images in pretrain: only src.confirm will tell how sure a selection is")
    leaks, sizes = facts["leaks"], facts["sizes"]
    if leaks["moved"]:
        lines.append(f"moved: {_images(leaks['moved'])}, so that no picture is in two splits")
    if leaks["pictures"]:
        lines.append(f"leak: {leaks['pictures']:,} pictures are in several splits (data.leaks=move moves them)")
    if not facts["near_searched"]:
        lines.append("these images are so much alike that only identical ones were looked for")
    if sizes and sizes["enlarged"]:
        lines.append(f"enlarged: {sizes['enlarged']:,} images are smaller than {facts['shape'][1]} pixels")
    return lines


def _images(count: int) -> str:
    return f"{count:,} image{'s' if count != 1 else ''}"


if __name__ == "__main__":
    app.run(prepare, "prepare")
