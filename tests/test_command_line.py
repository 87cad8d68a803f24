"""The stages as a user types them: what they print, and the one line of every refusal."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from src.runtime import records
from src.train.dry_run import ForecastFile
from tests.project import IN_FIRST_TRIAL, ROOT, TINY_TRIAL, Project


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    project = Project(tmp_path_factory.mktemp("prepared"), database)
    project.prepare()
    return project


def test_stages_in_processes_of_their_own(project: Project) -> None:
    project.prepare()
    for stage, arguments in (("train", project.sweep(trials=1)), ("selection", ["study=tiny"])):
        result = project.run_afresh(stage, *arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        assert "Warning" not in result.stderr
    result = project.run_afresh("train", "optimizer.learning_rate=-1")
    assert result.returncode == 1 and result.stderr == "error: optimizer.learning_rate must be > 0, got -1\n"


@pytest.mark.parametrize("stage", sorted(path.stem for path in (ROOT / "conf").glob("*.yaml")))
def test_help_says_what_a_stage_does_and_how(stage: str, project: Project) -> None:
    out = project.ok(stage, "--help")
    assert f"python -m src.{stage}" in out and "Every key and its default" in out
    assert not project.files()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimizer.learning_rat=1"], "did you mean optimizer.learning_rate"),
        (["temperature=1"], "did you mean method.temperature"),
        (["methd=vicreg"], "did you mean method"),
        (["method=simcrl"], "did you mean simclr or vicreg?); the options are"),
        (["criterion=rankm"], "did you mean rankme"),
        (
            ["criterion=consensus"],
            "criterion=consensus is relative to a pool of trials and can't say of one trial how good",
        ),
        (["-m", "sweep=random", "criterion=clid"], "criterion=clid is relative to a pool of trials"),
        (
            ["-m", "sweep=random", "criterion=nesum"],
            "criterion=nesum has no better direction and can't say of one trial how good",
        ),
        (["experiment=digit"], "did you mean digits"),
        (["data=none"], "data=none doesn't exist"),
        (
            ["-m", "space/model=null"],
            "Config group override must be a string or a list. got null: ~group leaves a group",
        ),
        (["+seed=3"], "write seed=value without a +"),
        (["study=2024"], "study must be a name of letters, digits, . - and _ (quote a number), got 2024"),
        (["study=store"], "study must be another name than the trial store's, runs/store, got 'store'"),
        (
            ["hydra.run.dir=elsewhere"],
            "hydra.run.dir can't be set: what a command writes lies below its folders.<name>",
        ),
        (["-m", "hydra.sweep.dir=elsewhere"], "hydra.sweep.dir can't be set"),
        (["hydra.output_subdir=x"], "hydra.output_subdir can't be set"),
        (["hydra.job.chdir=true"], "hydra.job.chdir can't be set"),
        (
            ["folders.runs=data/digits/images/manifest.json"],
            "folders.runs must be a folder, and data/digits/images/man",
        ),
        (["data.name=été"], "data.name=été can't be read: other than plain letters need two pairs of quotes"),
        (["data.name=a[b]"], """two pairs of quotes, 'data.name="a[b]"'"""),
        (["data.name=a&b"], "data.name=a&b can't be read"),
        (["criterion=rankme,lidar"], "names several: a list stands in brackets, 'key=[a,b]'"),
        (["~data"], "data is missing"),
        (["data.source=null"], "data.source must be a group with a _target_, as the files of its folder in conf/ have"),
        (["evaluation=null"], "evaluation must be a group of keys, got None"),
        (["evaluation.collapse=null"], "evaluation.collapse must be a group of keys, got None"),
        (["data.recipe=nosuch"], "data.recipe must be one of byol, digits"),
        (["data.oriented=7"], "data.oriented must be true or false, got 7"),
        (["threads=100000"], "threads must be >= 1 and <= "),
        (["start.ignore=[fc.]"], "start.ignore is about start.weights, which is null, got ['fc.']"),
        (["-m", "hydra.sweeper.storage=sqlite:///x.db"], "hydra.sweeper.storage must stay None"),
        (["-m", "hydra.sweeper.sampler.sampler.n_startup_trials=x"], "n_startup_trials"),
        (["-m", "sweep.seed=null"], "sweep.seed must be a whole number, got None"),
        (["-m", "sweep=random", "sweep.seed=-1"], "sweep.seed must be >= 0, got -1"),
        (["-m", "sweep=grid", "sweep.seed=1"], "sweep.seed isn't a key or group of train"),
        (["sweep.seed=1.5"], "sweep.seed must be a whole number, got 1.5"),
        (["study=a/b"], "study must be a name of letters, digits, . - and _ (quote a number), got 'a/b'"),
        (["-m", "sweep=random", "evaluation.views=choice(3,10)"], "evaluation.views can't be swept, since the trials"),
        (
            ["-m", "sweep=random", "data=choice(digits,shapes)"],
            "data can't be swept, since the trials",
        ),
        (["optimizer.learning_rate="], "optimizer.learning_rate must be a number"),
        (["threads=0"], "threads must be >= 1, got 0"),
        (["device=tpu"], "device must be one of cpu, cuda, got 'tpu'"),
        (["max_hours=-1"], "max_hours must be > 0, got -1"),
        (["dry_run=maybe"], "dry_run must be true or false, got 'maybe'"),
        (["evaluation.images=100000"], "evaluation.images must be >= 2 and <= 320, got 100000"),
        (["evaluation.views=1"], "evaluation.views must be >= 2, got 1"),
        (["evaluation.images=8", "criterion=lidar"], "lidar needs more images than features"),
        (["criterion=alpha_req"], "alpha_req fits the ranks 11..15"),
        (["-m", "sweep=random", "hydra.sweeper.n_trials=0"], "n_trials must be >= 1, got 0"),
        (["-m", "sweep=random", "model.width=choice(64,128)"], "model.width is 24 by default, outside what is swept"),
        (["-m", "sweep=grid", "seed=interval(0,4)"], "a grid needs seed=choice(...)"),
        (
            ["-m", "sweep=random", "evaluation.images=200", "model.features=choice(128,512)"],
            "the search space has model.features=512: view_information needs more images",
        ),
        (
            ["-m", "evaluation.images=100", "batch_size=choice(128,512)"],
            "the search space has batch_size=512: batch_size must be at most the 320",
        ),
        (
            ["-m", "evaluation.images=100", "method.temperature=interval(0,1)"],
            "the search space has method.temperature=0.0: method.temperature must be > 0",
        ),
    ],
)
def test_refusals_of_train(prepared: Project, arguments: list[str], message: str) -> None:
    before = prepared.files()
    base = [a for a in TINY_TRIAL if a.split("=")[0] not in {b.split("=")[0] for b in arguments}]
    flags, values = [a for a in arguments if a == "-m"], [a for a in arguments if a != "-m"]
    line = prepared.refused("train", *flags, *base, *values)
    assert message in line
    assert prepared.files() == before


def test_refusals_name_the_stage_to_run_first(project: Project) -> None:
    assert "run python -m src.prepare data=digits" in project.refused("train")
    for stage in ("probe", "selection", "confirm", "budget", "report"):
        assert "run python -m src.train -m study=nothing first" in project.refused(stage, "study=nothing")
    assert "run python -m src.report study=... first" in project.refused("report", "show=true")
    assert not project.files()


@pytest.mark.parametrize("stage", ["selection", "confirm", "probe", "budget", "report", "compare", "supervised"])
def test_a_stage_that_needs_a_study_says_which_there_are(stage: str, project: Project) -> None:
    more = ["trials=[0,1]"] if stage == "compare" else []
    line = project.refused(stage, *more)
    assert line == "error: study is needed, and runs holds none: run python -m src.train -m first"
    for name in ("quick", "digits"):
        (project.folder / "runs" / name).mkdir(parents=True)
        (project.folder / "runs" / name / "study.json").write_text("{}")
    assert project.refused(stage, *more) == "error: study is needed: add study=...; runs holds digits, quick"
    if stage in ("selection", "report", "compare"):
        line = project.refused(stage, *more, "table=kept.parquet")
        assert line == "error: study is needed: add study=..., one of those that kept.parquet holds"


def test_tampered_data_is_refused(project: Project) -> None:
    project.prepare()
    path = project.folder / "data/digits/images/pretrain.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    assert "pretrain.npy was altered" in project.refused("train", *TINY_TRIAL)


def test_a_dry_run_says_what_a_sweep_costs_and_writes_nothing(prepared: Project) -> None:
    before = prepared.files()
    out = prepared.ok("train", *prepared.sweep("dry_run=true"))
    assert "3 trials" in out and "TFLOP counted" in out and "minutes predicted" in out and "memory up to" in out
    assert "nothing: the default configuration" not in out and out.count("to train") == 3
    assert prepared.files() == before


def test_a_dry_run_leaves_its_forecast_in_a_file(prepared: Project, tmp_path: Path) -> None:
    kept = tmp_path / "forecast.json"
    for trials in (2, 1):  # an earlier forecast is replaced
        out = prepared.ok("train", *prepared.sweep("dry_run=true", f"forecast={kept}", trials=trials))
        foretold = records.read(kept, ForecastFile, "")
        assert [trial.number for trial in foretold.trials] == [*range(trials)]
        assert f"written: {kept}" in out and f"{trials} trials, {foretold.flops / 1e12:.1f} TFLOP counted" in out
        assert all(trial.flops > 0 and trial.seconds > 0 and not trial.finished for trial in foretold.trials)


def test_a_forecast_takes_a_dry_run_and_a_place_of_its_own(prepared: Project, tmp_path: Path) -> None:
    taken = tmp_path / "mine.json"
    taken.write_text("[1]")
    said = prepared.refused("train", *TINY_TRIAL, "dry_run=true", f"forecast={taken}")
    assert f"{taken} isn't as it was written" in said and "move it away" in said
    assert taken.read_text() == "[1]"
    other = tmp_path / "forecast.json"
    said = prepared.refused("train", *TINY_TRIAL, f"forecast={other}")
    assert said == f"error: forecast={other} is written by a dry run alone: add dry_run=true"
    assert not other.exists() and not (prepared.folder / "runs/hand").exists()


def test_one_trial_by_hand_makes_a_study_to_select_from(project: Project) -> None:
    project.prepare()
    for rate in ("0.002", "0.004", "0.002"):
        out = project.ok("train", *TINY_TRIAL, f"optimizer.learning_rate={rate}")
    assert "next: python -m src.selection study=hand" in out
    trials = project.json("runs/hand/study.json")["trials"]
    assert [trial["number"] for trial in trials] == [0, 1]
    project.ok("selection", "study=hand")
    assert len(project.json("runs/hand/selection.json")["ranking"]) == 2
    project.ok("train", *TINY_TRIAL, "evaluation.views=4")  # measured otherwise: another study under this name
    assert len(project.json("runs/hand/study.json")["trials"]) == 1
    line = project.refused("confirm", "study=hand")
    assert "selection.json of study hand was made of another search: run python -m src.selection study=hand" in line


@pytest.mark.parametrize("sweep", ["tpe", "grid"])
def test_sweeps_start_with_the_default_configuration_and_resume(project: Project, sweep: str) -> None:
    project.prepare()
    space = ["optimizer.learning_rate=choice(0.001,0.005)", "augmentation.strength=choice(0.5,1.0)"]
    space += ["optimizer.weight_decay=0.0001", "method.temperature=0.2", "model.depth=4"]
    arguments = ["-m", f"sweep={sweep}", "study=s", *TINY_TRIAL, *space]
    if sweep == "tpe":
        arguments.append("hydra.sweeper.n_trials=3")
    project.ok("train", *arguments)
    study = project.json("runs/s/study.json")
    default = {o.partition("=")[0]: float(o.partition("=")[2]) for o in study["trials"][0]["overrides"]}
    assert default["optimizer.learning_rate"] == 0.005 and default["augmentation.strength"] == 1.0
    assert len(study["trials"]) == (3 if sweep == "tpe" else 5)
    if sweep == "grid":
        assert len({trial["trial"] for trial in study["trials"]}) == 4  # the default is one of the grid's points
    before = project.fingerprint()
    out = project.ok("train", *arguments)
    assert out.count("(from the store)") == len(study["trials"])
    assert project.fingerprint() == before


def test_a_budget_of_hours_stops_a_sweep_and_keeps_the_best_so_far(project: Project) -> None:
    project.prepare()
    out = project.ok("train", *project.sweep("max_hours=0.000001"))
    assert "max_hours are over; the same command goes on: python -m src.train -m" in out
    trials = project.json("runs/tiny/study.json")["trials"]
    assert [trial["status"] for trial in trials] == ["stopped"]
    assert "no trial to pick from (stopped: not trained to its end)" in project.refused("selection", "study=tiny")
    result = project.run("train", *project.sweep())
    assert result.returncode == 0 and result.stderr == ""  # MLflow takes what it was told otherwise before
    assert [t["status"] for t in project.json("runs/tiny/study.json")["trials"]] == ["complete"] * 3


def test_interrupting_a_sweep_keeps_finished_trials_and_says_how_to_go_on(project: Project) -> None:
    project.prepare()
    process = project.start("train", *project.sweep(trials=50))
    log = project.wait_for("runs/tiny/log-*.jsonl", process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on: python -m src.train -m sweep=random" in err and "Traceback" not in err
    assert log.read_text().count("\n") >= 1
    assert (project.folder / "runs/tiny/study.json").exists()


def test_a_second_process_on_the_same_study_is_refused(project: Project) -> None:
    project.prepare()
    process = project.held(IN_FIRST_TRIAL, "train", *project.sweep())
    assert "study tiny is being written by another process" in project.refused("train", *project.sweep())
    project.go_on()
    _, err = process.communicate()
    assert process.returncode == 0 and err == ""
    assert [trial["status"] for trial in project.json("runs/tiny/study.json")["trials"]] == ["complete"] * 3


def test_a_second_process_on_the_same_trial_is_refused(project: Project) -> None:
    project.prepare()
    process = project.held(IN_FIRST_TRIAL, "train", *TINY_TRIAL, "study=one")
    assert "is being written by another process: wait" in project.refused("train", *TINY_TRIAL, "study=two")
    project.go_on()
    _, err = process.communicate()
    assert process.returncode == 0 and err == ""
    assert "(from the store)" in project.ok("train", *TINY_TRIAL, "study=two")


def test_an_output_that_is_a_file_is_refused(project: Project) -> None:
    project.prepare()
    (project.folder / "blocked").write_text("")
    line = project.refused("train", *TINY_TRIAL, "folders.store=blocked/store")
    assert "blocked" in line
