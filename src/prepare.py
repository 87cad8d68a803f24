"""prepare: pack a data set's images and labels, split by source image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from src import app
from src.screen import make_console

DEFAULT_RECIPE = "digits"  # of src.train


def prepare(config: DictConfig) -> None:
    """Make images/, labels/ and budgets/ below data/<name> from conf/data/<name>.yaml."""
    from src.build import build
    from src.data.budgets import write_budgets
    from src.data.pack import read_labels, write_pack

    plain: Any = OmegaConf.to_container(config, resolve=True)
    data = plain["data"]
    splits = build({**data["source"], "_partial_": True})()
    folder = Path(plain["folders"]["data"]) / data["name"]
    manifest = write_pack(folder, data["name"], splits, data)
    write_budgets(folder / "budgets", read_labels(manifest, "probe"), **plain["budgets"])

    table = Table(title=f"{data['name']}: packed in {folder}", title_justify="left")
    for column in ("split", "images", "source images", "size"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for split, entry in manifest.splits.items():
        count, *shape = entry["shape"]
        table.add_row(split, f"{count:,}", f"{entry['groups']:,}", " x ".join(map(str, shape)))
    console = make_console()
    console.print(table)
    chosen = [override for override in HydraConfig.get().overrides.task if not override.startswith("data.source.")]
    if data["recipe"] != DEFAULT_RECIPE:
        recipe = [f"augmentation={data['recipe']}", f"augmentation@evaluation.reference={data['recipe']}"]
        chosen += [f"study={data['name']}", "sweep=random", *recipe]
    console.print(f"next: python -m src.train -m {' '.join(chosen)}".rstrip(), highlight=False)


if __name__ == "__main__":
    app.run(prepare, "prepare")
