"""evidence: trains the pools that criteria are judged on, keeps their trial table, and says what can be trusted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from src.runtime import app

if TYPE_CHECKING:
    from src.study.pool import Pool

PREDICTED = re.compile(r"([\d.]+) TFLOP counted, (\d+) minutes predicted")


def evidence(config: DictConfig) -> None:
    """Bring every pool into the table, one after the other, then judge the table and write the page."""
    from src.runtime import owned
    from src.runtime.console import make_console

    settings: Any = OmegaConf.to_container(config, resolve=True)
    owned.check_page(Path(settings["page"]), "# Which criteria can be trusted?", "python -m src.evidence")
    console = make_console()
    if not settings["judge_only"]:
        missing = [pool for pool in _pools(settings) if pool not in _kept(settings)]
        _print_cost(missing, settings, console)
        for name, method in missing:
            _carry(name, method, settings)
            _keep(name, method, settings)
            console.print(f"kept: {_study(name, method)} in {settings['table']}", highlight=False)
    _judge(settings, console)


def _pools(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """(pool of conf/pool/, method) of every pool."""
    return [(name, method) for method in settings["pools"]["methods"] for name in settings["pools"]["of"]]


def _study(name: str, method: str) -> str:
    return f"evidence-{name}-{method}"


def _kept(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """The pools that the table holds with every seed that is wanted."""
    from src.study.table import read_about, read_pool

    path = Path(settings["table"])
    if not path.exists():
        return []
    studies = read_about(path)["pools"]
    kept = []
    for pool in _pools(settings):
        if _study(*pool) in studies:
            members = read_pool(path, _study(*pool), probes=False, budgets=False).members
            if {member.seed for member in members} >= set(settings["seeds"]):
                kept.append(pool)
    return kept


def _print_cost(missing: list[tuple[str, str]], settings: dict[str, Any], console: Any) -> None:
    """What is left to train, by a dry run of each pool; the second seeds of the upper half come on top."""
    if not missing:
        return
    console.print(f"{len(missing)} pools to train; asking each what it costs", highlight=False)
    tflops = minutes = 0.0
    for name, method in missing:
        out = _run("train", "-m", f"pool={name}", f"method={method}", "dry_run=true", capture=True)
        found = PREDICTED.search(out)
        assert found is not None, out
        tflops, minutes = tflops + float(found[1]), minutes + float(found[2])
        console.print(f"  {_study(name, method)}: {found[1]} TFLOP, {found[2]} minutes", highlight=False)
    repeated = "; more seeds of the upper half add about half of that each" if settings["seeds"] else ""
    console.print(
        f"first seeds: {tflops:,.0f} TFLOP, {minutes / 60:.1f} hours on one thread{repeated}. "
        "Interrupted, the same command goes on.",
        highlight=False,
    )


def _run(stage: str, *arguments: str, capture: bool = False) -> str:
    command = [sys.executable, "-m", f"src.{stage}", *arguments]
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE if capture else None)
    if done.returncode:
        raise SystemExit(done.returncode)  # the stage has said why
    return done.stdout or ""


def _carry(name: str, method: str, settings: dict[str, Any]) -> None:
    """Train, probe and repeat one pool; whatever the store has is read back."""
    study, data = _study(name, method), settings["pools"]["of"][name]
    if not (Path(settings["folders"]["data"]) / data / "budgets").exists():
        _run("prepare", f"data={data}")
    _run("train", "-m", f"pool={name}", f"method={method}")
    _run("probe", f"study={study}", "threads=1")  # whose best half is repeated
    if settings["seeds"]:
        numbers, seeds = (",".join(map(str, found)) for found in (_upper_half(study, settings), settings["seeds"]))
        _run("confirm", f"study={study}", f"trials=[{numbers}]", f"seeds=[{seeds}]")
        _run("probe", f"study={study}", "threads=1")  # and these with the repetitions
    _run("budget", f"study={study}", "threads=1")


def _upper_half(study: str, settings: dict[str, Any]) -> list[int]:
    """The better half of a pool's healthy trials, by quality on val."""
    pool = _pool(study, settings)
    first = [member for member in pool.members if member.seed not in settings["seeds"]]
    ordered = sorted(
        (member for member in first if member.status == "complete"),
        key=lambda m: -float(m.last.right[settings["quality"]].mean()),
    )
    return [member.number for member in ordered[: -(-len(first) // 2)]]


def _pool(study: str, settings: dict[str, Any]) -> Pool:
    from src.report.labelled import judged_pool
    from src.study.stored import StoredStudy

    return judged_pool(StoredStudy(Path(settings["folders"]["runs"]) / study, settings["folders"].values()))


def _keep(name: str, method: str, settings: dict[str, Any]) -> None:
    """Add a finished pool, with its second seeds, to the table."""
    from src.study.table import read_about, read_pool, write_table
    from src.tracking.client import git_tags

    path, study = Path(settings["table"]), _study(name, method)
    about = read_about(path) if path.exists() else {"pools": {}, "facts": {}}
    kept = [read_pool(path, other, probes=True, budgets=True) for other in about["pools"] if other != study]
    order = list(dict.fromkeys([*(_study(*wanted) for wanted in _pools(settings)), *about["pools"]]))
    pools = sorted([*kept, _pool(study, settings)], key=lambda found: order.index(found.name))
    write_table(path, pools, about["facts"] | {study: git_tags()})


def _judge(settings: dict[str, Any], console: Any) -> None:
    from src.evidence.page import render, study_tables
    from src.evidence.rule_validation import findings
    from src.runtime import files

    pools = _whole(Path(settings["table"]))
    tuning = _whole(Path(settings["rule"]["table"])) if settings["rule"]["table"] else []
    found = findings(pools, tuning, settings)
    page = Path(settings["page"])
    files.write_json(page.with_suffix(".json"), found)
    found = files.read_json(page.with_suffix(".json"))  # the page says what is kept, in the order that it is kept in
    render(page, found, pools)
    console.print(*study_tables(found))
    console.print(f"written: {page}, {page.with_suffix('.json')}", highlight=False)


def _whole(table: Path) -> list[Pool]:
    from src.study.table import read_about, read_pool

    return [read_pool(table, name, probes=True, budgets=True) for name in read_about(table)["pools"]]


if __name__ == "__main__":
    app.run(evidence, "evidence")
