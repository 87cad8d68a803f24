"""The DVC pipeline as it is run: what it declares, what it reruns, and what survives a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from src.trial.code_checksum import imported_modules
from tests.pipeline import DVC, environment, git, make_pipeline, repro
from tests.project import HELD, ROOT, Project, held_at

STAGES = ("prepare", "train", "selection", "confirm", "probe", "budget", "report")
IN_TRAINING = 60  # steps of writing, of the some 200 of train in a process of its own
EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))


def declared(stage: str, experiment: str) -> set[str]:
    """The files a stage depends on, folders spread out."""
    deps = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][stage]["deps"]
    found: set[str] = set()
    for dep in (dep.replace("${experiment}", experiment) for dep in deps):
        path = ROOT / dep
        inside = {str(p.relative_to(ROOT)) for p in path.rglob("*") if p.is_file()} if path.is_dir() else {dep}
        found |= inside if dep.startswith(("conf", "src")) else set()
    return found


def overrides_of(stage: str, experiment: str) -> list[str]:
    command = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][stage]["cmd"]
    return [word.replace("${experiment}", experiment) for word in command.split() if "=" in word]


@cache
def composed(stage: str, experiment: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose(stage, overrides=overrides_of(stage, experiment), return_hydra_config=True)


def conf_files(stage: str, experiment: str) -> set[str]:
    """Every file below conf/ that composing the stage's command reads, as Hydra lists them."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        listed = loader.compute_defaults_list(stage, overrides_of(stage, experiment), RunMode.RUN).defaults
    names = {f"conf/{entry.config_path}.yaml" for entry in listed}
    return {name for name in names if (ROOT / name).exists()}  # the others are Hydra's own


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("stage", STAGES)
def test_every_conf_file_that_is_read_is_declared(stage: str, experiment: str) -> None:
    assert conf_files(stage, experiment) - declared(stage, experiment) == set()


def targets(config: DictConfig, *groups: str) -> list[str]:
    """The modules that a composed configuration, or some of its groups, names."""
    plain: Any = OmegaConf.to_container(config, resolve=False)

    def below(node: Any) -> list[str]:
        if not isinstance(node, dict):
            return []
        own = [node["_target_"].rpartition(".")[0]] if "_target_" in node else []
        return own + [target for value in node.values() for target in below(value)]

    return [target for group in groups or plain for target in below(plain[group])]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("stage", STAGES)
def test_every_module_that_is_imported_is_declared_and_no_other(stage: str, experiment: str) -> None:
    names = targets(composed("train", experiment), *(("data",) if stage == "prepare" else ("model", "method")))
    criteria = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "conf" / "criterion").glob("*.yaml")}
    probes = {
        name: probe
        for name, probe in composed("probe", experiment).probe.items()
        if stage != "report" or probe.snapshots == "all"
    }
    if stage == "train":
        names = [name for name in targets(composed(stage, experiment)) if name != "src.prepare.digits"]
    if stage in ("train", "confirm"):
        names += [f"src.criteria.{name}" for name in criteria]
    if stage == "selection":
        names.append("src.criteria.consensus")  # the default rule
    if stage == "report":
        names += [f"src.criteria.{name}" for name, criterion in criteria.items() if criterion["input"] == "columns"]
    if stage in ("probe", "report"):
        names += [f"src.probes.{name}" for name in probes]
    modules = imported_modules(f"src.{stage}.__main__", *names)
    needed = {str(path.relative_to(ROOT)) for path in modules.values()}
    files = {name for name in declared(stage, experiment) if name.startswith("src/")}
    assert needed - files == set()
    folders = {name.split("/")[1] for name in files}
    assert folders == {name.split("/")[1] for name in needed}, "a folder is declared that isn't reached"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    """The tiny pipeline, whose first repro was killed while it trained."""
    project = make_pipeline(tmp_path_factory.mktemp("pipeline") / "p", database, trials=3)
    stages = project.folder / "dvc.yaml"
    declared = stages.read_text()
    stages.write_text(declared.replace("python -m src.train", "python -m tests.killer src.train"))
    process = subprocess.Popen(
        [DVC, "repro"],
        cwd=project.folder,
        env=environment() | held_at(IN_TRAINING) | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    project.wait_for(HELD, process, seconds=120)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    stages.write_text(declared)
    (project.folder / HELD).unlink()
    assert list(project.folder.glob("runs/store/*/config.json"))
    assert not (project.folder / "runs/tiny/study.json").exists()
    result = repro(project)
    assert result.returncode == 0, result.stdout + result.stderr
    return project


def test_a_killed_repro_goes_on_to_the_same_study(pipeline: Project, finished: Project) -> None:
    theirs, ours = finished.fingerprint(), pipeline.fingerprint()
    listed = {trial["trial"] for trial in finished.json("runs/tiny/study.json")["trials"]}
    trials = {name for name in ours if name.startswith("runs/store") and name.split("/")[2] in listed}
    assert len(trials) > 3 * 4 and all(ours[name] == theirs[name] for name in trials)
    keep = ("number", "trial", "status", "criterion", "value")
    studies = [p.json("runs/tiny/study.json")["trials"] for p in (pipeline, finished)]
    assert [{k: t[k] for k in keep} for t in studies[0]] == [{k: t[k] for k in keep} for t in studies[1]]


def test_a_second_repro_does_nothing(pipeline: Project) -> None:
    before = {path: path.stat().st_mtime_ns for path in pipeline.files() if path.is_file() and ".dvc" not in path.parts}
    result = repro(pipeline)
    assert result.stdout.count("didn't change, skipping") == len(STAGES)
    assert "up to date" in result.stdout
    after = {path: path.stat().st_mtime_ns for path in pipeline.files() if path.is_file() and ".dvc" not in path.parts}
    assert after == before


def test_only_what_changed_is_run_again(pipeline: Project) -> None:
    path = pipeline.folder / "conf/probe/knn.yaml"
    path.write_text(path.read_text().replace("k: 20", "k: 10"))
    result = repro(pipeline)
    assert result.returncode == 0, result.stdout + result.stderr
    ran = [line.split("'")[1] for line in result.stdout.splitlines() if line.startswith("Running stage")]
    assert ran == ["probe", "report"]  # nothing that chooses


def test_metrics_plots_and_dag_say_something(pipeline: Project) -> None:
    def dvc(*arguments: str) -> str:
        return subprocess.run(
            [DVC, *arguments], cwd=pipeline.folder, env=environment(), check=True, capture_output=True, text=True
        ).stdout

    metrics = json.loads(dvc("metrics", "show", "--json"))[""]["data"]["report/metrics.json"]["data"]
    assert metrics["pool"]["trials"] == 3 + 3 * 2 and metrics["rule"] == "consensus"  # repeated by confirm
    graph = dvc("dag")
    assert all(stage in graph for stage in STAGES)
    dvc("plots", "show")
    page = (pipeline.folder / "dvc_plots/index.html").read_text()
    assert "view_information_h" in page and "linear_top1" in page


def test_the_tag_of_a_dirty_tree_ignores_what_repro_rewrites(pipeline: Project) -> None:
    assert "dvc.lock" in git(pipeline.folder, "status", "--porcelain")
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{pipeline.folder}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.number = '0'")
    assert len(runs) == 1
    assert runs[0].data.tags["git.dirty"] == "false"
    assert runs[0].data.tags["git.commit"] == git(pipeline.folder, "rev-parse", "HEAD").strip()
