from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from src.build import build
from src.data.folder import _read
from src.data.pack import open_images, read_labels, read_manifest, write_pack
from src.data.source import Source
from tests.project import ROOT

SMALL: dict[str, Any] = {
    "sources": {"pretrain": 40, "probe": 20, "val": 20, "test": 20},
    "copies": {"pretrain": 3, "probe": 2, "val": 2, "test": 2},
}


def digits(**changes: Any) -> dict[str, Source]:
    config = yaml.safe_load((ROOT / "conf" / "data" / "digits.yaml").read_text())["source"]
    return dict(build({**config, **SMALL, **changes, "_partial_": True})())


def test_no_source_digit_is_in_two_splits() -> None:
    splits = digits()
    groups = [set(source.group.tolist()) for source in splits.values()]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 100
    assert [len(source.images) for source in splits.values()] == [120, 40, 40, 40]


def test_digits_lie_where_their_factors_say() -> None:
    source = digits(noise=0.0)["pretrain"]
    pixels = source.images[:, 0].astype(float)
    rows, columns = np.mgrid[0:20, 0:20]
    mass = pixels.sum((1, 2))
    x = (pixels * columns).sum((1, 2)) / mass / 9.5 - 1
    y = (pixels * rows).sum((1, 2)) / mass / 9.5 - 1
    assert np.corrcoef(x, source.labels["x"])[0, 1] > 0.9
    assert np.corrcoef(y, source.labels["y"])[0, 1] > 0.9
    assert np.corrcoef(np.sqrt(mass), source.labels["width"] * np.sqrt(source.labels["contrast"]))[0, 1] > 0.7
    brightest = pixels.max((1, 2)) / 255
    assert (brightest <= source.labels["contrast"] + 0.01).all()
    for name, low, high in (("width", 0.417, 0.714), ("angle", -0.5, 0.5), ("contrast", 0.5, 1.0)):
        assert source.labels[name].min() >= low and source.labels[name].max() <= high


def test_the_same_seed_gives_the_same_images() -> None:
    assert np.array_equal(digits()["val"].images, digits()["val"].images)
    assert not np.array_equal(digits()["val"].images, digits(seed=1)["val"].images)


def test_pack_reads_back_what_was_written(tmp_path: Path) -> None:
    splits = digits()
    manifest = write_pack(tmp_path / "d", "d", splits, {"any": 1})
    for split, source in splits.items():
        assert np.array_equal(open_images(manifest, split), source.images)
    labels = read_labels(manifest, "val")
    assert np.array_equal(labels["class"], splits["val"].labels["class"])
    assert np.array_equal(labels["group"], splits["val"].group)
    assert np.allclose(labels["angle"], splits["val"].labels["angle"])
    pretrain = splits["pretrain"].images / 255
    assert manifest.mean == pytest.approx([pretrain.mean()]) and manifest.std == pytest.approx([pretrain.std()])
    assert not (tmp_path / "d" / "labels" / "pretrain.csv").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d"]


def test_altered_or_missing_files_are_refused(tmp_path: Path) -> None:
    manifest = write_pack(tmp_path / "d", "d", digits(), {})
    image = tmp_path / "d" / "images" / "val.npy"
    content = bytearray(image.read_bytes())
    content[-1] ^= 1
    image.write_bytes(content)
    with pytest.raises(ValueError, match=r"val\.npy was altered"):
        open_images(manifest, "val")
    image.unlink()
    with pytest.raises(ValueError, match=r"val\.npy is missing"):
        open_images(manifest, "val")
    with pytest.raises(ValueError, match=r"no packed data in .*none.*: run python -m src\.prepare"):
        read_manifest(tmp_path / "none")
    (tmp_path / "d" / "images" / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="is not a manifest of format 1"):
        read_manifest(tmp_path / "d")


def test_a_group_in_two_splits_is_refused(tmp_path: Path) -> None:
    splits = digits()
    splits["val"].group[0] = splits["probe"].group[0]
    with pytest.raises(ValueError, match="is in two splits, probe and val"):
        write_pack(tmp_path / "d", "d", splits, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 4}, r"data\.source\.size must be >= 8"),
        ({"noise": -1}, r"data\.source\.noise must be >= 0"),
        ({"contrast": [1.0, 0.5]}, "low <= high"),
        ({"sources": {"pretrain": 2000, "probe": 1, "val": 1, "test": 1}}, "at most 1797 digits, got 2003"),
        ({"copies": {"pretrain": 0, "probe": 1, "val": 1, "test": 1}}, r"copies\.pretrain must be >= 1"),
    ],
)
def test_bad_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        digits(**change)


