from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from src import check
from src.data.source import SPLITS, Source

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
MODES = {1: "L", 3: "RGB"}


def folder(*, root: str, size: int, channels: int, fractions: dict[str, float], seed: int) -> dict[str, Source]:
    """The images below ``root``, each cut to its central square and resized to ``size`` x ``size``.

    Images in ``root/<class>/...`` have that class as their label; images directly in ``root`` have none, and then no
    image may have one. Each image is its own group. Raises ValueError on an unreadable image or too few of them.
    """
    check.number("data.source.size", size, at_least=8, at_most=1024, whole=True)
    if channels not in MODES:
        raise ValueError(f"data.source.channels must be 1 or 3, got {channels!r}")
    for split in SPLITS:
        check.number(f"data.source.fractions.{split}", fractions[split], above=0, below=1)
    if abs(sum(fractions.values()) - 1) > 1e-6:
        raise ValueError(f"data.source.fractions must add up to 1, got {sum(fractions.values()):g}")
    if root is None or not Path(root).is_dir():
        raise ValueError(f"data.source.root must be a folder of images, got {root!r}")
    paths = sorted(path for path in Path(root).rglob("*") if path.suffix.lower() in SUFFIXES)
    if len(paths) < 10 * len(SPLITS):
        kinds = ", ".join(sorted(SUFFIXES))
        raise ValueError(f"{root} must hold at least {10 * len(SPLITS)} images ({kinds}), got {len(paths)}")
    names = [path.relative_to(root).parts[0] if path.parent != Path(root) else "" for path in paths]
    if "" in names and set(names) != {""}:
        raise ValueError(f"{root} must hold images either directly or in one folder per class, got both")
    classes = np.unique(names, return_inverse=True)[1]
    images = np.stack([_read(path, size, channels) for path in paths])
    order = np.random.default_rng(seed).permutation(len(paths))
    ends = np.cumsum([round(fractions[split] * len(paths)) for split in SPLITS[:-1]])
    parts = np.split(order, ends)
    empty = [split for split, part in zip(SPLITS, parts, strict=True) if not len(part)]
    if empty:
        raise ValueError(f"data.source.fractions.{empty[0]} of {len(paths)} images is none: raise it")
    return {
        split: Source(
            images[index],
            index,
            {"class": classes[index]} if set(names) != {""} else {},
            tuple(str(paths[place].relative_to(root)) for place in index),
        )
        for split, index in zip(SPLITS, parts, strict=True)
    }


def _read(path: Path, size: int, channels: int) -> np.ndarray:
    try:
        with Image.open(path) as image:
            if image.mode == "F" or image.mode.startswith("I"):
                raise ValueError("more than 8 bits a channel: save it with 8")
            upright = ImageOps.exif_transpose(image).convert(MODES[channels])
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path} can't be read as an image ({error}): mend it or take it out") from None
    square = ImageOps.fit(upright, (size, size), Image.Resampling.LANCZOS)
    return np.asarray(square).reshape(size, size, channels).transpose(2, 0, 1)
