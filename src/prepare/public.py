from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from src.data.source import Rows, Source
from src.prepare.staging import claim
from src.runtime import check

NAMES = ("mnist", "fashion_mnist", "cifar10", "cifar100", "svhn")
CHUNK = 2048  # images in memory at a time

Part = tuple[np.ndarray, np.ndarray]  # uint8 (n, channels, height, width), classes (n,)


def public(*, dataset: str, root: str, download: bool, size: int, probe: int, val: int, seed: int) -> dict[str, Source]:
    """A public data set as torchvision reads it from ``root``, fetched there if ``download``; images ``size`` wide.

    test is the set's own test part. ``probe`` and ``val`` are so many random images of its training part; the rest of
    it is pretrain. Each image is its own group. Raises ValueError where ``root`` doesn't hold the set, or it has too
    few images.
    """
    check.choice("data.source.dataset", dataset, NAMES)
    _check(download, size)
    train = _read(dataset, "train", root, download)
    parts = _cut(train, dataset, probe=probe, val=val, seed=seed, rest=1)
    return _sources(parts | {"test": _read(dataset, "test", root, download)}, size)


def stl10(*, root: str, download: bool, size: int, probe: int, val: int, seed: int, staging: str) -> dict[str, Source]:
    """STL-10 in the same way, except that pretrain is its unlabelled part, which is too large to be held in memory.

    It passes through a file in ``staging``.
    """
    _check(download, size)
    parts = _cut(_read("stl10", "train", root, download), "stl10", probe=probe, val=val, seed=seed, rest=0)
    parts["test"] = _read("stl10", "test", root, download)
    unlabelled = _stage(Path(root) / "stl10_binary" / "unlabeled_X.bin", size, Path(staging))
    labelled = _sources({name: parts[name] for name in ("probe", "val", "test")}, size, first=len(unlabelled))
    return {"pretrain": Source(unlabelled, np.arange(len(unlabelled)), {}), **labelled}


def _check(download: bool, size: int) -> None:
    check.flag("data.source.download", download)
    check.number("data.source.size", size, at_least=8, at_most=1024, whole=True)


def _cut(train: Part, dataset: str, *, probe: int, val: int, seed: int, rest: int) -> dict[str, Part]:
    """pretrain, probe and val of a training part; pretrain gets at least ``rest`` images."""
    check.number("data.source.probe", probe, at_least=10, whole=True)
    check.number("data.source.val", val, at_least=10, whole=True)
    images, classes = train
    if probe + val + rest > len(images):
        raise ValueError(
            f"data.source.probe + data.source.val must leave {rest} or more of the {len(images)} training images of "
            f"{dataset}, got {probe} + {val}"
        )
    chosen = np.random.default_rng(seed).permutation(len(images))
    cut = {"pretrain": chosen[probe + val :], "probe": chosen[:probe], "val": chosen[probe : probe + val]}
    return {name: (images[np.sort(index)], classes[np.sort(index)]) for name, index in cut.items()}


def _sources(parts: dict[str, Part], size: int, first: int = 0) -> dict[str, Source]:
    """Each image its own group, numbered from ``first``."""
    ends = first + np.cumsum([0, *(len(images) for images, _ in parts.values())])
    # ends has one entry more than there are parts
    return {
        name: Source(_resized(images, size), np.arange(start, start + len(images)), {"class": classes})
        for start, (name, (images, classes)) in zip(ends.tolist(), parts.items(), strict=False)
    }


def _stage(path: Path, size: int, folder: Path) -> Rows:
    """STL-10's file of images, column by column, as rows of a .npy file of another size."""
    shape = (3, 96, 96)
    length = math.prod(shape)
    count = path.stat().st_size // length
    claim(folder)
    with (folder / "pixels.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, 3, size, size)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, count, CHUNK):
            read = np.fromfile(path, np.uint8, CHUNK * length, offset=start * length).reshape(-1, *shape)
            file.write(np.ascontiguousarray(_resized(read.swapaxes(2, 3), size)).data)
    return Rows(folder / "pixels.npy")


def _read(dataset: str, part: str, root: str, download: bool) -> Part:
    try:
        opened = _open(dataset, part, root, download)
    except (RuntimeError, OSError) as error:
        cure = "try again" if download else "data.source.download=true fetches it"
        raise ValueError(f"{Path(root)} doesn't hold {dataset} as torchvision keeps it ({error}): {cure}") from None
    # MNIST's are (n, h, w), CIFAR's (n, h, w, 3), SVHN's and STL-10's (n, 3, h, w)
    images = np.asarray(opened.data)
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[3] == 3:
        images = images.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images), np.asarray(opened.targets if hasattr(opened, "targets") else opened.labels)


def _open(dataset: str, part: str, root: str, download: bool) -> Any:  # torchvision states no types
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
    resized = np.empty((len(images), channels, size, size), dtype=np.uint8)
    for place, plane in enumerate(planes):
        resized[place] = np.asarray(plane).reshape(size, size, channels).transpose(2, 0, 1)
    return resized
