from __future__ import annotations

import csv
import os
import signal
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from src.data.pack import open_images, read_labels, read_names, write_pack
from src.data.source import SPLITS, DataSet, Rows, numbered
from src.prepare.decode import decode
from src.prepare.folder import folder
from src.prepare.staging import BROKEN, CHUNK, stage
from src.runtime import files
from tests.composed import plain_of
from tests.project import Project

MODES = (("L", (30, 40)), ("RGB", (50, 20, 3)), ("RGBA", (9, 9, 4)), ("RGB", (64, 64, 3)))


def write_images(root: Path, *, classes: bool, count: int = 48) -> None:
    draw = np.random.default_rng(0)
    for i in range(count):
        inside = root / f"class {i % 3}" if classes else root
        inside.mkdir(parents=True, exist_ok=True)
        mode, shape = MODES[i % 4]
        suffix = (".png", ".jpg", ".PNG", ".webp")[i % 4]
        Image.fromarray(draw.integers(0, 256, shape, dtype=np.uint8), mode=mode).save(inside / f"é {i}{suffix}")


def folder_of(images: Path, **changes: Any) -> DataSet:
    settings = plain_of("data=folder", stage="prepare")["data"]["source"]
    del settings["_target_"]
    return folder(**settings | {"root": str(images), "staging": str(images.parent / "staging")} | changes)


