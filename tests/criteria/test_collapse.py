"""The collapse gate's thresholds on runs that really collapsed, and on healthy narrow ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.data.pack import Manifest
from src.evaluation.snapshots import Evaluation
from src.runtime.device import set_up
from src.trial.run import run_trial
from tests.composed import packed, settings_of, trial_of


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    set_up("cpu", 1)
    return packed(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["method=vicreg", "method.variance_weight=0"], "all images map to one point"),
        (["method=vicreg", "method.variance_weight=0", "method.covariance_weight=0"], "all images map to one point"),
        (["method=vicreg", "method.covariance_weight=0"], "directions, below 1.1"),
        (["model.width=4", "model.features=8", "method.projector.dimension=4"], ""),
        (["method.temperature=2.0", "model.width=4"], ""),
        (["method=vicreg", "method.projector.dimension=32"], ""),
    ],
    ids=["no variance", "invariance alone", "no covariance", "narrow", "narrow and hot", "vicreg"],
)
def test_gate(manifest: Manifest, tmp_path: Path, overrides: list[str], expected: str) -> None:
    budget = ["schedule.images=16000", "schedule.evaluations=1", "schedule.rows=1", "evaluation.images=128"]
    trial = trial_of(manifest, tmp_path, *overrides, *budget)
    for _ in run_trial(trial, manifest, device="cpu", checkpoint_seconds=1e9):
        pass
    protocol = settings_of(*budget).evaluation
    evaluation = Evaluation(trial, manifest, protocol, [settings_of("criterion=alignment").criterion])
    evaluation.measure(trial.steps, 0.0)
    verdict = evaluation.kept.last_collapse()
    assert verdict is not None
    assert expected in verdict.reason if expected else verdict.reason == "", verdict
