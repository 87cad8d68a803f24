from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.project import ROOT


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Types `make` as a person does: `make test`, which runs this suite, isn't the parent of what is typed here."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=inherited | environment, capture_output=True, text=True, timeout=120
    )


def test_a_broken_off_installation_leaves_no_finished_environment(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "constraints.txt").write_text("not a requirement !\n")
    for _ in range(2):  # and the second attempt starts afresh instead of taking what is there
        result = make(tmp_path, "test")
        assert result.returncode != 0 and "not a requirement" in result.stderr
        assert (tmp_path / ".venv").exists() and not (tmp_path / ".venv/.complete").exists()


def test_an_environment_of_somebodys_own_is_refused_and_left(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/mine.txt").write_text("mine")
    result = make(tmp_path, "test")
    assert result.returncode != 0 and "error: .venv wasn't made by make: move it away" in result.stderr
    assert (tmp_path / ".venv/mine.txt").read_text() == "mine"


def test_without_a_fitting_python_it_says_so(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "constraints.txt").touch()
    (tmp_path / "bin").mkdir()
    for name in ("make", "bash", "grep", "rm", "touch"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or name)
    (tmp_path / "bin" / "python3").write_text("#!/bin/bash\nexit 1\n")
    (tmp_path / "bin" / "python3").chmod(0o755)
    result = make(tmp_path, "test", PATH=str(tmp_path / "bin"))
    assert result.returncode != 0
    assert "error: Stepwise needs Python 3.11 or 3.12 on the PATH" in result.stderr


def test_help_lists_every_target_that_a_person_types() -> None:
    listed = [line.split(maxsplit=1) for line in make(ROOT, "help").stdout.splitlines()]
    made = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert made is not None
    assert [target for target, _ in listed] == made[1].split()
    for document in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"(?:`|^    )make ([a-z-]+)", (ROOT / document).read_text(), re.MULTILINE))
        assert named and named <= set(made[1].split())