def table(path: Path, rows: list[tuple[str, ...]]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return str(path)


def everything(data: DataSet) -> np.ndarray:
    return np.concatenate([data.splits[name].images[:] for name in SPLITS])


def names_of(data: DataSet, split: str) -> set[str]:
    return set(data.splits[split].names)


@pytest.mark.parametrize("classes", [True, False])
def test_a_folder_of_mixed_images(tmp_path: Path, classes: bool) -> None:
    write_images(tmp_path / "images", classes=classes)
    data = folder_of(tmp_path / "images", size=16)
    assert {split: source.images.shape for split, source in data.splits.items()} == {
        "pretrain": (29, 3, 16, 16),
        "probe": (7, 3, 16, 16),
        "val": (5, 3, 16, 16),
        "test": (7, 3, 16, 16),
    }
    manifest = write_pack(tmp_path / "packed", "packed", data.splits, {})
    assert ("class" in read_labels(manifest, "val")) == classes
    assert (manifest.folder / "images/probe.csv").exists() != classes
    for split, source in data.splits.items():
        assert np.array_equal(open_images(manifest, split), source.images[:])


def test_images_without_labels_are_named_for_whoever_labels_a_few(tmp_path: Path) -> None:
    write_images(tmp_path / "images", classes=False)
    manifest = write_pack(tmp_path / "packed", "packed", folder_of(tmp_path / "images", size=16).splits, {})
    with (manifest.folder / "images/probe.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == list(range(7))
    for row, image in zip(rows, open_images(manifest, "probe"), strict=True):
        assert (decode(tmp_path / "images" / row["file"], 16, 3, 16).pixels == image).all()


def test_names_that_tell_a_class_are_kept_with_the_labels(tmp_path: Path) -> None:
    write_images(tmp_path / "images", classes=True)
    data = folder_of(tmp_path / "images")
    manifest = write_pack(tmp_path / "pack", "x", data.splits, {})
    assert not list((tmp_path / "pack" / "images").glob("*.csv"))
    for split in ("probe", "val", "test"):
        names, numbers = read_names(manifest, split), read_labels(manifest, split)["class"]
        assert tuple(names) == data.splits[split].names
        assert [name.partition("/")[0] for name in names] == [f"class {number}" for number in numbers]


def test_odd_file_names_survive(tmp_path: Path) -> None:
    write_images(tmp_path / "images", classes=False)
    odd = [b"a\nnew line.png", b'"quoted", comma.png', b"not utf-8 \xff.png", "ünï 日本.png".encode()]
    for number, name in enumerate(odd):
        content = np.full((9, 9), number, np.uint8) + np.arange(9, dtype=np.uint8)
        Image.fromarray(content).save(os.fsdecode(os.fsencode(tmp_path / "images") + b"/" + name), "PNG")
    manifest = write_pack(tmp_path / "packed", "packed", folder_of(tmp_path / "images").splits, {})
    found = set()
    for split in SPLITS:
        with (manifest.folder / f"images/{split}.csv").open(newline="", errors="surrogateescape") as file:
            found |= {os.fsencode(row["file"]) for row in csv.DictReader(file)}
    assert set(odd) <= found and len(found) == 52


def test_hidden_files_and_other_kinds_are_not_looked_at(tmp_path: Path) -> None:
    write_images(tmp_path / "images", classes=False)
    for name in (".hidden.png", "._resource.jpg", "notes.txt"):
        (tmp_path / "images" / name).write_bytes(b"nothing")
    (tmp_path / "images" / ".cache").mkdir()
    (tmp_path / "images" / ".cache" / "broken.png").write_bytes(b"nothing")
    (tmp_path / "images" / "loop").symlink_to(tmp_path / "images")
    data = folder_of(tmp_path / "images")
    assert len(everything(data)) == 48 and list(data.skipped) == []


# labels and groups


def test_labels_from_a_csv_file(tmp_path: Path) -> None:
    write_images(tmp_path / "images", classes=True)
    names = sorted(path.relative_to(tmp_path / "images").as_posix() for path in (tmp_path / "images").rglob("*.*"))
    rows = [(name, str(10 - number % 3)) for number, name in enumerate(names)]
    labels = table(tmp_path / "labels.csv", [("file", "class"), *rows])
    data = folder_of(tmp_path / "images", labels=labels)
    class_of = dict(rows)
    for source in data.splits.values():
        assert source.class_names == ("8", "9", "10")
        for name, number in zip(source.names, source.labels["class"].tolist(), strict=True):
            assert source.class_names[number] == class_of[name]


def test_images_without_a_class_are_for_pretraining_alone(tmp_path: Path) -> None:
    write_images(tmp_path / "images", classes=False, count=90)
    names = sorted(path.name for path in (tmp_path / "images").iterdir())
    labelled = set(names[:50])
    rows = [(name, "even" if number % 2 else "odd") for number, name in enumerate(names[:50])]
    data = folder_of(tmp_path / "images", labels=table(tmp_path / "labels.csv", [("file", "class"), *rows]))
    assert set(names) - labelled < names_of(data, "pretrain")
    for split in SPLITS[1:]:
        assert names_of(data, split) <= labelled and (data.splits[split].labels["class"] >= 0).all()
    assert [len(data.splits[split].images) for split in SPLITS] == [70, 8, 5, 7]


def test_folders_may_mean_nothing(tmp_path: Path) -> None:
    write_images(tmp_path / "images", classes=True)
    assert folder_of(tmp_path / "images", labels="none").splits["val"].labels == {}


def test_a_folder_of_unlabelled_images_beside_the_labelled_ones(tmp_path: Path) -> None:
    write_images(tmp_path / "images", classes=True)
    write_images(tmp_path / "more", classes=False)
    (tmp_path / "more" / "deeper").mkdir()
    for path in list((tmp_path / "more").glob("*.jpg")):
        path.rename(tmp_path / "more" / "deeper" / path.name)
    fractions = {"pretrain": 0.0, "probe": 0.4, "val": 0.3, "test": 0.3}
    data = folder_of(tmp_path / "images", unlabelled=str(tmp_path / "more"), fractions=fractions)
    assert [len(data.splits[split].images) for split in SPLITS] == [48, 19, 14, 15]
    assert all("class" not in name for name in names_of(data, "pretrain"))


def test_the_same_name_in_both_folders_is_two_images(tmp_path: Path) -> None:
    write_images(tmp_path / "images", classes=False)
    write_images(tmp_path / "more", classes=False)
    (tmp_path / "more" / "é 0.png").write_bytes(b"broken")
    data = folder_of(tmp_path / "images", unlabelled=str(tmp_path / "more"))
    assert list(data.skipped) == [("é 0.png", "no image in it")] and len(everything(data)) == 95
    names = {path.name for path in (tmp_path / "images").iterdir()}
    groups = table(tmp_path / "groups.csv", [("file", "group"), *((name, "a") for name in names)])
    with pytest.raises(ValueError, match=r"can't tell images of one name apart: 'é 0\.png' is in both folders"):
        folder_of(tmp_path / "images", unlabelled=str(tmp_path / "more"), groups=groups)


def test_folders_that_are_links_are_followed_but_not_round(tmp_path: Path) -> None:
    write_images(tmp_path / "elsewhere", classes=True)
    (tmp_path / "images").mkdir()
    for path in (tmp_path / "elsewhere").iterdir():
        (tmp_path / "images" / path.name).symlink_to(path)
    (tmp_path / "elsewhere" / "class 0" / "back").symlink_to(tmp_path / "images" / "class 0")
    data = folder_of(tmp_path / "images", follow_links=True)
    assert data.splits["val"].class_names == ("class 0", "class 1", "class 2")
    assert len(everything(data)) == 48 and list(data.skipped) == []


def test_every_split_gets_its_share_of_every_class(tmp_path: Path) -> None:
    write_images(tmp_path / "images", classes=False, count=80)
    names = sorted(path.name for path in (tmp_path / "images").iterdir())
    classes = {name: "rare" if number < 20 else "common" for number, name in enumerate(names)}
    labels = table(tmp_path / "labels.csv", [("file", "class"), *classes.items()])
    for seed in range(5):
        data = folder_of(tmp_path / "images", labels=labels, seed=seed)
        for split, fraction in (("pretrain", 0.6), ("probe", 0.15), ("val", 0.1), ("test", 0.15)):
            rare = [classes[name] for name in data.splits[split].names].count("rare")
            assert abs(rare - 20 * fraction) <= 1


def test_no_group_crosses_splits(tmp_path: Path) -> None:
    write_images(tmp_path / "images", classes=True, count=240)
    names = sorted(path.relative_to(tmp_path / "images").as_posix() for path in (tmp_path / "images").rglob("*.*"))
    patient = {name: f"patient {number * 7 % 40}" for number, name in enumerate(names)}
    groups = table(tmp_path / "groups.csv", [("file", "group"), *patient.items()])
    data = folder_of(tmp_path / "images", groups=groups)
    of_split = [{patient[name] for name in names_of(data, split)} for split in SPLITS]
    assert sum(map(len, of_split)) == len(set.union(*of_split)) == 40
    for source, fraction in zip(data.splits.values(), (0.6, 0.15, 0.1, 0.15), strict=True):
        assert len(source.images) / 240 == pytest.approx(fraction, abs=0.05)
        assert len(np.unique(source.group)) == len({patient[name] for name in source.names})


@pytest.mark.parametrize(
    ("rows", "key", "message"),
    [
        (
            [("name", "class"), ("a", "b")],
            "labels",
            r"must have the columns file and class, separated by a comma, got name, class",
        ),
        ([("file", "class")], "labels", r"must have the columns file and class, separated by a comma, got no rows"),
        (
            [("file", "class"), ("nowhere.png", "b")],
            "labels",
            r": 1 of its files aren't images below the folder, the",
        ),
        ([("class", "file"), ("b", "é 0.png"), ("c",)], "labels", "names no file in row 2 below its header"),
        ([("file", "class"), ("é 0.png", "b"), ("é 0.png", "c")], "labels", r"names 'é 0\.png' twice"),
        (
            [("file;class",), ("a;b",)],
            "labels",
            r"must have the columns file and class, separated by a comma, got file;cl",
        ),
        ([("file", "group"), ("é 0.png", "b")], "groups", r"has no group for 47 images, the first 'é 1\.jpg'"),
        ([("file", "class"), ("é 0.png", "")], "labels", "gives no image a class: data.source.labels=none packs them"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, rows: list[tuple[str, ...]], key: str, message: str) -> None:
    write_images(tmp_path / "images", classes=False)
    with pytest.raises(ValueError, match=message):
        folder_of(tmp_path / "images", **{key: table(tmp_path / "table.csv", rows)})
    assert not (tmp_path / "staging").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"root": None}, "must be a folder of images, got None$"),
        ({"root": "nowhere"}, "must be a folder of images, got 'nowhere', which doesn't exist"),
        ({"root": __file__}, "must be a folder of images, got .*, which is a file"),
        ({"unlabelled": "nowhere"}, r"data\.source\.unlabelled must be a folder of images, got 'nowhere'"),
        (
            {"labels": "nowhere.csv"},
            r"data\.source\.labels must be folders, none or a CSV file that exists, got 'nowhere\.csv'",
        ),
        ({"root": 123}, r"data\.source\.root must be a path, got 123"),
        ({"labels": None}, r"data\.source\.labels must be a path, got None"),
        ({"groups": 3}, r"data\.source\.groups must be a path, got 3"),
        ({"fractions": 3}, r"data\.source\.fractions must have the keys pretrain, probe, val, test, got 3"),
        ({"unlabelled": 3}, r"data\.source\.unlabelled must be a path, got 3"),
        ({"root": "caf\udce9"}, r"data\.source\.root must be a path in UTF-8, got 'caf\\udce9': rename it"),
        ({"follow_links": "yes"}, r"data\.source\.follow_links must be true or false, got 'yes'"),
        ({"workers": 0}, r"data\.source\.workers must be >= 1, got 0"),
        ({"workers": 1.5}, r"data\.source\.workers must be a whole number >= 1, got 1\.5"),
        ({"seed": "x"}, r"data\.source\.seed must be a whole number >= 0, got 'x'"),
        ({"channels": 2}, "must be one of 1, 3, got 2"),
        ({"size": 2}, r"data\.source\.size must be >= 8"),
        ({"bits": 17}, r"data\.source\.bits must be >= 8 and <= 16, got 17"),
        ({"broken": "ignore"}, "must be one of skip, stop, got 'ignore'"),
        ({"fractions": {"pretrain": 0.5, "probe": 0.1, "val": 0.1, "test": 0.1}}, "must add up to 1, got 0.8"),
        (
            {"fractions": {"pretrain": 0.7, "probe": 0.005, "val": 0.145, "test": 0.15}},
            r"48 images .*, of 48 groups, leave none for probe: more of them need labels",
        ),
    ],
)
def test_bad_settings_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write_images(tmp_path / "images", classes=False)
    with pytest.raises(ValueError, match=message):
        folder_of(tmp_path / "images", **change)


