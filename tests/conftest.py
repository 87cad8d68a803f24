"""Every signature of what computes with tensors is checked by beartype and jaxtyping while tests run."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: the suite has a worker for each of two cores

import pytest
from jaxtyping import install_import_hook

import tests.typecheck  # noqa: F401  (before the hook, which names it)

CHECKED = [f"src.{name}" for name in ("criteria", "methods", "models", "probes")]
CHECKED += [f"src.augmentation.{name}" for name in ("affine", "colour", "draws", "pixels")]  # recipes are open
CHECKED += ["src.data.pack", "src.data.source"]  # budgets refuses wrong types itself
install_import_hook([*CHECKED, "src.evaluation.embeddings", "src.trial.loop"], "tests.typecheck.check")

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

from tests import forked  # noqa: E402
from tests.project import Project, finished_study  # noqa: E402

SLOW = (  # modules, half for each of two workers
    ("test_pipeline", "test_report", "test_sharing", "test_next_commands", "test_rounds", "test_owned"),
    ("test_faults", "test_command_line", "test_interrupts", "test_compile", "test_selection"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones come first in either half of the tests.

    Each of two workers begins with a half, and ends with what it takes over of the other's last ones: that is quick
    then, and tests that share what takes long to make stay together.
    """
    first, second = ([item for item in items if item.path.stem in half] for half in SLOW)
    others = [item for item in items if not any(item.path.stem in half for half in SLOW)]
    left = max(0, len(items) // 2 - len(first))
    items[:] = [*first, *others[:left], *second, *others[left:]]


def shared(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> Path:
    """A folder that whichever worker of the suite needs it first makes for all of them."""
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = base / name, base / f"{name}.done"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh MLflow store; making one takes seconds, so that each test gets a copy."""

    def make(folder: Path) -> None:
        from mlflow import MlflowClient

        MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()

    return shared(tmp_path_factory, "mlflow", make) / "mlflow.db"


@pytest.fixture
def project(tmp_path: Path, database: Path) -> Iterator[Project]:
    """An empty working folder in which stages run as a user types them."""
    yield Project(tmp_path / "project", database)
    forked.kill_all()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    """A tiny study carried through all stages once; tests read it and don't write to it."""
    made = shared(tmp_path_factory, "finished", lambda folder: finished_study(Project(folder, database)))
    own = tmp_path_factory.mktemp("own") / "finished"  # which doesn't change while another worker's tests look at it
    shutil.copytree(made, own)
    return Project(own, database=None)
