"""The pools of a round: which are missing, what is repeated, and the way of one into the table."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from src.evidence.findings import Findings
from src.evidence.kept import PlannedPool, keep, kept_pools, missing_pools
from src.evidence.settings import Pools, Settings
from src.evidence.stage import run
from src.evidence.training import better_half, carry
from src.runtime import files, records
from src.runtime.records import Config
from src.runtime.settings import Folders, hold
from src.study.pool import TrialResult
from src.study.results import Status
from src.study.table import read_about, write_table
from src.train.dry_run import Forecast, ForecastFile
from tests.composed import plain_of
from tests.pools import member, planted

SETTINGS = replace(
    hold("", plain_of(stage="evidence"), Settings),
    pools=Pools(of={"one": "digits", "other": "shapes"}, methods=["simclr", "byol"]),
)


def test_a_pool_is_missing_until_the_table_holds_it_with_every_seed(tmp_path: Path) -> None:
    settings = replace(SETTINGS, table=str(tmp_path / "kept.parquet"), seeds=[1])
    names = ["evidence-one-simclr", "evidence-other-simclr", "evidence-one-byol", "evidence-other-byol"]
    assert [pool.study for pool in missing_pools(settings)] == names
    whole = planted(seed=0, repeated=3, name=names[0])  # whose second seeds are 1
    half = planted(seed=0, name=names[1])
    write_table(Path(settings.table), [whole, half], {})
    assert [pool.study for pool in missing_pools(settings)] == names[1:]
    assert [pool.study for pool in missing_pools(replace(settings, seeds=[]))] == names[2:]


def scored(number: int, quality: float, *, status: Status = "complete", seed: int = 0) -> TrialResult:
    return member(number, right=np.full(10, quality), status=status, seed=seed)


def test_the_better_half_by_quality_is_repeated_and_broken_trials_are_the_worse_one() -> None:
    trials = [scored(n, quality) for n, quality in enumerate((0.2, 0.9, 0.4, 0.6))]
    assert better_half(trials, SETTINGS) == [1, 3]
    collapsed = scored(4, 1.0, status="collapsed")
    assert better_half([*trials, collapsed], SETTINGS) == [1, 3, 2]  # half of five, rounded up
    assert better_half([*trials, member(4, status="diverged"), collapsed], SETTINGS) == [1, 3, 2]
    repeated = scored(5, 0.95, seed=1)  # by an earlier run of the command
    assert better_half([*trials, repeated], replace(SETTINGS, seeds=[1])) == [1, 3]


class Stages:
    """Stands in for the stages' processes: says what was run, and leaves what a dry run leaves."""

    def __init__(self) -> None:
        self.run: list[list[str]] = []

    def __call__(self, command: list[str], *, stdout: int | None) -> subprocess.CompletedProcess[bytes]:
        words = [word for word in command[2:] if not word.startswith("folders.")]
        places = [word for word in command if word.startswith("folders.")]
        assert places[:2] == ["folders.data='my data'", "folders.runs=runs"]
        forecast = next((word.removeprefix("forecast=") for word in words if word.startswith("forecast=")), None)
        if forecast is not None:
            trial = Forecast(0, [], "0" * 16, False, flops=int(3e12), seconds=120.0, disk=1, memory=1)
            files.write_json(Path(forecast), ForecastFile([trial, trial]))
            words = [word for word in words if not word.startswith("forecast=")]
        self.run.append(words)
        return subprocess.CompletedProcess(command, 0)


def test_missing_pools_are_forecast_trained_kept_and_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stages, trained = Stages(), planted(seed=0, configurations=8, repeated=4, name="evidence-one-simclr", noise=0.02)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("src.evidence.training.subprocess.run", stages)
    monkeypatch.setattr("src.evidence.kept.git_tags", lambda: {"git.dirty": "false"})
    for module in ("kept", "training"):  # as the stages would have left it
        monkeypatch.setattr(f"src.evidence.{module}.trained_pool", lambda study, settings: trained)
    settings = replace(
        SETTINGS,
        pools=Pools(of={"one": "digits"}, methods=["simclr"]),
        folders=Folders(data="my data", runs="runs", store="runs/store", mlruns="mlruns"),
        table="kept.parquet",
        page="page.md",
        seeds=[1],
        halvings=2,
        resamples=100,
    )
    run(settings)
    best = sorted(trained.members[:8], key=lambda trial: -float(trial.last.right["linear"].mean()))[:4]
    numbers = ",".join(str(trial.number) for trial in best)
    assert stages.run == [
        ["src.prepare", "data=digits"],
        ["src.train", "-m", "pool=one", "method=simclr", "dry_run=true"],
        ["src.train", "-m", "pool=one", "method=simclr"],
        ["src.probe", "study=evidence-one-simclr", "threads=1"],
        ["src.confirm", "study=evidence-one-simclr", f"trials=[{numbers}]", "seeds=[1]"],
        ["src.probe", "study=evidence-one-simclr", "threads=1"],
        ["src.budget", "study=evidence-one-simclr", "threads=1"],
    ]
    assert "evidence-one-simclr: 6.0 TFLOP, 4 minutes" in capsys.readouterr().out
    assert read_about(Path("kept.parquet")).facts == {"evidence-one-simclr": {"git.dirty": "false"}}
    verdict = records.read(Path("page.json"), Findings, "").pools[0]
    assert (verdict.study, verdict.half, verdict.configurations) == ("evidence-one-simclr", "held-out half", 4)
    page = Path("page.md").read_text()
    run(settings)
    assert len(stages.run) == 7  # the table has it
    assert Path("page.md").read_text() == page


def test_a_stage_that_fails_ends_the_command_like_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "src.evidence.training.subprocess.run", lambda command, stdout: subprocess.CompletedProcess(command, 3)
    )
    with pytest.raises(SystemExit) as end:
        carry(PlannedPool("one", "simclr"), SETTINGS)
    assert end.value.code == 3


def test_a_pool_joins_the_others_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(SETTINGS, table=str(tmp_path / "kept.parquet"))
    earlier = ["evidence-one-byol", "evidence-gone-simclr"]  # the second of pools that are no longer wanted
    facts = {name: {"git.commit": name} for name in earlier}
    write_table(Path(settings.table), [planted(seed=0, name=name) for name in earlier], cast(Config, facts))
    monkeypatch.setattr("src.evidence.kept.trained_pool", lambda study, settings: planted(seed=1, name=study))
    monkeypatch.setattr("src.evidence.kept.git_tags", lambda: {"git.commit": "new"})
    keep("evidence-one-simclr", settings)
    about = read_about(Path(settings.table))
    assert {pool.name for pool in kept_pools(Path(settings.table))} == {"evidence-one-simclr", *earlier}
    assert about.facts == facts | {"evidence-one-simclr": {"git.commit": "new"}}