def test_a_table_in_latin_1_is_read_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(tmp_path / "images", classes=False)
    rows = [f"é {i}{('.png', '.jpg', '.PNG', '.webp')[i % 4]},{'Vögel' if i % 2 else 'Käfer'}" for i in range(48)]
    (tmp_path / "latin.csv").write_bytes("\r\n".join(["file,class", *rows]).encode("latin-1"))
    data = folder_of(tmp_path / "images", labels=str(tmp_path / "latin.csv"))
    assert data.splits["val"].class_names == ("Käfer", "Vögel")
    assert capsys.readouterr().err.endswith("latin.csv isn't UTF-8: read as Latin-1\n")


def test_a_table_in_no_known_encoding_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "images", classes=False)
    (tmp_path / "mac.csv").write_bytes("file,class\né 0.png,a\n".encode("mac-roman"))
    with pytest.raises(ValueError, match=r"1 of its files aren't images below the folder.*: save the table as UTF-8"):
        folder_of(tmp_path / "images", labels=str(tmp_path / "mac.csv"))


def test_the_bytes_of_a_file_name_are_found_in_a_table_of_ours(tmp_path: Path) -> None:
    write_images(tmp_path / "images", classes=False)
    odd = os.fsdecode(os.fsencode(tmp_path / "images") + b"/caf\xe9 0.png")
    (tmp_path / "images" / "é 0.png").rename(odd)
    (tmp_path / "images" / "é 4.png").rename(tmp_path / "images" / "=1+1.png")  # a cell that no spreadsheet may run
    names = sorted(path.name for path in (tmp_path / "images").iterdir())
    table_of_names = files.to_csv(["file", "class"], [(name, "ab"[i % 2]) for i, name in enumerate(names)])
    assert b"caf\xe9 0.png" in table_of_names and b"'=1+1.png" in table_of_names
    (tmp_path / "labels.csv").write_bytes(table_of_names)
    data = folder_of(tmp_path / "images", labels=str(tmp_path / "labels.csv"))
    columns = [(s.names, s.labels["class"].tolist()) for s in data.splits.values()]
    labelled = {name: number for named, numbers in columns for name, number in zip(named, numbers, strict=True)}
    assert labelled == {name: i % 2 for i, name in enumerate(names)}


