"""Public data sets: small files in each genuine on-disk format, written here byte by byte, read by torchvision."""

from __future__ import annotations

import hashlib
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray
from torchvision import datasets

from src.prepare.public import NAMES, public, stl10
from tests.project import Project

SETS = (*NAMES, "stl10")
TRAIN, TEST, UNLABELLED = 40, 12, 30
Bytes = NDArray[np.uint8]
SHAPES = {"mnist": (1, 28, 28), "fashion_mnist": (1, 28, 28), "svhn": (3, 32, 32), "stl10": (3, 96, 96)}


def drawn(dataset: str, count: int, seed: int) -> tuple[Bytes, NDArray[np.int64]]:
    """Images whose top left pixel is their number, so that order and pairing show."""
    draw = np.random.default_rng(seed)
    images = draw.integers(0, 256, (count, *SHAPES.get(dataset, (3, 32, 32))), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    return images, np.arange(count) % 10


def write_mnist(folder: Path, part: str, images: Bytes, classes: NDArray[np.int64]) -> None:
    """IDX files: a magic number, the sizes, then bytes, all big-endian."""
    folder.mkdir(parents=True, exist_ok=True)
    name = "train" if part == "train" else "t10k"
    head = struct.pack(">4I", 2051, len(images), 28, 28)
    (folder / f"{name}-images-idx3-ubyte").write_bytes(head + images.tobytes())
    (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, len(classes)) + bytes(classes.tolist()))


def write_cifar(folder: Path, name: str, key: str, images: Bytes, classes: NDArray[np.int64]) -> list[str]:
    """A pickled dictionary of rows: all red, then all green, then all blue values of an image."""
    folder.mkdir(parents=True, exist_ok=True)
    content = pickle.dumps({"data": images.reshape(len(images), -1), key: classes.tolist()}, protocol=2)
    (folder / name).write_bytes(content)
    return [name, hashlib.md5(content).hexdigest()]


def write_svhn(folder: Path, part: str, images: Bytes, classes: NDArray[np.int64]) -> list[str]:
    """A Matlab file: height, width, channels, images; the digit 0 is class 10."""
    path = folder / f"{part}_32x32.mat"
    scipy.io.savemat(path, {"X": images.transpose(2, 3, 1, 0), "y": np.where(classes == 0, 10, classes)[:, None]})
    return ["", path.name, hashlib.md5(path.read_bytes()).hexdigest()]


def write_stl(folder: Path, name: str, content: bytes) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return [name, hashlib.md5(content).hexdigest()]


