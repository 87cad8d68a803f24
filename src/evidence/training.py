"""Trains the pools of a round: says what each would cost, then takes each through the stages."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from rich.console import Console

from src.evidence.kept import PlannedPool, trained_pool
from src.evidence.settings import Settings
from src.runtime import records, stages
from src.study.pool import TrialResult
from src.train.dry_run import ForecastFile


def prepare(pools: list[PlannedPool], settings: Settings) -> None:
    """Pack the data of these pools where that wasn't done."""
    for data in dict.fromkeys(settings.pools.of[pool.name] for pool in pools):
        if not (settings.folders.packed(data) / "budgets").exists():
            _stage(settings, "prepare", f"data={data}")


def print_cost(pools: list[PlannedPool], settings: Settings, console: Console) -> None:
    """What is left to train, by a dry run of each pool; the second seeds of the better half come on top."""
    console.print(f"{len(pools)} pools to train; asking each what it costs", highlight=False)
    tflops = hours = 0.0
    for pool in pools:
        forecast = _forecast(pool, settings)
        tflops += forecast.flops / 1e12
        hours += forecast.seconds / 3600
        cost = f"{forecast.flops / 1e12:.1f} TFLOP, {forecast.seconds / 60:.0f} minutes"
        console.print(f"  {pool.study}: {cost}", highlight=False)
    repeated = "; more seeds of the upper half add about half of that each" if settings.seeds else ""
    console.print(
        f"first seeds: {tflops:,.0f} TFLOP, {hours:.1f} hours on one thread{repeated}. "
        "Interrupted, the same command goes on.",
        highlight=False,
    )


def _forecast(pool: PlannedPool, settings: Settings) -> ForecastFile:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "forecast.json"
        there = stages.override("forecast", str(path))
        _stage(settings, "train", "-m", *_chosen(pool), "dry_run=true", there, quiet=True)
        return records.read(path, ForecastFile, "run the same command again")


def carry(pool: PlannedPool, settings: Settings) -> None:
    """Train, probe and repeat one pool; what the store already has isn't trained again."""
    study = pool.study
    _stage(settings, "train", "-m", *_chosen(pool))
    # Probed before it is repeated, since the labels of val say which half is the better one.
    _stage(settings, "probe", f"study={study}", "threads=1")
    if settings.seeds:
        numbers = better_half(trained_pool(study, settings).members, settings)
        _stage(settings, "confirm", f"study={study}", f"trials={_listed(numbers)}", f"seeds={_listed(settings.seeds)}")
        # Once more, now with the repetitions.
        _stage(settings, "probe", f"study={study}", "threads=1")
    _stage(settings, "budget", f"study={study}", "threads=1")


def better_half(members: list[TrialResult], settings: Settings) -> list[int]:
    """The numbers of a pool's better half by quality on val, broken trials counted as worse than all others."""
    # An earlier run of this command may have left repetitions, which aren't repeated themselves.
    first = [member for member in members if member.seed not in settings.seeds]
    healthy = [member for member in first if member.status == "complete"]
    healthy.sort(key=lambda member: -float(member.last.right[settings.quality].mean()))
    half = (len(first) + 1) // 2
    return [member.number for member in healthy[:half]]


def _chosen(pool: PlannedPool) -> list[str]:
    return [f"pool={pool.name}", f"method={pool.method}"]


def _listed(numbers: list[int]) -> str:
    return f"[{','.join(map(str, numbers))}]"


def _stage(settings: Settings, stage: str, *arguments: str, quiet: bool = False) -> None:
    """Run a stage, which says itself what it does and, where it fails, why: this command then ends like it."""
    command = stages.command(stage, *arguments, folders=settings.folders)
    done = subprocess.run(command, stdout=subprocess.DEVNULL if quiet else None)
    if done.returncode:
        raise SystemExit(done.returncode)