def test_classes_that_are_numbers_of_any_length_are_in_their_order() -> None:
    long = "9" * 40, "1" + "0" * 40, "7" * 5000  # more than int() takes
    values = [*reversed(long), "x", "10", "9", "009", "09", "0009", "0"]
    numbers, names = numbered(values)
    assert names == ("0", "0009", "009", "09", "9", "10", *long, "x")
    assert [names[number] for number in numbers] == values


def test_too_few_images_and_mixed_trees_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(ValueError, match=r"must hold at least 40 images \(\.png, .*\), got 0"):
        folder_of(tmp_path / "images")
    write_images(tmp_path / "images", classes=True)
    next((tmp_path / "images" / "class 0").iterdir()).rename(tmp_path / "images" / "loose.png")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ValueError, match=r"data\.source\.unlabelled=.*nothing must hold at least 1 image \(.*, got 0$"):
        folder_of(tmp_path / "images", labels="none", unlabelled=str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="either directly or in one folder per class, got both"):
        folder_of(tmp_path / "images")
    with pytest.raises(ValueError, match=r"holds 16 images of data\.source\.root, the first"):
        folder_of(tmp_path / "images", labels="none", unlabelled=str(tmp_path / "images" / "class 1"))


# single files


def saved(tmp_path: Path, image: Image.Image, name: str, **options: Any) -> Path:
    path = tmp_path / name
    image.save(path, **options)
    return path


