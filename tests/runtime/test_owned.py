"""What is somebody's own is refused or left alone, never removed, changed or moved."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from src.runtime import files, owned
from tests.prepare.test_folder import write_images
from tests.project import ROOT, TINY, Project

TARGET_PARTS = ("images", "labels")


def target_of(folder: Path) -> owned.Target:
    return owned.Target(folder, TARGET_PARTS, "prepare", "choose data.name=<another name>")


def write(target: owned.Target, content: str = "one") -> None:
    with owned.replacing(target) as new:
        for part in target.parts:
            (new / part / "inner").mkdir()
            (new / part / "inner" / "a.txt").write_text(content)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_a_command_wrote_it_replaces_whole(tmp_path: Path) -> None:
    target = target_of(tmp_path / "set")
    write(target)
    first = everything(tmp_path)
    write(target, "another")
    assert everything(tmp_path).keys() == first.keys()
    assert (tmp_path / "set/images/inner/a.txt").read_text() == "another"
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["images", "labels"]


@pytest.mark.parametrize("place", ["images/mine.txt", "images/inner/mine.txt", "labels/deep/er/mine.txt"])
def test_a_folder_with_anything_of_somebody_else_is_refused(tmp_path: Path, place: str) -> None:
    target = target_of(tmp_path / "set")
    write(target)
    path = tmp_path / "set" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    before = everything(tmp_path)
    with pytest.raises(ValueError, match=r"holds '.*mine\.txt', which python -m src\.prepare didn't write"):
        write(target)
    assert everything(tmp_path) == before


def test_a_file_that_was_changed_since_is_somebodys_own(tmp_path: Path) -> None:
    target = target_of(tmp_path / "set")
    write(target)
    (tmp_path / "set/labels/inner/a.txt").write_text("corrected by hand")
    with pytest.raises(ValueError, match="somebody has changed since"):
        write(target)
    assert (tmp_path / "set/labels/inner/a.txt").read_text() == "corrected by hand"


def test_a_list_that_was_made_up_proves_nothing_of_other_files(tmp_path: Path) -> None:
    folder = tmp_path / "set/images"
    folder.mkdir(parents=True)
    (folder / "mine.txt").write_text("mine")
    for text in ("", "[]", "null", '{"format": 1}', '{"format": 1, "files": {"mine.txt": {}}}', '{"files": 5}'):
        (folder / owned.LIST).write_text(text)
        with pytest.raises(ValueError, match=r"holds 'mine\.txt'"):
            write(target_of(tmp_path / "set"))
    assert (folder / "mine.txt").read_text() == "mine"


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    target = target_of(tmp_path / "set")
    write(target)
    before = everything(tmp_path)
    with pytest.raises(RuntimeError), owned.replacing(target) as new:
        (new / "images" / "half.txt").write_text("half")
        raise RuntimeError
    assert everything(tmp_path) == before
    fresh = target_of(tmp_path / "other/set")
    with pytest.raises(RuntimeError), owned.replacing(fresh) as new:
        raise RuntimeError
    assert not (tmp_path / "other").exists()  # not even a folder stays


def test_what_comes_in_while_it_is_built_is_not_lost(tmp_path: Path) -> None:
    target = target_of(tmp_path / "set")
    write(target)
    with pytest.raises(ValueError, match=r"holds 'late\.txt'"), owned.replacing(target) as new:
        (new / "images" / "b.txt").write_text("b")
        (tmp_path / "set/images/late.txt").write_text("mine")
    assert (tmp_path / "set/images/late.txt").read_text() == "mine"
    assert (tmp_path / "set/images/inner/a.txt").exists()


@pytest.mark.parametrize("moment", ["built", "aside", "swapped"])
def test_a_killed_process_leaves_what_the_next_one_finishes(tmp_path: Path, moment: str) -> None:
    target = target_of(tmp_path / "set")
    write(target)
    folder = tmp_path / "set"
    if moment == "built":
        (folder / ".images.new/images").mkdir(parents=True)
        (folder / ".images.new" / owned.LIST).write_text('{"format": 1, "files": {}}')
        (folder / ".images.new/images/half.txt").write_text("half")
    elif moment == "aside":
        (folder / "images").rename(folder / ".images.old")
    else:
        (folder / "labels").rename(folder / ".labels.old")
        (folder / "labels").mkdir()
        (folder / "labels" / owned.LIST).write_text('{"format": 1, "files": {}}')
    write(target, "again")
    assert sorted(path.name for path in folder.iterdir()) == ["images", "labels"]
    assert (folder / "labels/inner/a.txt").read_text() == "again"


def test_a_folder_that_only_looks_like_one_being_built_is_refused(tmp_path: Path) -> None:
    mine = tmp_path / "set/.images.new/mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(ValueError, match="it didn't make this: move it away"):
        write(target_of(tmp_path / "set"))
    assert mine.read_text() == "mine"


def test_two_at_once_are_one_after_the_other(tmp_path: Path) -> None:
    target = target_of(tmp_path / "set")
    with owned.replacing(target) as new:
        (new / "images" / "a.txt").write_text("a")
        with pytest.raises(files.Busy):
            write(target)
    assert (tmp_path / "set/images/a.txt").read_text() == "a"


def test_what_other_programs_strew_moves_along(tmp_path: Path) -> None:
    target = target_of(tmp_path / "set")
    write(target)
    for name in owned.LEFT_BY_OTHERS:
        (tmp_path / "set/images" / name).write_text(name)
        (tmp_path / "set/images/inner" / name).write_text(name)
    write(target, "again")
    for name in owned.LEFT_BY_OTHERS:
        assert (
            (tmp_path / "set/images" / name).read_text() == (tmp_path / "set/images/inner" / name).read_text() == name
        )


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    target = target_of(tmp_path / "set")
    (tmp_path / "big disk").mkdir()
    (tmp_path / "set").mkdir()
    (tmp_path / "set/images").symlink_to(tmp_path / "big disk")
    write(target)
    write(target, "again")
    assert (tmp_path / "set/images").is_symlink()
    assert (tmp_path / "big disk/inner/a.txt").read_text() == "again"


def draw(path: Path) -> None:
    path.write_text("drawn")


def test_one_file_is_added_beside_others_and_over_none_of_them(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "taken.svg").write_text("mine")
    owned.add(tmp_path, "new.svg", "compare", draw)
    owned.add(tmp_path, "new.svg", "compare", draw)
    with pytest.raises(ValueError, match=r"wasn't written by python -m src\.compare"):
        owned.add(tmp_path, "taken.svg", "compare", draw)
    assert (tmp_path / "taken.svg").read_text() == (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("step", ["write", "list", "replace"])
def test_a_file_whose_writing_broke_off_can_be_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    owned.add(tmp_path, "new.svg", "compare", draw)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    def half(path: Path) -> None:
        path.write_text("ha")
        full()

    with monkeypatch.context() as broken:
        if step == "list":
            broken.setattr(owned, "_write_list", full)
        elif step == "replace":
            broken.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            owned.add(tmp_path, "new.svg", "compare", half if step == "write" else lambda path: path.write_text("x"))  # type: ignore[arg-type]
    assert (tmp_path / "new.svg").read_text() == "drawn"
    owned.add(tmp_path, "new.svg", "compare", draw)
    assert sorted(path.name for path in tmp_path.iterdir()) == [owned.LIST, "new.svg"]


def test_a_replaced_folder_keeps_what_other_commands_added(tmp_path: Path) -> None:
    target = owned.Target(tmp_path, ("report",), "report", "choose another")
    for content in ("first", "second"):
        with owned.replacing(target) as new:
            (new / "report/index.html").write_text(content)
        owned.add(tmp_path / "report", "compare-0-1.svg", "compare", draw)
    with owned.replacing(target) as new:
        (new / "report/index.html").write_text("third")
    assert (tmp_path / "report/compare-0-1.svg").read_text() == "drawn"
    assert (tmp_path / "report/index.html").read_text() == "third"


def test_nothing_in_src_removes_folders_with_all_that_is_in_them() -> None:
    recursive = re.compile(r"rmtree|removedirs|rm -r|\.walk\(.*topdown=False")
    found = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "src").rglob("*.py") if recursive.search(path.read_text())
    }
    assert found == {"src/runtime/owned.py"}  # what was being built there, behind its marker
    removing = re.compile(r"\.unlink\(|os\.remove\(|\.rmdir\(|os\.unlink")
    assert {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "src").rglob("*.py") if removing.search(path.read_text())
    } == {
        "src/runtime/owned.py",
        "src/runtime/files.py",
        "src/study/cleaning.py",
        "src/prepare/staging.py",
        "src/trial/run.py",
    }


# the commands that lost somebody's files


def photos(folder: Path, count: int = 60) -> dict[str, bytes]:
    write_images(folder, classes=False, count=count)
    return everything(folder)


@pytest.mark.parametrize(
    "arguments",
    [
        ["data.source.root=data/photos", "data.source.channels=2"],
        ["data.source.root=data/photos"],
        ["data.source.root=data/photos/images"],
        ["data.source.root=data"],
        ["data.source.root=."],
    ],
)
def test_originals_where_prepare_writes_are_refused_and_left(project: Project, arguments: list[str]) -> None:
    before = photos(project.folder / "data/photos/images")
    line = project.refused("prepare", "data=folder", "data.name=photos", "data.source.labels=none", *arguments)
    assert "lie one in the other: choose data.name=<another name>" in line
    assert everything(project.folder / "data/photos/images") == before


def test_own_tables_and_staging_folders_are_refused_and_left(project: Project) -> None:
    photos(project.folder / "originals")
    base = ["data=folder", "data.name=photos", "data.source.root=originals", "data.source.labels=none"]
    project.ok("prepare", *base, "data.source.size=16")
    for place in ("data/photos/budgets/mine.csv", "data/photos/labels/mine.csv", "data/photos/images/a.jpg"):
        path = project.folder / place
        path.write_text("file,class\n")
        line = project.refused("prepare", *base)
        assert f"holds '{path.name}', which python -m src.prepare didn't write" in line
        assert path.read_text() == "file,class\n"
        path.unlink()
    table = project.folder / "data/photos/labels/mine.csv"
    table.write_text("file,class\n")
    line = project.refused("prepare", *base, f"data.source.labels={table.relative_to(project.folder)}")
    assert "data.source.labels=data/photos/labels/mine.csv and data/photos" in line and table.exists()
    table.unlink()
    for name in ("letter.txt", "pixels.npy"):
        mine = project.folder / "somewhere" / name
        mine.parent.mkdir(exist_ok=True)
        mine.write_text("mine")
        line = project.refused("prepare", *base, "data.source.staging=somewhere", "data.source.size=24")
        assert "data.source.staging=somewhere holds" in line and mine.read_text() == "mine"
        mine.unlink()


def test_a_report_takes_no_folder_of_somebody_else(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    (project.folder / "thesis/figures").mkdir(parents=True)
    for name in ("index.html", "figures/plot.svg"):
        (project.folder / "thesis" / name).write_text("mine")
    line = project.refused("report", "study=tiny", "resamples=100", "folders.report=thesis")
    assert "thesis holds 'figures/plot.svg' and 1 more, which python -m src.report didn't write" in line
    assert set(everything(project.folder / "thesis").values()) == {b"mine"}


def test_a_record_of_somebody_else_is_not_written_over(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    mine = b'{"mine": true}'
    for stage, name in (
        ("selection", "selection.json"),
        ("probe", "probe.json"),
        ("budget", "budget.json"),
        ("confirm", "confirmation.json"),
    ):
        path = project.folder / "runs/tiny" / name
        kept = path.read_bytes()
        path.write_bytes(mine)
        assert f"runs/tiny/{name} isn't as it was written" in project.refused(stage, "study=tiny"), stage
        assert path.read_bytes() == mine
        path.write_bytes(kept)
    (project.folder / "runs/tiny/selection.txt").write_text("mine")
    assert "selection.txt wasn't written by python -m src.selection" in project.refused("selection", "study=tiny")
    assert (project.folder / "runs/tiny/selection.txt").read_text() == "mine"
    (project.folder / "runs/other").mkdir()
    (project.folder / "runs/other/study.json").write_bytes(mine)
    assert "move it away" in project.refused("train", *project.sweep("study=other"))
    assert (project.folder / "runs/other/study.json").read_bytes() == mine


FOREIGN = {
    "notes of mine.txt": b"mine",
    "mine.json": b"{}",
    "mine.csv": b"a,b\n",
    ".mine": b"",
    "mine.safetensors": b"x",
}


def test_foreign_files_in_every_folder_are_the_same_after_every_stage(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    mine = {
        Path(place, name): content
        for place, _, _ in os.walk(project.folder)
        for name, content in FOREIGN.items()
        if "artifacts" not in Path(place).parts
    }
    for path, content in mine.items():
        path.write_bytes(content)
    stages = [
        ("prepare", TINY),
        ("train", project.sweep()),
        ("train", project.sweep("seed=5", trials=2)),
        ("selection", ["study=tiny"]),
        ("confirm", ["study=tiny", "top=1", "seeds=[7]"]),
        ("probe", ["study=tiny", "threads=1"]),
        ("budget", ["study=tiny", "threads=1"]),
        ("report", ["study=tiny", "resamples=100", "threads=1"]),
        ("compare", ["study=tiny", "trials=[0,1]"]),
        ("sheet", ["images=2", "views=2"]),
        ("clean", []),
        ("clean", ["delete=true"]),
        ("clean", ["delete=true", "forever=true"]),
    ]
    refused = []
    for stage, arguments in stages:
        if project.run(stage, *arguments).returncode:
            refused.append(stage)
        lost = [path for path, content in mine.items() if not path.exists() or path.read_bytes() != content]
        assert not lost, (stage, lost)
    assert refused == ["prepare", "budget", "report"]  # whose own folders they are in; the others did their work
