"""Every command prints the next one, and that works when it is typed: with labels, without, and with a few of them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.prepare.test_folder import write_images
from tests.project import TINY, TINY_STUDY, Project

QUICK = {  # what makes each command quick, without another outcome
    "train": [*TINY_STUDY, "model.depth=3", "hydra.sweeper.n_trials=3"],
    "selection": ["draws=100"],
    "probe": ["threads=1"],
    "budget": ["threads=1"],
    "report": ["threads=1", "resamples=100"],
}


def follow(project: Project, stage: str, *arguments: str, last: str = "") -> list[str]:
    """Type a command, and then whatever each one prints as the next, ``last`` apart; the stages that were said."""
    ran = [stage]
    out = project.ok(stage, *arguments)
    while found := re.search(r"^next: python -m src\.(\w+) (.*)$", out, re.MULTILINE):
        stage, typed = found[1], shlex.split(found[2])
        assert len(ran) < 8, ran
        if stage == last:
            return [*ran, " ".join([stage, *typed])]
        mine = {argument.partition("=")[0] for argument in QUICK.get(stage, [])}
        ran.append(stage)
        kept = [argument for argument in typed if argument.partition("=")[0] not in mine]
        out = project.ok(stage, *kept, *QUICK.get(stage, []))
    return ran


def test_with_labels(project: Project) -> None:
    assert follow(project, "prepare", *TINY) == ["prepare", "train", "selection", "probe", "report"]
    assert (project.folder / "report/index.html").exists()
    study = next(path.name for path in (project.folder / "runs").iterdir() if (path / "study.json").exists())
    report = f"report study={study}"  # run above, and with all of these at the end
    more = follow(project, "confirm", f"study={study}", "top=1", "seeds=[1]", last="report")
    assert more == ["confirm", report]
    assert follow(project, "budget", f"study={study}", "threads=1", last="report") == ["budget", "selection", report]
    assert follow(project, "supervised", f"study={study}") == ["supervised", "probe", "report"]


def test_without_labels_and_then_with_a_few(project: Project) -> None:
    write_images(project.folder / "originals", classes=False, count=240)
    base = ["data=folder", "data.name=photos", "data.source.root=originals", "data.source.size=16"]
    assert follow(project, "prepare", *base, "data.source.channels=1") == ["prepare", "train", "selection", "report"]
    names = (project.folder / "data/photos/images/probe.csv").read_text().splitlines()[1:9]
    rows = [f"{name.partition(',')[2]},{number % 2}" for number, name in enumerate(names)]
    Path(project.folder / "few.csv").write_text("\n".join(["file,class", *rows]) + "\n")
    ran = follow(project, "budget", "study=photos", "file=few.csv", "threads=1")
    assert ran == ["budget", "selection", "report"]
