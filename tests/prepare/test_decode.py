"""Image files that somebody else made: what they may not do to whoever packs them."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, JpegImagePlugin

from src.prepare import staging
from src.prepare.decode import BLOCK, decode
from src.prepare.staging import BROKEN, GOOD, stage
from tests.prepare.test_folder import colours, everything, folder_of, halves, saved, write_images
from tests.project import Project, clean_environment

PHOTOS = ["data=folder", "data.name=photos", "data.source.root=photos"]
LINK = "a link that leads outside the folder (data.source.follow_links=true follows it)"


# formats


def fake_interpreter(folder: Path) -> Path:
    """A program named gs that leaves a file behind."""
    folder.mkdir()
    (folder / "gs").write_text(f"#!/bin/sh\ntouch '{folder / 'was run'}'\nexit 1\n")
    (folder / "gs").chmod(0o755)
    return folder / "was run"


def test_no_interpreter_is_started(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(project.folder / "photos", classes=False)
    trap = project.folder / "photos" / "x.png"
    halves("RGB", (255, 0, 0), (0, 0, 255)).save(trap, "EPS")
    ran = fake_interpreter(tmp_path / "bin")
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    assert "left out: no image in it (1 image)" in project.ok("prepare", *PHOTOS, PATH=path)
    assert not ran.exists()
    monkeypatch.setenv("PATH", path)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # where Pillow keeps whether there is one
    with Image.open(trap) as image, pytest.raises((OSError, subprocess.CalledProcessError)):
        image.load()
    assert ran.exists()  # the trap works


@pytest.mark.parametrize("kind", ["PPM", "TGA", "ICO", "PCX", "SGI", "DIB", "DDS", "EPS"])
def test_other_formats_are_no_images_whatever_they_are_called(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path, halves("RGB", (255, 0, 0), (0, 0, 255)), "x.png", format=kind)
    with pytest.raises(ValueError, match="no image in it"):
        decode(path, 16, 3, 16)


def test_a_name_says_nothing_of_the_format(tmp_path: Path) -> None:
    path = saved(tmp_path, halves("RGB", (255, 0, 0), (0, 0, 255)), "x.png", format="TIFF")
    assert colours(path) == [[255, 0, 0], [0, 0, 255]]


# memory


def stripes(height: int, width: int) -> np.ndarray:
    """Values of 16 bits, all of which appear."""
    return (np.arange(height)[:, None] * 211 + np.arange(width) * 97).astype(np.uint16)


@pytest.mark.parametrize("name", ["deep.png", "deep.tif", "motorola.tif", "signed.tif"])
def test_sixteen_bits_are_reduced_in_blocks_as_at_once(tmp_path: Path, name: str) -> None:
    values = stripes(1501, 733)
    assert values.size > 4 * BLOCK and values.min() == 0 and values.max() == 65535
    mode = {"m": ("I;16B", ">u2"), "s": ("I", "i4"), "d": ("I;16", "<u2")}[name[0]]
    image = Image.frombytes(mode[0], (733, 1501), values.astype(mode[1]).tobytes())
    expected = Image.fromarray((values.astype(np.int64) * 255 // 65535).astype(np.uint8))
    exact = decode(saved(tmp_path, expected, "eight.png"), 64, 1, 16).pixels
    assert np.array_equal(decode(saved(tmp_path, image, name), 64, 1, 16).pixels, exact)
    with pytest.raises(ValueError, match=r"values of 0 to 65535, more than data\.source\.bits=12 allows"):
        decode(tmp_path / name, 64, 1, 12)


def memory_of(path: Path) -> int:
    """Bytes that decoding takes in a process of its own; tracemalloc doesn't see Pillow's."""
    code = (
        "import sys; from src.prepare.decode import decode\n"
        "def most(): return int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
        "decode(sys.argv[1], 32, 3, 16); before = most(); decode(sys.argv[2], 32, 3, 16); print(most() - before)"
    )  # getrusage would tell the largest of this process and of the one that began it
    small = path.with_name("small" + path.suffix)
    Image.fromarray(stripes(9, 9)).save(small)
    command = [sys.executable, "-c", code, str(small), str(path)]
    return 1024 * int(subprocess.run(command, env=clean_environment(), capture_output=True, check=True).stdout)


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_sixteen_bits_take_little_more_memory_than_pillow_needs(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, Image.fromarray(stripes(4000, 6000)), name)
    assert memory_of(path) < 5.5 * 24e6  # bytes a pixel; Pillow alone takes 2 for PNG, 4 for the whole of a TIFF


def test_an_image_that_needs_too_much_is_broken_and_the_worker_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = saved(tmp_path, Image.new("RGB", (6000, 5000), "red"), "large.png")  # 120 MB in memory
    small = saved(tmp_path, halves("RGB", (255, 0, 0), (0, 0, 255)), "small.png")
    paths = [str(path) for path in [small, large, *[small] * 10, large, *[small] * 20]]
    monkeypatch.setattr(staging, "MOST_BYTES", 80 * 10**6)  # less than the packed pixels, which aren't mapped
    staged = stage(tmp_path / "staging", paths, size=1024, channels=3, bits=16, processes=1)
    assert staged.pixels.stat().st_size > 80e6
    assert staged.problems == dict.fromkeys((1, 12), "needs more than 2 GB to decode: make it smaller")
    assert (staged.facts["state"] == [BROKEN if path == str(large) else GOOD for path in paths]).all()


STARTS = b"\xff\xc0", b"\xff\xc2"  # of a JPEG's frame, baseline and progressive


def claimed(path: Path, width: int, height: int) -> Path:
    """The same JPEG, said to be of another size."""
    content = bytearray(path.read_bytes())
    frame = next(place for place in range(len(content)) if bytes(content[place : place + 2]) in STARTS)
    content[frame + 5 : frame + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    path.write_bytes(content)
    return path


def test_a_jpeg_counts_as_large_as_it_is_decoded(tmp_path: Path) -> None:
    huge = saved(tmp_path, Image.new("L", (20_000, 10_000), 90), "huge.jpg")  # of which an eighth of either side is
    found = decode(huge, 32, 1, 16)
    assert (found.width, found.height) == (20_000, 10_000) and (found.pixels == 90).all()
    with pytest.raises(ValueError, match="a decompression bomb, more than 179 million pixels"):
        decode(saved(tmp_path, Image.new("L", (20_000, 10_000), 90), "huge.png"), 32, 1, 16)
    with pytest.raises(ValueError, match="a decompression bomb, more than 179 million pixels"):
        decode(huge, 5_001, 1, 16)  # so large that nothing is reduced


def test_a_progressive_bomb_is_refused_before_it_takes_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """libjpeg holds the coefficients of all pixels of such a file, whatever the size it decodes to."""

    def load(image: Any) -> None:
        raise ValueError("it was decoded")

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", load)
    path = saved(tmp_path, Image.new("RGB", (16, 16)), "bomb.jpg", progressive=True)
    with pytest.raises(ValueError, match="needs more than 2 GB to decode: make it smaller"):
        decode(claimed(path, 65_500, 65_500), 32, 3, 16)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError("out of memory error when reading image file"),  # libtiff's
        RuntimeError("Pixel allocation failed: Out of memory"),  # libavif's
    ],
)
def test_all_that_says_memory_ran_out_is_one_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    path = saved(tmp_path, halves("L", 0, 255), "a.png")

    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(ValueError, match="needs more than 2 GB to decode: make it smaller"):
        decode(path, 16, 3, 16)


# links


def with_links(root: Path) -> None:
    """48 images, two links out of the folder, two within it."""
    write_images(root, classes=True)
    write_images(root.parent / "private", classes=False, count=5)
    (root / "class 1" / "secret.png").symlink_to(root.parent / "private" / "é 0.png")
    (root / "class 9").symlink_to(root.parent / "private")
    (root / "class 2" / "notes.txt").symlink_to(root.parent / "private" / "é 0.png")  # no image by its name
    (root / "class 2" / "gone.png").symlink_to(root.parent / "nowhere.png")
    (root / "class 1" / "twin.png").symlink_to(root / "class 0" / "é 0.png")
    (root / "class 8").symlink_to("class 0")


def test_links_out_of_the_folder_are_left_out_and_reported(project: Project) -> None:
    with_links(project.folder / "photos")
    out = project.ok("prepare", *PHOTOS)
    assert f"left out: {LINK} (2 images)" in out
    facts = project.json("data/photos/report/report.json")
    assert facts["skipped"] == {LINK: 2} and sum(split["images"] for split in facts["splits"].values()) == 48 + 1 + 16
    assert LINK in (project.folder / "data/photos/report/index.html").read_text()
    with (project.folder / "data/photos/report/skipped.csv").open(newline="") as file:
        assert [tuple(row.values()) for row in csv.DictReader(file)] == [
            ("class 1/secret.png", LINK),
            ("class 9", LINK),
        ]
    assert {entry["class"] for entry in facts["classes"]} == {"class 0", "class 1", "class 2", "class 8"}


def test_links_are_followed_where_told_to(tmp_path: Path) -> None:
    with_links(tmp_path / "images")
    data = folder_of(tmp_path / "images", follow_links=True)
    assert len(everything(data)) == 48 + 1 + 16 + 1 + 5 and list(data.skipped) == []


def test_a_folder_that_is_itself_a_link_is_where_it_leads(tmp_path: Path) -> None:
    write_images(tmp_path / "elsewhere", classes=False)
    (tmp_path / "images").symlink_to(tmp_path / "elsewhere")
    assert len(everything(folder_of(tmp_path / "images"))) == 48


def test_a_link_out_says_so_where_it_is_missed(tmp_path: Path) -> None:
    write_images(tmp_path / "elsewhere", classes=False)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "all").symlink_to(tmp_path / "elsewhere")
    links = r"got 0 \(links that lead out of it: 1, data\.source\.follow_links=true follows them\)"
    with pytest.raises(ValueError, match=links):
        folder_of(tmp_path / "images")
    with pytest.raises(ValueError, match=r"unlabelled=.*must hold at least 1 image .*" + links):
        folder_of(tmp_path / "elsewhere", unlabelled=str(tmp_path / "images"))
    write_images(tmp_path / "images", classes=False)
    (tmp_path / "labels.csv").write_text("file,class\nall/é 0.png,a\n")
    with pytest.raises(ValueError, match=r"'all/é 0\.png': a link leads there, out of the folder, which data\.source"):
        folder_of(tmp_path / "images", labels=str(tmp_path / "labels.csv"))


# names


def test_class_folders_may_have_any_name(project: Project) -> None:
    names = [b"caf\xe9", b"red\x1b[31m\nalert", "日本".encode()]
    photos = project.folder / "photos"
    write_images(photos, classes=True, count=60)
    for number, name in enumerate(names):
        (photos / f"class {number}").rename(photos / os.fsdecode(name))
    (photos / "=cmd").mkdir()
    halves("L", 0, 255).save(photos / "=cmd" / "one.png")
    (photos / os.fsdecode(names[0]) / "broken.png").write_bytes(b"nothing")
    out = project.ok("prepare", *PHOTOS)
    assert "has no image of =cmd" in out and "\x1b" not in out
    shown = ["=cmd", r"caf\xe9", r"red\x1b[31m\nalert", "日本"]
    report = project.folder / "data/photos/report"
    assert [entry["class"] for entry in project.json("data/photos/report/report.json")["classes"]] == shown
    assert project.json("data/photos/labels/manifest.json")["classes"] == shown
    assert r"<td>caf\xe9</td>" in (report / "index.html").read_text()
    assert (report / "skipped.csv").read_bytes() == b"file,reason\ncaf\xe9/broken.png,no image in it\n"
    tables = [path.read_bytes() for path in (project.folder / "data/photos/labels").glob("*-files.csv")]
    assert len(tables) == 3 and any(b"caf\xe9/" in table for table in tables)
