"""sheet: what a recipe of views makes of a data set's own images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from hydra.core.hydra_config import HydraConfig
from pydantic import Field

from src.data.settings import Data
from src.runtime import app
from src.runtime.records import Number, closed
from src.runtime.settings import Component, Natural, Place

if TYPE_CHECKING:
    from torch import Tensor


@closed
@dataclass(frozen=True)
class SheetFolders:
    data: Place
    report: Place


@closed
@dataclass(frozen=True)
class Settings:
    """What conf/sheet.yaml states."""

    images: Annotated[int, Field(ge=1, le=64)]
    views: Annotated[int, Field(ge=1, le=16)]  # of each image at each strength
    local_views: Annotated[int, Field(ge=0, le=16)]
    strengths: Annotated[list[Annotated[Number, Field(ge=0)]], Field(min_length=1)]
    seed: Natural
    folders: SheetFolders
    data: Data
    augmentation: Component


def sheet(settings: Settings) -> None:
    """Write report/views-<data>-<recipe>.png: some images, and their views at each strength."""
    from functools import partial

    import numpy as np
    import torch

    from src.augmentation.views import Augmentation
    from src.data.pack import open_images, read_manifest
    from src.runtime import owned
    from src.runtime.build import build
    from src.runtime.figure_style import save, views_figure
    from src.runtime.rng import generator

    # The recipe's own strength too, which is replaced below: src.train would refuse it only later.
    build("augmentation", settings.augmentation)
    made: dict[float, Augmentation] = {
        strength: build("augmentation", settings.augmentation | {"strength": strength})
        for strength in settings.strengths
    }
    manifest = read_manifest(Path(settings.folders.data) / settings.data.name)
    packed = open_images(manifest, "pretrain")
    # Evenly over the split, since copies of one source image lie side by side.
    spread = np.linspace(0, len(packed) - 1, min(settings.images, len(packed))).astype(int)
    images = torch.from_numpy(packed[spread])

    def block(views_of: Callable[..., Tensor], count: int) -> np.ndarray:
        # A fresh generator for each block: the same draws at every strength, so only the strength differs.
        drawn = views_of(images, generator(settings.seed, "sheet"), views=count)
        return np.asarray(drawn.unflatten(0, (count, -1)).transpose(0, 1))

    blocks = {f"strength {strength:g}": block(recipe, settings.views) for strength, recipe in made.items()}
    if settings.local_views:
        for strength, recipe in made.items():
            blocks[f"smaller, {strength:g}"] = block(recipe.local, settings.local_views)
    hydra = HydraConfig.get()
    name = f"views-{manifest.name}-{hydra.runtime.choices['augmentation']}.png"
    figure = views_figure(images.float().div(255).numpy(), blocks)
    path = owned.add(Path(settings.folders.report), name, "sheet", partial(save, figure))
    print(f"written: {path}")
    chosen = " ".join(override for override in hydra.overrides.task if override.startswith(("data", "aug")))
    print(f"next: python -m src.train {chosen}".rstrip())


if __name__ == "__main__":
    app.run(sheet, "sheet", Settings)