def halves(mode: str, left: Any, right: Any) -> Image.Image:
    image = Image.new(mode, (16, 16), right)
    image.paste(left, (0, 0, 8, 16))
    return image


def colours(path: Path, channels: int = 3, bits: int = 16) -> list[list[int]]:
    """The packed colour of the left half and of the right one."""
    pixels = decode(path, 16, channels, bits).pixels
    return [pixels[:, 8, 3].tolist(), pixels[:, 8, 12].tolist()]


LOSSY = ("a.jpg", "a.avif")
RED, BLUE = [255, 0, 0], [0, 0, 255]


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif", "a.bmp", "a.gif", "a.jpg", "a.avif", "a.jp2"])
def test_every_format_is_read(tmp_path: Path, name: str) -> None:
    exact: dict[str, Any] = {"lossless": True} if name == "a.webp" else {"quality": 100} if name in LOSSY else {}
    found = colours(saved(tmp_path, halves("RGB", (255, 0, 0), (0, 0, 255)), name, **exact))
    assert np.abs(np.array(found) - [RED, BLUE]).max() <= (3 if name in LOSSY else 0)


def test_a_stereo_jpeg_is_its_first_picture(tmp_path: Path) -> None:
    left, right = halves("RGB", (255, 0, 0), (0, 0, 255)), Image.new("RGB", (16, 16), "green")
    path = saved(tmp_path, left, "stereo.jpg", format="MPO", save_all=True, append_images=[right], quality=100)
    with Image.open(path) as image:
        assert image.format == "MPO"
    assert np.abs(np.array(colours(path)) - [RED, BLUE]).max() <= 3