def stl_bytes(images: Bytes) -> bytes:
    """Image by image, channel by channel, column by column."""
    return b"".join(plane.T.tobytes() for image in images for plane in image)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> tuple[str, Path]:
    """A small set in its own format. Where torchvision compares checksums, it is told those of these files."""
    dataset: str = request.param
    train, test = drawn(dataset, TRAIN, 0), drawn(dataset, TEST, 1)
    if dataset in ("mnist", "fashion_mnist"):
        folder = tmp_path / {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[dataset] / "raw"
        write_mnist(folder, "train", *train)
        write_mnist(folder, "test", *test)
    elif dataset.startswith("cifar"):
        kind = datasets.CIFAR10 if dataset == "cifar10" else datasets.CIFAR100
        key, folder = ("labels" if dataset == "cifar10" else "fine_labels"), tmp_path / kind.base_folder
        halves = (slice(TRAIN // 2), slice(TRAIN // 2, TRAIN))
        parts = [write_cifar(folder, f"part_{i}", key, train[0][h], train[1][h]) for i, h in enumerate(halves)]
        monkeypatch.setattr(kind, "train_list", parts)
        monkeypatch.setattr(kind, "test_list", [write_cifar(folder, "test", key, *test)])
        names = pickle.dumps({kind.meta["key"]: [str(i) for i in range(10)]}, protocol=2)
        (folder / "meta").write_bytes(names)
        monkeypatch.setattr(kind, "meta", kind.meta | {"filename": "meta", "md5": hashlib.md5(names).hexdigest()})
    elif dataset == "svhn":
        both = {"train": write_svhn(tmp_path, "train", *train), "test": write_svhn(tmp_path, "test", *test)}
        monkeypatch.setattr(datasets.SVHN, "split_list", both)
    else:
        folder = tmp_path / "stl10_binary"
        unlabelled = drawn(dataset, UNLABELLED, 2)[0]
        pairs = {"train": train, "test": test}
        found = {
            part: [
                write_stl(folder, f"{part}_X.bin", stl_bytes(images)),
                write_stl(folder, f"{part}_y.bin", bytes((classes + 1).tolist())),
            ]
            for part, (images, classes) in pairs.items()
        }
        found["train"].append(write_stl(folder, "unlabeled_X.bin", stl_bytes(unlabelled)))
        monkeypatch.setattr(datasets.STL10, "train_list", found["train"])
        monkeypatch.setattr(datasets.STL10, "test_list", found["test"])
    return dataset, tmp_path


def read(dataset: str, root: Path, **changes: Any) -> Any:
    size = SHAPES.get(dataset, (3, 32, 32))[1]
    given: dict[str, Any] = {"root": str(root), "download": False, "size": size, "probe": 12, "val": 10, "seed": 0}
    given |= changes
    return stl10(**given, staging=str(root / "staging")) if dataset == "stl10" else public(dataset=dataset, **given)


@pytest.mark.parametrize("written", SETS, indirect=True)
def test_every_image_and_class_arrives_where_it_belongs(written: tuple[str, Path]) -> None:
    dataset, root = written
    splits = read(dataset, root)
    train, test = drawn(dataset, TRAIN, 0), drawn(dataset, TEST, 1)
    assert np.array_equal(splits["test"].images, test[0])
    assert np.array_equal(splits["test"].labels["class"], test[1])
    own = {"probe", "val"} if dataset == "stl10" else {"probe", "val", "pretrain"}
    places = {name: splits[name].images[:, 0, 0, 0].astype(int) for name in own}
    assert len(places["probe"]) == 12 and len(places["val"]) == 10
    for name, index in places.items():
        assert np.array_equal(splits[name].images, train[0][index])
        assert np.array_equal(splits[name].labels["class"], train[1][index])
    together = np.concatenate(list(places.values()))
    assert len(np.unique(together)) == len(together) == (22 if dataset == "stl10" else TRAIN)
    if dataset == "stl10":
        assert np.array_equal(splits["pretrain"].images[:], drawn(dataset, UNLABELLED, 2)[0])
    groups = np.concatenate([split.group for split in splits.values()])
    assert len(np.unique(groups)) == len(groups) == sum(len(split.images) for split in splits.values())


@pytest.mark.parametrize("written", ["mnist", "cifar10", "stl10"], indirect=True)
def test_another_size_is_resized_to(written: tuple[str, Path]) -> None:
    dataset, root = written
    whole, small = (read(dataset, root, size=size)["test"].images for size in (SHAPES.get(dataset, (3, 32))[1], 16))
    assert small.shape == (TEST, whole.shape[1], 16, 16) and small.dtype == np.uint8
    assert np.abs(small.mean((1, 2, 3)) - whole.mean((1, 2, 3))).max() < 1.0  # of 255


@pytest.mark.parametrize("written", ["mnist"], indirect=True)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probe": 30, "val": 10}, r"must leave 1 or more of the 40 training images of mnist, got 30 \+ 10"),
        ({"download": "yes"}, r"data\.source\.download must be true or false"),
        ({"size": 4}, r"data\.source\.size must be >= 8"),
        ({"probe": 0}, r"data\.source\.probe must be >= 10"),
    ],
)
def test_bad_settings_are_refused(written: tuple[str, Path], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(*written, **changes)


@pytest.mark.parametrize("dataset", SETS)
def test_what_is_not_there_is_named_with_how_to_fetch_it(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"doesn't hold {dataset} as torchvision keeps it .*download=true fetches it"):
        read(dataset, tmp_path)


@pytest.mark.parametrize("written", ["cifar10"], indirect=True)
def test_an_altered_file_is_refused(written: tuple[str, Path]) -> None:
    path = written[1] / datasets.CIFAR10.base_folder / "test"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match="doesn't hold cifar10"):
        read(*written)


@pytest.mark.parametrize("written", ["stl10"], indirect=True)
def test_the_unlabelled_part_of_stl10_passes_in_pieces(
    written: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read(*written, size=32)["pretrain"].images[:]
    monkeypatch.setattr("src.prepare.public.CHUNK", 7)
    assert np.array_equal(read(*written, size=32)["pretrain"].images[:], whole)


@pytest.mark.parametrize("written", ["mnist"], indirect=True)
def test_prepare_packs_it_and_says_how_to_train_on_it(written: tuple[str, Path], project: Project) -> None:
    settings = [f"data.source.root={written[1]}", "data.source.probe=12", "data.source.val=10"]
    out = project.ok("prepare", "data=mnist", *settings)
    assert "next: python -m src.train -m data=mnist" in out
    assert project.json("data/mnist/images/manifest.json")["splits"]["pretrain"]["shape"] == [18, 1, 28, 28]
    assert "data.source.download=true fetches it" in project.refused("prepare", "data=svhn")
