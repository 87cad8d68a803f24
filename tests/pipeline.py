"""A copy of the repository with a tiny experiment, for the real `dvc repro`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from tests.project import ROOT, TINY, TINY_SPACE, TINY_STUDY, Project

DVC = str(Path(sys.executable).parent / "dvc")


def make_pipeline(folder: Path, database: Path, trials: int) -> Project:
    project = Project(folder, database).own_code()
    for name in ("dvc.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "params.yaml").write_text("experiment: tiny\n")
    (folder / "conf/data/tiny.yaml").write_text(_tiny_data())
    (folder / "conf/experiment/tiny.yaml").write_text(_tiny_experiment(trials))
    declared = (folder / "dvc.yaml").read_text().replace("conf/data/quick.yaml", "conf/data/tiny.yaml")
    (folder / "dvc.yaml").write_text(declared)
    git(folder, "init", "-q")
    git(folder, "config", "user.email", "test@example.org")
    git(folder, "config", "user.name", "test")
    (folder / ".dvc").mkdir()
    for name in ("config", ".gitignore"):
        shutil.copy(ROOT / ".dvc" / name, folder / ".dvc" / name)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "all")
    return project


def _tiny_data() -> str:
    config: dict[str, Any] = {"defaults": ["digits"], "name": "tiny"}
    return yaml.safe_dump(config | OmegaConf.to_container(OmegaConf.from_dotlist(TINY)).get("data", {}))  # type: ignore[union-attr]


def _tiny_experiment(trials: int) -> str:
    swept = {override.partition("=")[0]: override.partition("=")[2] for override in TINY_SPACE}
    fixed: Any = OmegaConf.to_container(
        OmegaConf.from_dotlist([o for o in TINY_STUDY if o.partition("=")[0] not in swept])
    )
    config = {
        "defaults": [{"override /data": "tiny"}, {"override /sweep": "random"}],
        "study": "tiny",
        **fixed,
        "hydra": {"sweeper": {"n_trials": trials, "params": swept}},
    }
    return "# @package _global_\n" + yaml.safe_dump(config, sort_keys=False)


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path, "COLUMNS": "150"}


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def repro(project: Project) -> subprocess.CompletedProcess[str]:
    return subprocess.run([DVC, "repro"], cwd=project.folder, capture_output=True, text=True, env=environment())
