from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from src import check
from src.data.source import Source

NAMES = ("mnist", "fashion_mnist", "cifar10", "cifar100", "svhn", "stl10")


def public(*, dataset: str, root: str, download: bool, size: int, probe: int, val: int, seed: int) -> dict[str, Source]:
    """A public data set as torchvision reads it from ``root``, fetched there if ``download``; images ``size`` wide.

    test is the set's own test part. ``probe`` and ``val`` are so many random images of its training part; the rest of
    it is pretrain, except for STL-10, whose pretrain is the unlabelled part. Each image is its own group. Raises
    ValueError where ``root`` doesn't hold the set, or it has too few images.
    """
    check.choice("data.source.dataset", dataset, NAMES)
    check.flag("data.source.download", download)
    check.number("data.source.size", size, at_least=8, at_most=1024, whole=True)
    check.number("data.source.probe", probe, at_least=10, whole=True)
    check.number("data.source.val", val, at_least=10, whole=True)
    images, classes = _read(dataset, "train", root, download)
    if probe + val >= len(images) + (dataset == "stl10"):
        raise ValueError(
            f"data.source.probe + data.source.val must leave some of the {len(images)} training images of {dataset}, "
            f"got {probe} + {val}"
        )
    chosen = np.random.default_rng(seed).permutation(len(images))
    parts = {"probe": np.sort(chosen[:probe]), "val": np.sort(chosen[probe : probe + val])}
    labelled = {name: (images[index], classes[index]) for name, index in parts.items()}
    rest = np.sort(chosen[probe + val :])
    own = _read(dataset, "unlabeled", root, download) if dataset == "stl10" else (images[rest], classes[rest])
    whole = {"pretrain": own, **labelled, "test": _read(dataset, "test", root, download)}
    ends = np.cumsum([0, *(len(part) for part, _ in whole.values())])
    return {
        name: Source(_resized(part, size), np.arange(first, first + len(part)), {"class": known})
        for first, (name, (part, known)) in zip(ends.tolist(), whole.items(), strict=False)
    }


def _read(dataset: str, part: str, root: str, download: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 (n, channels, height, width), and classes (n,) of a part."""
    try:
        found: Any = _open(dataset, part, root, download)
    except (RuntimeError, OSError) as error:
        mend = "try again" if download else "data.source.download=true fetches it"
        raise ValueError(f"{Path(root)} doesn't hold {dataset} as torchvision keeps it ({error}): {mend}") from None
    images = np.asarray(found.data)
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[3] == 3:
        images = images.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images), np.asarray(found.targets if hasattr(found, "targets") else found.labels)


def _open(dataset: str, part: str, root: str, download: bool) -> Any:
    from torchvision import datasets

    if dataset == "svhn":
        return datasets.SVHN(root, split=part, download=download)
    if dataset == "stl10":
        return datasets.STL10(root, split=part, download=download)
    kinds = {
        "mnist": datasets.MNIST,
        "fashion_mnist": datasets.FashionMNIST,
        "cifar10": datasets.CIFAR10,
        "cifar100": datasets.CIFAR100,
    }
    return kinds[dataset](root, train=part == "train", download=download)


def _resized(images: np.ndarray, size: int) -> np.ndarray:
    """Square images at another size, by Lanczos' filter; the same where they have it."""
    if images.shape[2:] == (size, size):
        return images
    channels = images.shape[1]
    planes = (
        Image.fromarray(image.transpose(1, 2, 0).squeeze()).resize((size, size), Image.Resampling.LANCZOS)
        for image in images
    )
    found = np.empty((len(images), channels, size, size), dtype=np.uint8)
    for place, plane in enumerate(planes):
        found[place] = np.asarray(plane).reshape(size, size, channels).transpose(2, 0, 1)
    return found
