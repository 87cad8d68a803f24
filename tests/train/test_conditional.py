"""Search spaces in which a key exists only where another has some value."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from src.train.conditional import GROUPS, Term, split_off
from tests.project import ROOT, TINY_TRIAL, Project

OWN = {"simclr": {"method.temperature"}, "byol": {"method.momentum"}, "vicreg": {"method.invariance_weight"}}
FIXED = [value for value in TINY_TRIAL if not value.startswith(("method.", "schedule."))]
SHORT = ["schedule.images=128", "schedule.evaluations=1", "schedule.rows=1"]


def proposals(project: Project) -> list[dict[str, str]]:
    """What a finished sweep proposed."""
    study = project.json("runs/mixed/study.json")
    return [dict(override.split("=", 1) for override in trial["overrides"]) for trial in study["trials"]]


def test_each_proposal_of_swept_methods_has_the_knobs_of_its_own(project: Project) -> None:
    project.prepare()
    arguments = ["-m", "sweep=random", "study=mixed", "method=choice(simclr,byol,vicreg)", "hydra.sweeper.n_trials=7"]
    arguments += [*FIXED, *SHORT, "method.projector.width=32", "method.projector.dimension=8"]
    arguments.append("optimizer=choice(sgd,adamw)")
    project.ok("train", *arguments)
    found = proposals(project)
    assert {one["method"] for one in found} == set(OWN) and {one["optimizer"] for one in found} == {"sgd", "adamw"}
    for one in found:
        for method, knobs in OWN.items():
            assert (knobs <= one.keys()) == (method == one["method"]), one
        assert "method.projector.width" not in one  # fixed by hand
        low, high = (0.01, 0.5) if one["optimizer"] == "sgd" else (0.0005, 0.02)
        assert low <= float(one["optimizer.learning_rate"]) <= high
    assert (found[0]["method"], found[0]["method.temperature"]) == ("simclr", "0.2")  # the default configuration
    log = next((project.folder / "runs/mixed").glob("log-*.jsonl"))
    before = log.read_bytes()
    project.ok("train", *arguments)
    assert log.read_bytes() == before
    space = project.json("runs/mixed/study.json")["identity"]["space"]
    assert any(line.startswith("method=byol: method.momentum=") for line in space)


def test_sizes_of_local_views_exist_where_there_are_any(project: Project) -> None:
    project.prepare()
    small = ["hydra.sweeper.n_trials=9", "method.projector.width=32", "method.projector.dimension=8"]
    arguments = ["-m", "sweep=random", "study=mixed", "method=dino", *small, "method.prototypes=24", *FIXED, *SHORT]
    project.ok("train", *arguments)
    found = proposals(project)
    assert {one["method.local_views"] for one in found} == {"0", "2", "4"}
    for one in found:
        assert ("augmentation.local.size" in one) == (one["method.local_views"] != "0")


@pytest.mark.parametrize(
    ("term", "drawn", "holds"),
    [
        (Term("a.b", ">", "0"), {"a.b": 2}, True),
        (Term("a.b", ">", "0"), {"a.b": "0"}, False),
        (Term("a.b", ">", "0"), {}, True),  # the configuration has 1
        (Term("method", "=", "byol"), {"method": "byol"}, True),
        (Term("method", "=", "byol"), {}, False),  # the configuration has simclr
        (Term("a.on", "=", "true"), {}, True),
        (Term("a.b", "=", "1.0"), {}, True),
        (Term("none", "=", "byol"), {}, False),
    ],
)
def test_a_term_holds_by_what_was_drawn_or_configured(term: Term, drawn: dict[str, object], holds: bool) -> None:
    config = OmegaConf.create({"a": {"b": 1, "on": True}, "hydra": {"runtime": {"choices": {"method": "simclr"}}}})
    assert term.holds(drawn, config) == holds


def test_a_condition_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    params = {"method.local_views": {"augmentation.local.size": "interval(0.4, 0.7)"}}
    config = OmegaConf.create({"hydra": {"overrides": {"task": []}, "sweeper": {"params": params}}})
    with pytest.raises(ValueError, match=r"must be key=value or key>number, got method\.local_views"):
        split_off(config, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["sweep=random", "method=choice(simsiam,byol)", "method.predictor.depth=2"],
            "method.predictor.width has other choices under method=simsiam and method=byol, which Optuna can't draw",
        ),
        (
            ["sweep=tpe", "optimizer=choice(adamw,sgd)"],
            "optimizer.learning_rate has other ranges under optimizer=adamw and optimizer=sgd, which misleads a guided",
        ),
        (["sweep=random", "method=choice(simclr,mae)"], "method=mae: method=mae masks patches and needs a transformer"),
        (
            ["sweep=random", "method=choice(simclr,byol)", "batch_size=choice(32,5000)"],
            "the search space has batch_size=5000: batch_size must be at most",
        ),
    ],
)
def test_what_cannot_be_drawn_or_trained_is_refused_before_the_first_trial(
    arguments: list[str], message: str, project: Project
) -> None:
    project.prepare()
    default = ["method=simsiam"] if "simsiam" in message else []
    assert message in project.refused("train", "-m", *FIXED, *default, *arguments)
    assert not (project.folder / "runs").exists()


@pytest.mark.parametrize("path", sorted((ROOT / "conf/space").glob("*/*.yaml")), ids=lambda path: path.stem)
def test_the_keys_of_a_space_are_keys_of_its_option(path: Path) -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", overrides=[f"{path.parent.name}={path.stem}"])
    params = yaml.safe_load(path.read_text())
    nested = [key for value in params.values() if isinstance(value, dict) for key in value]
    assert path.parent.name in GROUPS
    for key in [*(key for key, value in params.items() if not isinstance(value, dict)), *nested]:
        assert OmegaConf.select(config, key) is not None, key
