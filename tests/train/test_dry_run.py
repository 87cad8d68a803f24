"""A forecast counts what training spends and keeps, and writes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from torch.utils.flop_counter import FlopCounterMode

from src.data.pack import Manifest
from src.runtime.device import set_up
from src.train import dry_run
from src.train.dry_run import TIMED_STEPS, Forecast, ForecastFile, forecast, print_forecast
from src.trial.identity import Trial
from src.trial.run import prepare, run_trial
from tests.composed import packed, settings_of, trial_of

HEADER = 4096  # bytes at most that a file of weights has beside them


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    set_up("cpu", 1)
    return packed(tmp_path_factory.mktemp("data"))


def forecast_of(trial: Trial, manifest: Manifest, *overrides: str) -> Forecast:
    return forecast(3, ["a=1"], trial, manifest, settings_of(*overrides).evaluation, "cpu")


def test_what_is_foretold_is_what_training_spends_and_keeps(manifest: Manifest, tmp_path: Path) -> None:
    trial = trial_of(manifest, tmp_path / "store", "augmentation.strength=0")  # a recipe's operations aren't counted
    foretold = forecast_of(trial, manifest)
    assert not (tmp_path / "store").exists()
    assert (foretold.number, foretold.overrides, foretold.trial, foretold.finished) == (3, ["a=1"], trial.key, False)
    with FlopCounterMode(display=False) as counter:
        for _ in run_trial(trial, manifest, device="cpu", checkpoint_seconds=1e9):
            pass
    record = trial.record()
    assert record is not None and foretold.flops == record.flops
    assert foretold.flops == pytest.approx(counter.get_total_flops(), rel=0.05)
    weights = [path.stat().st_size for path in trial.folder.rglob("*.safetensors")]
    assert len(weights) == 2
    assert sum(weights) - HEADER * len(weights) < foretold.disk < sum(weights)


def test_a_finished_trial_costs_nothing_more(manifest: Manifest, tmp_path: Path) -> None:
    short = ["schedule.images=64", "schedule.evaluations=1"]
    trial = trial_of(manifest, tmp_path / "store", *short)
    for _ in run_trial(trial, manifest, device="cpu", checkpoint_seconds=1e9):
        pass
    before = forecast_of(trial_of(manifest, tmp_path / "other", *short), manifest)
    after = forecast_of(trial, manifest)
    assert before.seconds > 0 == after.seconds and after.finished and not before.finished
    assert after.flops == before.flops


def test_minutes_are_timed_steps_and_evaluations(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At two seconds a step, by a clock of the test's own."""
    ticks = iter([5.0, 10.0, 10.0 + 2 * TIMED_STEPS] * 3)
    monkeypatch.setattr("src.train.dry_run.time.perf_counter", lambda: next(ticks))
    trial = trial_of(manifest, tmp_path / "store")
    foretold = forecast_of(trial, manifest)
    assert foretold.seconds > 2 * trial.steps
    thorough = forecast_of(trial, manifest, "evaluation.images=128")
    measuring = foretold.seconds - 2 * trial.steps
    assert thorough.seconds - 2 * trial.steps == pytest.approx(2 * measuring)
    frequent = trial_of(manifest, tmp_path / "store", "schedule.evaluations=4")
    assert forecast_of(frequent, manifest).seconds - 2 * trial.steps == pytest.approx(2 * measuring)


@pytest.mark.parametrize(("steps", "seconds"), [(1, 5.0), (2, 6.0), (3, 3.0)])
def test_a_trial_of_few_steps_is_timed_by_those(
    steps: int, seconds: float, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock stands at 5 and 10 seconds around the first step, and at 16 after the others."""
    ticks = iter([5.0, 10.0, 16.0])
    monkeypatch.setattr("src.train.dry_run.time.perf_counter", lambda: next(ticks))
    short = [f"schedule.images={32 * steps}", "schedule.evaluations=1", "schedule.rows=1"]
    trial = trial_of(manifest, tmp_path / "store", *short)
    method, optimizer = prepare(trial, manifest, "cpu")
    assert dry_run._seconds_per_step(method, optimizer, trial, manifest, "cpu") == seconds


def test_the_sums_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    one = Forecast(0, [], "0123456789abcdef", False, int(3e12), 90.0, int(2e6), int(1.5e9))
    two = replace(one, number=1, overrides=["method.temperature=0.5"], finished=True, seconds=0.0, memory=int(2.5e9))
    foretold = ForecastFile([one, two])
    assert (foretold.flops, foretold.seconds) == (int(6e12), 90.0)
    print_forecast(foretold)
    said = " ".join(capsys.readouterr().out.split())
    assert "2 trials, 6.0 TFLOP counted, 2 minutes predicted from 3 timed steps each" in said
    assert "4 MB of weights, memory up to 2.5 GB" in said
    assert "01234567 │ to train │ 3,000 │ 1.5 │ 2.0 │ nothing: the default configuration" in said
    assert "01234567 │ in store │ 3,000 │ 0.0 │ 2.0 │ temperature=0.5" in said
