"""A folder of images: which there are, what is known of them, and which split each goes to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from src.data.source import SPLITS, DataSet, Rows, Source, numbered
from src.prepare.decode import MODES, SUFFIXES, UNREAD
from src.prepare.listing import Listed, image_files, read_column, shown
from src.prepare.staging import BLANK, BROKEN, GOOD, Staged, stage
from src.runtime import check

PICTURES = SUFFIXES + UNREAD  # those that aren't read are listed as broken
LEAST = 10 * len(SPLITS)
POLICIES = ("skip", "stop")
FOLLOW = "data.source.follow_links=true follows"
OUTSIDE = f"a link that leads outside the folder ({FOLLOW} it)"


class _Known(NamedTuple):
    """What is known of each file before it is opened."""

    names: list[str]
    classes: list[str | None]
    groups: list[str] | None  # None: each is its own
    outside: list[str]  # links that lead out of their folder and weren't followed


def folder(
    *,
    root: str,
    unlabelled: str | None,
    labels: str,
    groups: str | None,
    follow_links: bool,
    size: int,
    channels: int,
    bits: int,
    broken: str,
    blank: str,
    fractions: dict[str, float],
    seed: int,
    workers: int | None,
    staging: str,
) -> DataSet:
    """The images below ``root``, each cut to its central square and resized to ``size`` x ``size``.

    ``labels``: "folders" (the first folder below ``root`` is the class; images directly in it have none), "none", or
    a CSV file with columns file and class; ``groups``: a CSV file with columns file and group, of which none crosses
    splits. Images without a class, and those below ``unlabelled``, all go to pretrain, with their whole groups.
    ``broken`` and ``blank`` images are skipped, or stop; links out of a folder are skipped unless ``follow_links``.
    ``workers`` processes decode; None: one per core. Raises ValueError on a bad value or too few images.
    """
    _check(size, channels, bits, broken, blank, fractions, seed)
    check.flag("data.source.follow_links", follow_links)
    if workers is not None:
        check.number("data.source.workers", workers, at_least=1, whole=True)
    for key, path in (("root", root), ("unlabelled", unlabelled), ("labels", labels), ("groups", groups)):
        if not isinstance(path, str) and (path is not None or key == "labels"):
            raise ValueError(f"data.source.{key} must be a path, got {path!r}")
        if path is not None and path != path.encode(errors="ignore").decode():  # the manifest names it
            raise ValueError(f"data.source.{key} must be a path in UTF-8, got {path!r}: rename it or link to it")
    known, paths = _list(root, unlabelled, labels, groups, follow_links)
    staged = stage(Path(staging), paths, size=size, channels=channels, bits=bits, processes=workers)
    del paths  # of a million images a tenth of the memory
    skipped = [(name, OUTSIDE) for name in known.outside]
    skipped += _skipped(known.names, staged, {BROKEN: broken, BLANK: blank})
    everything = _everything(root, known, staged)
    numbers = everything.labels.get("class", np.full(len(everything.group), -1))
    parts = _split(everything.group, numbers, fractions, seed)
    return DataSet({split: everything.take(index) for split, index in parts.items()}, skipped)


def _check(
    size: int, channels: int, bits: int, broken: str, blank: str, fractions: dict[str, float], seed: int
) -> None:
    check.number("data.source.size", size, at_least=8, at_most=1024, whole=True)
    check.choice("data.source.channels", channels, tuple(MODES))
    check.number("data.source.bits", bits, at_least=8, at_most=16, whole=True)
    check.choice("data.source.broken", broken, POLICIES)
    check.choice("data.source.blank", blank, POLICIES)
    check.number("data.source.seed", seed, at_least=0, whole=True)
    check.keyed("data.source.fractions", fractions, SPLITS)
    for split in SPLITS:
        check.number(f"data.source.fractions.{split}", fractions[split], at_least=0, below=1)
    if abs(sum(fractions.values()) - 1) > 1e-6:
        raise ValueError(f"data.source.fractions must add up to 1, got {sum(fractions.values()):g}")


def _list(
    root: str, unlabelled: str | None, labels: str, groups: str | None, follow_links: bool
) -> tuple[_Known, list[str]]:
    """What is known of the files, and their paths."""
    # beside unlabelled images there may be few: _everything counts them together
    names, paths, outside = _images("data.source.root", root, LEAST if unlabelled is None else 0, follow_links)
    classes = _classes(root, names, labels, outside)
    if unlabelled is not None:
        more, more_paths, more_outside = _images("data.source.unlabelled", unlabelled, 1, follow_links)
        twice = sorted(set(more_paths) & set(paths))
        if twice:
            raise ValueError(
                f"data.source.unlabelled holds {len(twice)} images of data.source.root, the first {twice[0]!r}"
            )
        both = sorted(set(names) & set(more))
        if both and groups is not None:
            raise ValueError(f"{groups} can't tell images of one name apart: {both[0]!r} is in both folders")
        names, paths, classes = names + more, paths + more_paths, classes + [None] * len(more)
        outside = outside + more_outside
    if groups is None:
        return _Known(names, classes, None, outside), paths
    stated = read_column(groups, "group", names, outside)
    alone = [name for name, group in zip(names, stated, strict=True) if group is None]
    if alone:
        raise ValueError(f"{groups} has no group for {len(alone)} images, the first {alone[0]!r}")
    return _Known(names, classes, [str(group) for group in stated], outside), paths


def _images(what: str, root: str, least: int, follow_links: bool) -> Listed:
    """Raises ValueError where ``root`` is no folder, or holds fewer than ``least`` images."""
    if root is None or not Path(root).is_dir():
        why = ""
        if root is not None:
            why = ", which is a file" if Path(root).exists() else ", which doesn't exist"
        raise ValueError(f"{what} must be a folder of images, got {root!r}{why}")
    listed = image_files(root, PICTURES, follow_links)
    if len(listed.names) < least:
        wanted = f"{what}={root} must hold at least {least} image{'s' if least != 1 else ''} ({', '.join(SUFFIXES)})"
        links = f" (links that lead out of it: {len(listed.outside)}, {FOLLOW} them)" if listed.outside else ""
        raise ValueError(f"{wanted}, got {len(listed.names)}{links}")
    return listed


def _classes(root: str, names: list[str], labels: str, outside: list[str]) -> list[str | None]:
    if labels == "none":
        return [None] * len(names)
    if labels != "folders":
        if not Path(labels).is_file():
            raise ValueError(f"data.source.labels must be folders, none or a CSV file that exists, got {labels!r}")
        classes = read_column(labels, "class", names, outside)
        if set(classes) <= {None}:
            raise ValueError(f"{labels} gives no image a class: data.source.labels=none packs them without")
        return classes
    first = [Path(name).parts[0] if os.sep in name else None for name in names]
    if None in first and set(first) != {None}:
        raise ValueError(
            f"{root} must hold images either directly or in one folder per class, got both: add "
            "data.source.labels=none if its folders mean nothing"
        )
    return first


def _skipped(names: list[str], staged: Staged, policies: dict[int, str]) -> list[tuple[str, str]]:
    """Files that are left out, and why. Raises ValueError where the policy is to stop."""
    reasons = {BROKEN: "", BLANK: "blank: its central square has one value"}
    skipped: list[tuple[str, str]] = []
    for state, policy in policies.items():
        places = np.flatnonzero(staged.facts["state"] == state).tolist()
        unusable = [(names[place], staged.problems.get(place, reasons[state])) for place in places]
        if unusable and policy == "stop":
            name, reason = unusable[0]
            what = "broken" if state == BROKEN else "blank"
            raise ValueError(
                f"{len(unusable)} images are {what}, the first {name!r} ({reason}): fix them or take them out, or "
                f"data.source.{what}=skip leaves them out"
            )
        skipped += unusable
    return skipped


def _everything(root: str, known: _Known, staged: Staged) -> Source:
    """The images that can be used. Raises ValueError where they are too few."""
    kept = np.flatnonzero(staged.facts["state"] == GOOD)
    if len(kept) < LEAST:
        raise ValueError(f"{root} must hold at least {LEAST} images that can be used, got {len(kept)}")
    group = kept if known.groups is None else numbered([known.groups[place] for place in kept])[0]
    classes = [known.classes[place] for place in kept]
    labelled = [label for label in classes if label is not None]
    number, class_names = numbered(labelled)
    numbers = np.full(len(kept), -1, dtype=np.int64)
    numbers[[place for place, label in enumerate(classes) if label is not None]] = number
    return Source(
        Rows(staged.pixels, kept),
        group,
        {"class": numbers} if labelled else {},
        tuple(known.names[place] for place in kept),
        np.stack([staged.facts["width"][kept], staged.facts["height"][kept]], axis=1),
        tuple(map(shown, class_names)),
    )


def _split(group: np.ndarray, classes: np.ndarray, fractions: dict[str, float], seed: int) -> dict[str, np.ndarray]:
    """The places of each split: whole groups in random order fill them by their share of the images with a class.

    ``classes``: -1 for none; where no image has one all are treated alike. The order takes from every class in
    proportion. Raises ValueError where a split is left empty.
    """
    if (classes == -1).all():
        classes = np.zeros_like(classes)
    bound = np.zeros(group.max() + 1, dtype=bool)  # groups with an unlabelled image are pretrain's
    bound[group[classes == -1]] = True
    free = np.flatnonzero(~bound[group])
    sizes = np.bincount(group[free], minlength=len(bound))
    order = _mixed(group[free], classes[free], np.random.default_rng(seed))
    # a group goes where its first image falls: a split may overflow a little, but no group is cut
    before = np.concatenate([[0], np.cumsum(sizes[order])[:-1]]) if len(order) else np.zeros(0)
    ends = np.cumsum([round(fractions[split] * len(free)) for split in SPLITS[:-1]])
    split_of = np.zeros(len(bound), dtype=np.int64)
    split_of[order] = np.searchsorted(ends, before, side="right")
    rank = np.zeros(len(bound), dtype=np.int64)
    rank[order] = np.arange(len(order))
    parts = {}
    for number, split in enumerate(SPLITS):
        mine = np.flatnonzero(split_of[group] == number)
        parts[split] = mine[np.argsort(rank[group[mine]], kind="stable")]
        if not len(parts[split]):
            raise ValueError(
                f"{len(free)} images that may be in any split, of {len(order)} groups, leave none for {split}: "
                f"more of them need labels, or data.source.fractions.{split} must be larger (images without a class, "
                "with their whole groups, are pretrain's)"
            )
    return parts


def _mixed(group: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The different groups in random order, of each class (of a group's first image) as many in every stretch."""
    different, first = np.unique(group, return_index=True)
    shuffled = rng.permutation(len(different))
    kind = classes[first][shuffled]
    place = np.zeros(len(kind))
    for number in np.unique(kind):
        mine = np.flatnonzero(kind == number)
        # every class spread evenly over 0 to 1: sorted by place, any stretch has its share of each
        place[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
    mixed: np.ndarray = different[shuffled][np.argsort(place, kind="stable")]
    return mixed
