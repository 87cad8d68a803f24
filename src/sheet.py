"""sheet: what a recipe of views makes of a data set's own images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from src.runtime import app


def sheet(config: DictConfig) -> None:
    """Write report/views-<data>-<recipe>.png: some images, and their views at each strength."""
    from functools import partial

    import numpy as np
    import torch

    from src.data.pack import open_images, read_manifest
    from src.runtime import owned
    from src.runtime.build import build
    from src.runtime.figure_style import save, views_figure
    from src.runtime.rng import generator

    settings: Any = OmegaConf.to_container(config, resolve=True)
    recipe, views, local_views = settings["augmentation"], settings["views"], settings["local_views"]
    build("augmentation", recipe)  # what the next command would refuse
    made = {strength: build("augmentation", recipe | {"strength": strength}) for strength in settings["strengths"]}
    manifest = read_manifest(Path(settings["folders"]["data"]) / settings["data"]["name"])
    packed = open_images(manifest, "pretrain")
    spread = np.linspace(0, len(packed) - 1, min(settings["images"], len(packed))).astype(int)
    images = torch.from_numpy(packed[spread])

    def block(make: Any, count: int) -> np.ndarray:
        drawn = make(images, generator(settings["seed"], "sheet"), views=count)
        found: np.ndarray = drawn.unflatten(0, (count, -1)).transpose(0, 1).numpy()
        return found

    blocks = {f"strength {strength:g}": block(augmentation, views) for strength, augmentation in made.items()}
    if local_views:
        smaller = ((f"smaller, {strength:g}", augmentation.local) for strength, augmentation in made.items())
        blocks |= {title: block(make, local_views) for title, make in smaller}
    name = f"views-{manifest.name}-{recipe['name']}.png"
    figure = views_figure(images.float().div(255).numpy(), blocks)
    path = owned.add(Path(settings["folders"]["report"]), name, "sheet", partial(save, figure))
    print(f"written: {path}")
    chosen = " ".join(override for override in HydraConfig.get().overrides.task if override.startswith(("data", "aug")))
    print(f"next: python -m src.train {chosen}".rstrip())


if __name__ == "__main__":
    app.run(sheet, "sheet")
