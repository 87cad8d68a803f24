"""Every jaxtyping signature of the pure functions is checked by beartype while tests run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

import tests.typecheck  # noqa: F401  (before the hook, which names it)

# constructors are left out: they refuse a wrong type themselves, and that is what tests look at
PURE = ["src.criteria", "src.probes", *(f"src.augmentation.{name}" for name in ("affine", "colour", "draws", "pixels"))]
install_import_hook(PURE, "tests.typecheck.check")

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

from tests.project import Project, finished_study  # noqa: E402


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh MLflow store; making one takes seconds, so that each test gets a copy."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def project(tmp_path: Path, database: Path) -> Project:
    """An empty working folder in which stages run as a user types them."""
    return Project(tmp_path / "project", database)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    """A tiny study carried through all stages once; tests read it and don't write to it."""
    return finished_study(Project(tmp_path_factory.mktemp("finished"), database))
