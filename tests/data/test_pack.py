from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from src.data.pack import open_images, read_labels, read_manifest, write_pack
from src.data.source import Source
from src.runtime.build import build
from tests.project import ROOT, TINY, Project

SMALL: dict[str, Any] = {
    "sources": {"pretrain": 40, "probe": 20, "val": 20, "test": 20},
    "copies": {"pretrain": 3, "probe": 2, "val": 2, "test": 2},
}


def digits(**changes: Any) -> dict[str, Source]:
    config = yaml.safe_load((ROOT / "conf" / "data" / "digits.yaml").read_text())["source"]
    return dict(build("data", {**config, **SMALL, **changes}))


def test_no_source_digit_is_in_two_splits() -> None:
    splits = digits()
    groups = [set(source.group.tolist()) for source in splits.values()]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 100
    assert [len(source.images) for source in splits.values()] == [120, 40, 40, 40]


def test_digits_lie_where_their_factors_say() -> None:
    source = digits(noise=0.0)["pretrain"]
    pixels = source.images[:][:, 0].astype(float)
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
    assert np.array_equal(digits()["val"].images[:], digits()["val"].images[:])
    assert not np.array_equal(digits()["val"].images[:], digits(seed=1)["val"].images[:])


def test_pack_reads_back_what_was_written(tmp_path: Path) -> None:
    splits = digits()
    manifest = write_pack(tmp_path / "d", "d", splits, {"any": 1})
    for split, source in splits.items():
        assert np.array_equal(open_images(manifest, split), source.images[:])
    labels = read_labels(manifest, "val")
    assert np.array_equal(labels["class"], splits["val"].labels["class"])
    assert np.array_equal(labels["group"], splits["val"].group)
    assert np.allclose(labels["angle"], splits["val"].labels["angle"])
    pretrain = splits["pretrain"].images[:] / 255
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
    with pytest.raises(ValueError, match=r"manifest\.json is damaged .*run python -m src\.prepare"):
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


def test_labels_of_other_images_are_refused(tmp_path: Path) -> None:
    first, other = (
        write_pack(tmp_path / name, name, digits(seed=seed), {}) for seed, name in enumerate(("first", "other"))
    )
    shutil.rmtree(first.folder / "labels")
    shutil.copytree(other.folder / "labels", first.folder / "labels")
    with pytest.raises(ValueError, match=r"labels other images than .*first/images: run python -m src\.prepare again"):
        read_labels(first, "val")


def test_a_data_set_that_is_not_there_is_named_with_what_is(tmp_path: Path) -> None:
    write_pack(tmp_path / "photos", "photos", digits(), {})
    with pytest.raises(ValueError, match=r"did you mean photos\? Else run python -m src\.prepare data=photso"):
        read_manifest(tmp_path / "photso")
    with pytest.raises(
        ValueError, match=r"data=folder data\.name=<name> data\.source\.root=<folder>, and name it here"
    ):
        read_manifest(tmp_path / "folder")


def test_images_that_a_study_was_trained_on_are_not_replaced_by_others(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    before = project.files()
    message = project.refused("prepare", *TINY, "data.source.seed=1")
    assert (
        "data/digits holds other images than these, those of study tiny, study tiny-confirm: choose data.name="
        in message
    )
    assert project.files() == before
    project.ok("prepare", *TINY, "data.source.seed=1", "data.name=others")
    project.ok("prepare", *TINY)
    shutil.rmtree(project.folder / "data/digits")
    project.ok("prepare", *TINY, "data.source.seed=1")