def write_images(root: Path, *, classes: bool) -> None:
    draw = np.random.default_rng(0)
    for i in range(48):
        folder = root / f"class {i % 3}" if classes else root
        folder.mkdir(parents=True, exist_ok=True)
        mode, shape = (("L", (30, 40)), ("RGB", (50, 20, 3)), ("RGBA", (9, 9, 4)), ("RGB", (64, 64, 3)))[i % 4]
        suffix = (".png", ".jpg", ".PNG", ".webp")[i % 4]
        Image.fromarray(draw.integers(0, 256, shape, dtype=np.uint8), mode=mode).save(folder / f"é {i}{suffix}")


def folder_of(images: Path, **changes: Any) -> dict[str, Source]:
    config = yaml.safe_load((ROOT / "conf" / "data" / "folder.yaml").read_text())["source"]
    return dict(build({**config, "root": str(images), **changes, "_partial_": True})())


@pytest.mark.parametrize("classes", [True, False])
def test_a_folder_of_mixed_images(tmp_path: Path, classes: bool) -> None:
    write_images(tmp_path / "images", classes=classes)
    splits = folder_of(tmp_path / "images", size=16)
    assert {split: source.images.shape for split, source in splits.items()} == {
        "pretrain": (29, 3, 16, 16),
        "probe": (7, 3, 16, 16),
        "val": (5, 3, 16, 16),
        "test": (7, 3, 16, 16),
    }
    manifest = write_pack(tmp_path / "packed", "packed", splits, {})
    assert ("class" in read_labels(manifest, "val")) == classes
    assert (manifest.folder / "images/probe.csv").exists() != classes


def test_images_without_labels_are_named_for_whoever_labels_a_few(tmp_path: Path) -> None:
    write_images(tmp_path / "images", classes=False)
    manifest = write_pack(tmp_path / "packed", "packed", folder_of(tmp_path / "images", size=16), {})
    with (manifest.folder / "images/probe.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == list(range(7))
    for row, image in zip(rows, open_images(manifest, "probe"), strict=True):
        assert (_read(tmp_path / "images" / row["file"], 16, 3) == image).all()


def test_an_image_is_cut_to_its_central_square(tmp_path: Path) -> None:
    write_images(tmp_path, classes=False)
    wide = np.zeros((10, 30), dtype=np.uint8)
    wide[:, 10:20] = 200
    Image.fromarray(wide).save(tmp_path / "wide.png")
    source = folder_of(tmp_path, size=10, channels=1)
    everything = np.concatenate([part.images for part in source.values()])
    assert any((image == 200).all() for image in everything)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"root": None}, "must be a folder of images, got None"),
        ({"channels": 2}, "must be 1 or 3, got 2"),
        ({"size": 2}, r"data\.source\.size must be >= 8"),
        ({"fractions": {"pretrain": 0.5, "probe": 0.1, "val": 0.1, "test": 0.1}}, "must add up to 1, got 0.8"),
    ],
)
def test_bad_folder_settings_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        folder_of(tmp_path, **change)


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path, classes=False)
    fractions = {"pretrain": 0.7, "probe": 0.005, "val": 0.145, "test": 0.15}
    with pytest.raises(ValueError, match=r"^data\.source\.fractions\.probe of 48 images is none: raise it$"):
        folder_of(tmp_path, fractions=fractions)


def test_more_than_8_bits_a_channel_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path, classes=False)
    Image.fromarray(np.full((20, 20), 40000, dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep\.png can't be read as an image \(more than 8 bits a channel"):
        folder_of(tmp_path)


def test_labels_of_other_images_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "images", classes=True)
    first, other = (
        write_pack(tmp_path / name, name, folder_of(tmp_path / "images", seed=seed), {})
        for seed, name in enumerate(("first", "other"))
    )
    shutil.rmtree(first.folder / "labels")
    shutil.copytree(other.folder / "labels", first.folder / "labels")
    with pytest.raises(ValueError, match=r"labels other images than .*first/images: run python -m src\.prepare again"):
        read_labels(first, "val")


def test_broken_images_and_mixed_trees_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must hold at least 40 images"):
        folder_of(tmp_path)
    write_images(tmp_path, classes=True)
    (tmp_path / "class 0" / "broken.png").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"broken\.png can't be read as an image"):
        folder_of(tmp_path)
    (tmp_path / "class 0" / "broken.png").rename(tmp_path / "loose.png")
    with pytest.raises(ValueError, match="either directly or in one folder per class, got both"):
        folder_of(tmp_path)
