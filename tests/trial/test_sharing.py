"""One trial by two processes: started by torchrun as a user types it, or in forks that are told what it tells them."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import pytest
import torch
from torch import nn

from src.methods.untrained import Untrained
from src.models.timm_backbone import TimmBackbone
from src.trial.initial_weights import freeze
from src.trial.optim import layers
from src.trial.sharing import _own_draws, share_statistics
from tests.forked import Forked
from tests.project import HELD, ROOT, TINY_TRIAL, Project, clean_environment, held_at

LAUNCH = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
SHARED = [*TINY_TRIAL, "model.norm=group", "evaluation.collapse.spread=0.0", "evaluation.collapse.rank=1.0"]
PAIR = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}  # as the first of two, before it meets the other


HALFWAY = 150  # steps of writing, of the some 300 of a trial that keeps every step


def launched(project: Project, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*LAUNCH, *(["tests.killer"] if environment else []), "src.train", *arguments],
        cwd=project.folder,
        env=clean_environment() | {"OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def paired(project: Project, *arguments: str, **environment: str) -> list[Forked]:
    """The first process, which says what is said, and the second."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        told = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    told |= {"OMP_NUM_THREADS": "1", **environment}
    return [project.start("train", *arguments, RANK=rank, LOCAL_RANK=rank, **told) for rank in ("0", "1")]


def finished_pair(project: Project, *arguments: str) -> str:
    first, second = paired(project, *arguments)
    said = [*first.communicate(), *second.communicate()]
    assert first.returncode == second.returncode == 0, said
    assert said[2] == ""
    return said[0]


def losses(project: Project, study: str) -> list[float]:
    """Of the default configuration, row by row of its history."""
    trial = project.json(f"runs/{study}/study.json")["trials"][0]["trial"]
    return [row["loss"] for row in project.json(f"runs/store/{trial}/history.json")]


def test_every_methods_loss_and_gradients_are_those_of_the_joint_batch() -> None:
    command = [*LAUNCH, "tests.two_processes"]
    environment = clean_environment() | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    methods = len(list((ROOT / "conf/method").glob("*.yaml")))
    assert done.returncode == 0 and f"{methods} methods agree" in done.stdout, done.stdout + done.stderr


def test_a_study_by_two_processes_is_the_study_of_one(project: Project) -> None:
    """A guided sweep: every process proposes what the first one's criteria lead to."""
    project.prepare()
    space = ["-m", "sweep=tpe", "hydra.sweeper.n_trials=3", "~space/model", "~space/method"]
    space += ["hydra.sweeper.sampler.sampler.n_startup_trials=1"]
    swept = [*space, *SHARED, "optimizer.learning_rate=tag(log,interval(0.0005,0.02))"]
    out, err = (process := launched(project, *swept, "study=two")).communicate()
    assert process.returncode == 0, out + err
    assert out.count("written: runs/two/study.json") == 1 and out.count("next: python -m src.selection study=two") == 1
    project.ok("train", *swept, "study=one")
    one, two = (project.json(f"runs/{study}/study.json") for study in ("one", "two"))
    assert [trial["overrides"] for trial in one["trials"][:2]] == [trial["overrides"] for trial in two["trials"][:2]]
    assert [trial["status"] for trial in two["trials"]] == ["complete"] * 3
    assert {trial["trial"] for trial in one["trials"]}.isdisjoint(trial["trial"] for trial in two["trials"])
    ours, theirs = losses(project, "two"), losses(project, "one")  # Adam makes steps of what differs by rounding
    assert ours == pytest.approx(theirs, rel=0.01) and theirs[-1] < 0.98 * theirs[0]
    message = "takes 2 processes, and this is 1: only src.train can be started with torchrun"
    assert message in project.refused("confirm", "study=two", "trials=[0]", "seeds=[9]")


def test_killed_with_all_its_processes_it_goes_on_to_the_identical_record(project: Project) -> None:
    project.prepare()
    arguments = [*SHARED, "checkpoint_seconds=0"]
    finished_pair(project, *arguments, "study=unbroken")
    trial = project.json("runs/unbroken/study.json")["trials"][0]["trial"]
    folder = project.folder / "runs/store" / trial
    expected = (folder / "record.json").read_bytes()
    (kept := project.folder / "kept").mkdir()
    folder.rename(kept / trial)
    pair = paired(project, *arguments, "study=broken", **held_at(HALFWAY))
    project.wait_for(HELD, pair[0])
    for process in pair:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert (folder / "checkpoint.pt").exists() and not (folder / "record.json").exists()
    finished_pair(project, *arguments, "study=broken")
    assert (folder / "record.json").read_bytes() == expected


def test_shared_norms_keep_their_activation_and_stay_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's batch norms hold an activation, which torch's own conversion would lose."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    encoder = TimmBackbone((3, 32, 32), architecture="regnety_002", arguments={}).eval()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = encoder(x)
    method = Untrained(encoder)
    share_statistics(method)
    freeze(encoder, 1)
    assert torch.equal(encoder(x), before)
    encoder.train()
    synced = [module for module in encoder.modules() if isinstance(module, nn.SyncBatchNorm)]
    first = {id(module) for module in layers(encoder)[0].modules()}
    assert synced and not any(isinstance(module, nn.BatchNorm2d) for module in encoder.modules())
    assert {module.training for module in synced if id(module) in first} == {False}
    assert {module.training for module in synced if id(module) not in first} == {True}


def test_each_process_drops_out_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = nn.Sequential(nn.Dropout(0.5))
    drawn = []
    for place in ("0", "1", "1"):
        monkeypatch.setenv("RANK", place)
        torch.manual_seed(3)
        with _own_draws(encoder):
            drawn.append(encoder(torch.ones(1000)))
        drawn.append(torch.rand(5))
    assert not torch.equal(drawn[0], drawn[2]) and torch.equal(drawn[2], drawn[4])
    assert torch.equal(drawn[1], drawn[3])  # what follows is the same everywhere


@pytest.mark.parametrize(
    ("stage", "arguments", "message"),
    [
        ("train", [], "on several CPU processes choose model.norm=group"),
        ("train", ["model.norm=group", "batch_size=33"], "batch_size must be a multiple of the 2 processes, got 33"),
        ("train", ["model.norm=group", "dry_run=true"], "dry_run counts one process: run it without torchrun"),
        ("selection", ["study=tiny"], "src.selection runs in one process: leave torchrun to src.train"),
    ],
)
def test_what_two_processes_cannot_do_is_one_line(
    stage: str, arguments: list[str], message: str, finished: Project, project: Project
) -> None:
    project.copy_of(finished)
    trial = TINY_TRIAL if stage == "train" else []
    assert message in project.refused(stage, *trial, *arguments, **PAIR)


def test_the_second_process_says_nothing_of_a_refusal(finished: Project, project: Project) -> None:
    project.copy_of(finished)
    done = project.run("train", *TINY_TRIAL, **PAIR | {"RANK": "1"})
    assert done.returncode == 1 and not done.stderr.strip()


def test_a_trial_by_the_clock_stops_in_every_process(project: Project) -> None:
    project.prepare()
    arguments = [*SHARED, "schedule.images=64000", "max_hours=0.0000001"]
    out = finished_pair(project, *arguments, "study=stopped")
    assert out.count("max_hours are over; the same command goes on: python -m src.train") == 1