def test_every_kind_of_pixel_is_read(tmp_path: Path) -> None:
    gray = saved(tmp_path, halves("L", 10, 200), "gray.png")
    assert colours(gray) == [[10] * 3, [200] * 3] and colours(gray, channels=1) == [[10], [200]]
    two_tone = halves("1", 0, 1)
    assert colours(saved(tmp_path, two_tone, "bits.png")) == [[0] * 3, [255] * 3]
    palette = halves("RGB", (255, 0, 0), (0, 0, 255)).convert("P", palette=Image.Palette.ADAPTIVE)
    assert colours(saved(tmp_path, palette, "palette.png")) == [RED, BLUE]
    transparent = halves("RGBA", (255, 0, 0, 255), (0, 0, 255, 0))
    assert colours(saved(tmp_path, transparent, "rgba.png")) == [RED, [255] * 3]  # over white
    cmyk = halves("CMYK", (0, 255, 255, 0), (255, 255, 0, 0))
    assert colours(saved(tmp_path, cmyk, "cmyk.tif")) == [RED, BLUE]
    first = halves("P", 0, 1)
    first.putpalette([255, 0, 0, 0, 0, 255])
    second = Image.new("P", (16, 16), 1)
    second.putpalette([255, 0, 0, 0, 0, 255])
    moving = saved(tmp_path, first, "moving.gif", save_all=True, append_images=[second])
    assert colours(moving) == [RED, BLUE]


def test_sixteen_bits_are_scaled_by_what_they_use(tmp_path: Path) -> None:
    values = np.full((16, 16), 65535, np.uint16)
    values[:, :8] = 32768
    for name in ("deep.png", "deep.tif"):
        path = saved(tmp_path, Image.fromarray(values), name)
        assert colours(path, channels=1) == [[127], [255]]
    camera = saved(tmp_path, Image.fromarray(values // 16), "camera.tif")
    assert colours(camera, channels=1) == [[7], [15]] and colours(camera, channels=1, bits=12) == [[127], [255]]
    with pytest.raises(ValueError, match=r"values of 32768 to 65535, more than data\.source\.bits=12 allows"):
        decode(tmp_path / "deep.png", 16, 1, 12)
    with pytest.raises(ValueError, match="floating-point values"):
        decode(saved(tmp_path, Image.fromarray(values.astype(np.float32)), "real.tif"), 16, 1, 16)


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (1, 1)), (6, (0, 1)), (8, (1, 0))])
def test_images_are_turned_upright(tmp_path: Path, orientation: int, corner: tuple[int, int]) -> None:
    image = Image.new("L", (200, 100), 0)
    image.paste(255, (50, 0, 100, 50))  # the first quarter of the central square
    exif = Image.Exif()
    exif[0x112] = orientation
    for name in ("turned.jpg", "turned.png", "turned.tif", "turned.webp", "packed.tif"):
        how = {"compression": "tiff_lzw"} if name == "packed.tif" else {}
        found = decode(saved(tmp_path, image, name, exif=exif, **how), 16, 1, 16)
        quarters = found.pixels[0].reshape(2, 8, 2, 8).mean((1, 3))
        assert sorted(quarters.ravel())[-2] < 10 and quarters.max() > 240
        assert np.unravel_index(quarters.argmax(), (2, 2)) == corner
        assert (found.width, found.height) == ((200, 100) if orientation in (1, 3) else (100, 200))


def test_an_image_is_cut_to_its_central_square(tmp_path: Path) -> None:
    wide = np.zeros((10, 30), dtype=np.uint8)
    wide[:, 10:20] = 200
    assert (decode(saved(tmp_path, Image.fromarray(wide), "wide.png"), 10, 1, 16).pixels == 200).all()


