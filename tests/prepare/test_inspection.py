from __future__ import annotations

import csv
import io
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from src.data.source import SPLITS, Source
from src.prepare import inspection
from src.prepare.inspection import Inspection, inspect, thumbnails
from src.prepare.leaks import settle
from tests.project import ROOT, TINY, Project


def pictures(n: int, size: int = 32, seed: int = 0) -> np.ndarray:
    """Smooth random colour pictures, which look like nothing but themselves."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 6, 6, 3), dtype=np.uint8)
    shown = [Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC) for image in coarse]
    return np.stack([np.asarray(image).transpose(2, 0, 1) for image in shown])


def again(image: np.ndarray, quality: int = 60) -> np.ndarray:
    """The same picture, enlarged and saved as a JPEG."""
    file = io.BytesIO()
    large = Image.fromarray(image.transpose(1, 2, 0)).resize((100, 100))
    large.save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).resize(image.shape[1:])).transpose(2, 0, 1)


def splits_of(*parts: np.ndarray, groups: list[np.ndarray] | None = None) -> dict[str, Source]:
    ends = np.cumsum([0, *map(len, parts)])
    own = groups or [np.arange(a, b) for a, b in itertools.pairwise(ends)]
    return {
        name: Source(part, group, {"class": np.zeros(len(part), np.int64)})
        for name, part, group in zip(SPLITS, parts, own, strict=True)
    }


@pytest.fixture
def leaky() -> dict[str, Source]:
    """test's first picture is pretrain's, val's first is probe's saved again, pretrain repeats one of its own."""
    x = pictures(40)
    parts = [x[:16].copy(), x[16:24].copy(), x[24:32].copy(), x[32:].copy()]
    parts[3][0] = parts[0][5]
    parts[2][0] = again(parts[1][2])
    parts[0][15] = parts[0][3]
    return splits_of(*parts)


def test_identical_and_near_pictures_are_found_and_no_others(leaky: dict[str, Source]) -> None:
    found = inspect(leaky)
    assert found.near_searched
    exact = [set(np.flatnonzero(found.exact == c).tolist()) for c in np.unique(found.exact) if c >= 0]
    near = [set(np.flatnonzero(found.near == c).tolist()) for c in np.unique(found.near) if c >= 0]
    assert sorted(map(sorted, exact)) == [[3, 15], [5, 32]]
    assert sorted(map(sorted, near)) == [[3, 15], [5, 32], [18, 24]]
    assert [set(np.flatnonzero(found.near == c).tolist()) for c in found.across(found.near)] == [{5, 32}, {18, 24}]
    assert len(found.across(found.exact)) == 1


def flat_shapes(n: int, size: int = 32) -> np.ndarray:
    """One rectangle of a colour on a ground of another: pictures whose gray values hardly differ in most places."""
    draw = np.random.default_rng(1)
    x = np.broadcast_to(draw.integers(0, 256, (n, 3, 1, 1)), (n, 3, size, size)).astype(np.uint8)
    for image in x:
        top, left, high, wide = draw.integers(2, size // 2, 4)
        image[:, top : top + high, left : left + wide] = draw.integers(0, 256, (3, 1, 1))
    return x


@pytest.mark.parametrize("make", [pictures, flat_shapes])
@pytest.mark.parametrize("quality", [50, 85])
def test_saving_a_picture_again_is_seen_through(make: Callable[[int], np.ndarray], quality: int) -> None:
    x = make(300)
    copies = np.stack([again(image, quality) for image in x])
    found = inspect(splits_of(x, copies, pictures(20, seed=5), pictures(20, seed=6)))
    cluster = found.near[:600].reshape(2, 300)
    told = x.reshape(300, -1).std(1) > 20  # a faint picture's copy is mostly the JPEG's noise
    assert told.mean() > 0.7
    assert ((cluster[0] >= 0) & (cluster[0] == cluster[1]))[told].mean() > (0.99 if quality > 50 else 0.95)


def test_other_pictures_are_no_near_duplicates_however_simple() -> None:
    found = inspect(splits_of(pictures(400), flat_shapes(400), pictures(20, seed=5), pictures(20, seed=6)))
    assert (found.near >= 0).mean() < 0.01


def test_another_light_is_another_picture() -> None:
    x = pictures(40)
    x[30] = (x[0] * 0.4 + 90).astype(np.uint8)
    x[31] = (x[1] * 0.97 + 3).astype(np.uint8)
    found = inspect(splits_of(x[:10], x[10:20], x[20:30], x[30:]))
    assert np.flatnonzero(found.near >= 0).tolist() == [1, 31]


@pytest.mark.parametrize("size", [8, 20, 33, 96])
def test_thumbnails_shrink_like_torch(size: int) -> None:
    images = pictures(5, size=size)
    shrunk = F.interpolate(torch.from_numpy(images).float(), size=(8, 8), mode="bilinear", antialias=True).flatten(1)
    shrunk -= shrunk.mean(1, keepdim=True)
    assert np.allclose(thumbnails(images), F.normalize(shrunk), atol=1e-6)


def test_prepare_does_without_torch() -> None:
    """Which takes half a gigabyte, of one, and two seconds."""
    modules = "prepare.__main__,prepare.folder,prepare.public,prepare.inspection,prepare.leaks,prepare.datasheet"
    modules += ",data.pack,data.budgets"
    code = f"import sys, {', '.join('src.' + name for name in modules.split(','))}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_thumbnails_are_standardised() -> None:
    thumbs = thumbnails(pictures(10))
    assert thumbs.shape == (10, 3 * 64)
    assert np.allclose(thumbs.mean(1), 0, atol=1e-6) and np.allclose(np.square(thumbs).sum(1), 1, atol=1e-5)
    assert not thumbnails(np.full((1, 3, 16, 16), 9, np.uint8)).any()


def test_near_pairs_are_those_of_all_pairs() -> None:
    draw = np.random.default_rng(0)
    x = pictures(80)
    y = np.clip(x + draw.normal(0, draw.uniform(0, 40, (80, 1, 1, 1)), x.shape), 0, 255).astype(np.uint8)
    everything = np.concatenate([x, y])
    flat = everything.reshape(160, -1) / 255
    alike = (np.corrcoef(flat) >= inspection.NEAR_CORRELATION) & (
        np.sqrt(np.square(flat[:, None] - flat).mean(2)) <= inspection.NEAR_RMSE
    )
    expected = np.argwhere(np.triu(alike, 1))
    found = inspect(splits_of(x, y[:30], y[30:60], y[60:]))
    pairs = [np.flatnonzero(found.near == c).tolist() for c in np.unique(found.near) if c >= 0]
    assert 10 < len(expected) < 75
    assert sorted(pairs) == expected.tolist()


def test_images_that_are_too_much_alike_are_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "MOST_PAIRS", 100)
    alike = pictures(40)
    alike[:] = alike[0]
    alike[:, 0, 0, 0] = np.arange(40)  # not identical
    found = inspect(splits_of(alike[:10], alike[10:20], alike[20:30], alike[30:]))
    assert not found.near_searched and (found.near == found.exact).all()


def test_blank_images_are_no_duplicates_but_identical() -> None:
    x = pictures(40)
    x[1], x[20], x[21] = 7, 8, 8
    found = inspect(splits_of(x[:10], x[10:20], x[20:30], x[30:]))
    assert np.flatnonzero(found.blank).tolist() == [1, 20, 21]
    assert np.flatnonzero(found.near >= 0).tolist() == [20, 21]


def test_chunks_change_nothing(leaky: dict[str, Source], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = inspect(leaky)
    monkeypatch.setattr(inspection, "CHUNK", 3)
    for one, other in zip(whole, inspect(leaky), strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(other))


def test_leaks_are_listed_moved_or_refused(leaky: dict[str, Source]) -> None:
    found = inspect(leaky)
    assert settle(leaky, found, "list") == (leaky, 0)
    with pytest.raises(ValueError, match=r"2 pictures are in more than one split: data\.leaks=list lists them"):
        settle(leaky, found, "refuse")
    moved, count = settle(leaky, found, "move")
    assert count == 2 and [len(moved[name].images) for name in SPLITS] == [17, 9, 7, 7]
    assert np.array_equal(moved["pretrain"].images[:][16], leaky["test"].images[:][0])
    again_found = inspect(moved)
    assert len(again_found.across(again_found.near)) == 0
    assert sorted(np.concatenate([source.group for source in moved.values()]).tolist()) == list(range(40))


def test_a_moved_picture_takes_its_whole_group_along() -> None:
    x = pictures(40)
    x[39] = x[0]  # test's last is pretrain's first
    x[31] = x[38]  # and another of that group is in val
    groups = [np.arange(10), np.arange(10, 20), np.arange(20, 30), np.array([30, 31, 32, 33, 34, 35, 36, 37, 99, 99])]
    splits = splits_of(x[:10], x[10:20], np.concatenate([x[20:29], x[31:32]]), x[30:40], groups=groups)
    moved, count = settle(splits, inspect(splits), "move")
    assert count == 4  # test's 31 is the same picture once more
    where = {group: name for name in SPLITS for group in moved[name].group.tolist()}
    assert where[99] == where[0] == where[29] == where[31] == "pretrain"
    assert sum(len(source.images) for source in moved.values()) == 40


def test_a_move_that_empties_a_split_is_refused() -> None:
    x = pictures(30)
    splits = splits_of(x[:10], x[10:20], x[20:30], x[:2])
    with pytest.raises(ValueError, match="moving duplicates leaves nothing in test"):
        settle(splits, inspect(splits), "move")


# the command


def photos(folder: Path, *, count: int = 60) -> None:
    """Pictures of which two are the same, one saved again, in two classes."""
    x = pictures(count, size=48)
    for number, image in enumerate(x):
        inside = folder / ("left" if number % 2 else "right")
        inside.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(inside / f"{number}.png")
    for number in range(6):
        Image.fromarray(x[0].transpose(1, 2, 0)).save(folder / "left" / f"copy {number}.jpg", quality=90 - number)
    (folder / "left" / "broken.png").write_bytes(b"nothing")


def prepared(project: Project, *arguments: str) -> str:
    photos(project.folder / "photos")
    return project.ok("prepare", "data=folder", "data.name=photos", "data.source.root=photos", *arguments)


def rows_of(project: Project, name: str) -> list[dict[str, str]]:
    with (project.folder / "data/photos/report" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_class_that_a_split_lacks_is_told(project: Project) -> None:
    photos(project.folder / "photos")
    names = [f"left/{number}.png" for number in range(1, 60, 2)] + [f"right/{number}.png" for number in range(2, 60, 2)]
    rows = [f"{name},{'rare' if place < 1 else 'common'}" for place, name in enumerate(names)]
    (project.folder / "labels.csv").write_text("\n".join(["file,class", *rows]))
    arguments = ["data=folder", "data.name=photos", "data.source.root=photos", "data.source.labels=labels.csv"]
    out = project.ok("prepare", *arguments)
    assert "val has no image of rare: label more of them" in out and "no image of common" not in out
    facts = project.json("data/photos/report/report.json")
    assert next(entry for entry in facts["classes"] if entry["class"] == "rare")["val"] == 0


@pytest.mark.parametrize(
    ("value", "message"),
    [("folders=3", "folders must name folders"), ("folders.runs=3", "folders.runs must be a path")],
)
def test_folders_of_another_type_are_refused(project: Project, value: str, message: str) -> None:
    assert message in project.refused("prepare", value)


def test_prepare_reports_what_it_found(project: Project) -> None:
    out = prepared(project, "data.leaks=list")
    assert "left out: no image in it (1 image)" in out
    assert "leak: 1 pictures are in several splits (data.leaks=move moves them)" in out
    assert "written: data/photos/report/index.html" in out
    assert "classes: 2, of 66 of the 66 images" in out
    assert "few labels: fewer than 10 images per class in " in out
    assert "src.probe takes so few with: probe.knn.score.k=5 probe.cross_validated.score.knn.k=5" in out
    assert "next: python -m src.train -m data=folder data.name=photos study=photos" in out
    facts: dict[str, Any] = json.loads((project.folder / "data/photos/report/report.json").read_text())
    assert facts["leaks"] == {"pictures": 1, "images": 7, "moved": 0}
    assert facts["skipped"] == {"no image in it": 1}
    assert {c["class"]: sum(c[split] for split in SPLITS) for c in facts["classes"]} == {"left": 36, "right": 30}
    assert facts["sizes"] == {"width": [48, 48, 48], "height": [48, 48, 48], "enlarged": 0}
    assert sum(split["images"] for split in facts["splits"].values()) == 66
    listed = rows_of(project, "duplicates.csv")
    assert len(listed) == 7 and {row["across_splits"] for row in listed} == {"yes"}
    assert {row["file"] for row in listed} == {"right/0.png", *(f"left/copy {number}.jpg" for number in range(6))}
    assert rows_of(project, "skipped.csv") == [{"file": "left/broken.png", "reason": "no image in it"}]
    report = project.folder / "data/photos/report"
    assert matplotlib.image.imread(report / "sheet.png").shape[1] == 16 * 64 and (report / "leaks.png").exists()
    page = (report / "index.html").read_text()
    assert "1 pictures, 7 images, are in more than one split" in page and "<td>left</td>" in page


def test_prepare_moves_leaks_of_a_folder_unless_told_otherwise(project: Project) -> None:
    out = prepared(project)
    assert "so that no picture is in two splits" in out and "leak:" not in out
    facts = json.loads((project.folder / "data/photos/report/report.json").read_text())
    assert facts["leaks"]["pictures"] == 0 and facts["leaks"]["moved"] > 0
    assert not (project.folder / "data/photos/report/leaks.png").exists()
    assert {row["split"] for row in rows_of(project, "duplicates.csv")} == {"pretrain"}


def test_prepare_refuses_leaks_where_told_to_and_leaves_what_was_there(project: Project) -> None:
    arguments = ["data=folder", "data.name=photos", "data.source.root=photos"]
    photos(project.folder / "photos")
    said = project.refused("prepare", *arguments, "data.leaks=refuse")
    assert "1 pictures are in more than one split" in said
    assert not (project.folder / "data/photos").exists()
    assert "data.leaks must be one of list, move, refuse, got 'no'" in project.refused(
        "prepare", *arguments, "data.leaks=no"
    )


def test_generated_digits_have_a_report_too(project: Project) -> None:
    project.ok("prepare", *TINY)
    facts = json.loads((project.folder / "data/digits/report/report.json").read_text())
    assert facts["splits"]["pretrain"]["groups"] == 160 and facts["splits"]["pretrain"]["images"] == 320
    assert facts["sizes"] is None and facts["skipped"] == {}


def test_an_inspection_knows_which_clusters_cross_splits() -> None:
    cluster = np.array([0, 0, 1, 1, -1])
    found = Inspection(np.array([0, 1, 2, 2, 3]), np.zeros(5, bool), cluster, cluster, True)
    assert found.across(found.near).tolist() == [0]