def test_a_large_jpeg_is_decoded_smaller_without_showing_it(tmp_path: Path) -> None:
    x, y = np.meshgrid(np.linspace(0, 6, 1600), np.linspace(0, 4, 1200))
    large = Image.fromarray((127 + 120 * np.sin(x) * np.cos(y)).astype(np.uint8))
    found = decode(saved(tmp_path, large, "large.jpg", quality=95), 32, 1, 16)
    exact = decode(saved(tmp_path, large, "large.png"), 32, 1, 16)
    assert (found.width, found.height) == (1600, 1200)
    assert np.abs(found.pixels.astype(int) - exact.pixels).max() <= 3


def huge_png(path: Path) -> Path:
    """A few bytes that say they are 20,000 x 20,000 pixels."""
    head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def test_what_is_no_image_says_why(tmp_path: Path) -> None:
    whole = saved(tmp_path, Image.fromarray(np.arange(10_000, dtype=np.uint8).reshape(100, 100)), "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:600])
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").touch()
    for name, reason in (
        ("cut.jpg", "truncated"),
        ("phone.heic", r"\.heic isn't read: save it as PNG or JPEG"),
        ("text.png", "no image in it"),
        ("empty.png", "no image in it"),
        ("gone.png", "No such file"),
        (huge_png(tmp_path / "bomb.png").name, "a decompression bomb"),
    ):
        with pytest.raises(ValueError, match=reason):
            decode(tmp_path / name, 16, 3, 16)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp", ".gif", ".avif", ".jp2"])
def test_a_damaged_file_is_read_or_says_why(tmp_path: Path, suffix: str) -> None:
    draw = np.random.default_rng(0)
    image = Image.fromarray(draw.integers(0, 256, (40, 56, 3), dtype=np.uint8))
    whole = saved(tmp_path, image, f"whole{suffix}").read_bytes()
    path, damaged = tmp_path / f"damaged{suffix}", 0
    for _ in range(150):
        content = bytearray(whole)
        for place in draw.integers(0, [100, len(whole)], (4, 2)).ravel():
            content[place] = draw.integers(256)
        path.write_bytes(content[: draw.integers(len(content) // 2, 2 * len(content))])
        try:
            assert decode(path, 16, 3, 16).pixels.shape == (3, 16, 16)
        except ValueError as error:
            assert str(error) and "\n" not in str(error)
            damaged += 1
    assert damaged > 10


def test_broken_and_blank_images_are_listed_and_skipped_or_stop(tmp_path: Path) -> None:
    write_images(tmp_path / "images", classes=False)
    (tmp_path / "images" / "broken.png").write_bytes(b"not an image")
    (tmp_path / "images" / "another.jpg").write_bytes(b"")
    Image.new("RGB", (20, 20), (9, 9, 9)).save(tmp_path / "images" / "white.png")
    data = folder_of(tmp_path / "images")
    assert dict(data.skipped) == {
        "another.jpg": "no image in it",
        "broken.png": "no image in it",
        "white.png": "blank: its central square has one value",
    }
    assert len(everything(data)) == 48
    with pytest.raises(ValueError, match=r"2 images are broken, the first 'another\.jpg' \(no image in it\): fix them"):
        folder_of(tmp_path / "images", broken="stop")
    with pytest.raises(ValueError, match=r"1 images are blank, .*data\.source\.blank=skip leaves them out"):
        folder_of(tmp_path / "images", blank="stop")


# staging


def test_what_was_decoded_is_not_decoded_again_unless_something_changed(tmp_path: Path) -> None:
    write_images(tmp_path / "images", classes=False)
    before = everything(folder_of(tmp_path / "images"))
    pixels = tmp_path / "staging" / "pixels.npy"
    content = bytearray(pixels.read_bytes())
    content[-3072:] = bytes(3072)  # seen again, so it wasn't decoded again
    pixels.write_bytes(content)
    assert (everything(folder_of(tmp_path / "images", seed=3)).reshape(48, -1) == 0).all(1).sum() == 1
    (tmp_path / "images" / "é 0.png").touch()
    assert np.array_equal(everything(folder_of(tmp_path / "images")), before)
    assert everything(folder_of(tmp_path / "images", size=16)).shape[-1] == 16


def test_the_number_of_processes_changes_nothing(tmp_path: Path) -> None:
    write_images(tmp_path / "images", classes=False, count=200)
    (tmp_path / "images" / "broken.png").write_bytes(b"not an image")
    paths = sorted(str(path) for path in (tmp_path / "images").iterdir())
    one, three = (stage(tmp_path / f"{n}", paths, size=16, channels=3, bits=16, processes=n) for n in (1, 3))
    assert one.pixels.read_bytes() == three.pixels.read_bytes()
    assert (one.facts == three.facts).all() and one.problems == three.problems
    assert (one.facts["state"] == BROKEN).sum() == 1


def test_an_interrupted_or_killed_prepare_goes_on_where_it_was(project: Project) -> None:
    write_images(project.folder / "photos", classes=True, count=4 * CHUNK)
    arguments = ["data=folder", "data.name=photos", "data.source.root=photos", "data.source.size=9"]
    process = project.held(2, "prepare", *arguments, STEPS="work")
    process.send_signal(signal.SIGINT)
    project.go_on()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err, err
    assert "the same command goes on: python -m src.prepare data=folder data.name=photos" in err
    killed = project.run("prepare", *arguments, KILL_AT_WRITE="2", STEPS="work")
    assert killed.returncode == -signal.SIGKILL
    assert (project.folder / "data/.photos.staging/facts.npy").exists()
    assert not (project.folder / "data/photos/images").exists()
    out = project.ok("prepare", *arguments)
    assert "photos: packed in data/photos" in out
    assert not (project.folder / "data/.photos.staging").exists()
    packed = {path.name: path.read_bytes() for path in (project.folder / "data/photos/images").iterdir()}
    project.ok("prepare", *arguments)
    assert packed == {path.name: path.read_bytes() for path in (project.folder / "data/photos/images").iterdir()}


def test_a_killed_worker_is_one_line_and_loses_nothing(project: Project) -> None:
    write_images(project.folder / "photos", classes=True, count=10 * CHUNK)
    arguments = ["data=folder", "data.name=photos", "data.source.root=photos", "data.source.workers=2"]
    process = project.held(9, "prepare", *arguments, "data.source.size=9", STEPS="work")  # once a piece came back
    workers = workers_of(process.pid)
    assert len(workers) == 2
    os.kill(workers[-1], signal.SIGKILL)
    project.go_on()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "Traceback" not in err, err
    assert "error: a process that decodes images was killed" in err and "a smaller data.source.workers, of 2" in err
    assert "photos: packed in data/photos" in project.ok("prepare", *arguments, "data.source.size=9")


def workers_of(parent: int) -> list[int]:
    found = []
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        with suppress(FileNotFoundError):  # it has just ended
            found += [int(child)] if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes() else []
    return found


def test_rows_of_a_file_are_what_numpy_reads(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 4), dtype=np.uint8)
    np.save(tmp_path / "a.npy", array)
    rows = Rows(tmp_path / "a.npy", np.array([4, 5, 6, 40, 2, 3, 3, 49]))
    assert rows.shape == (8, 3, 4, 4) and len(rows) == 8 and rows.nbytes == 8 * 48
    for key in (slice(None), slice(2, 5), slice(0, 0), np.array([7, 0, 1]), np.zeros(0, int)):
        assert np.array_equal(rows[key], array[rows.index[key]])
    assert np.array_equal(rows.take(np.array([3, 1]))[:], array[[40, 5]])
    with (tmp_path / "a.npy").open("rb+") as file:
        file.truncate(1000)
    with pytest.raises(OSError, match="ends before its last image"):
        rows[:]
