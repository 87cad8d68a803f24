"""Encoders that were trained elsewhere: measured, probed and selected like trials, or refused with what doesn't fit."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.project import TINY_TRIAL, Project

MODEL = [o for o in TINY_TRIAL if o.startswith(("model.", "evaluation.", "threads"))]
ADOPT = [*MODEL, "model.width=24", "study=mine", "encoder_prefix=backbone.", "ignore=[fc.]"]
HEAD = "{_target_:src.models.projector.Projector,_partial_:true,width:32,depth:2,dimension:8}"


def weights_of(project: Project, number: int, study: str = "tiny") -> dict[str, Tensor]:
    trial = project.json(f"runs/{study}/study.json")["trials"][number]["trial"]
    return dict(load_file(max((project.folder / f"runs/store/{trial}/snapshots").iterdir())))


@pytest.fixture
def foreign(finished: Project, project: Project) -> Project:
    """A folder with data and two weight files under another library's names: one with its projector."""
    project.prepare()
    own = weights_of(finished, 0)
    encoder = {f"backbone.{name.removeprefix('encoder.')}": v for name, v in own.items() if name.startswith("encoder.")}
    torch.save({"state_dict": encoder | {"fc.weight": torch.zeros(3, 16)}}, project.folder / "plain.pt")
    head = {name: value for name, value in own.items() if name.startswith("projector.")}
    save_file(encoder | head, project.folder / "whole.safetensors")
    return project


def criteria(project: Project, study: str) -> dict[str, Any]:
    trial = project.json(f"runs/{study}/study.json")["trials"][0]["trial"]
    path = next((project.folder / f"runs/store/{trial}/criteria").glob("[!s]*.json"))
    values: dict[str, Any] = project.json(str(path.relative_to(project.folder)))["values"]
    return values[max(values, key=int)]


def test_an_adopted_encoder_measures_as_the_trial_it_came_from(foreign: Project, finished: Project) -> None:
    foreign.ok("adopt", *ADOPT, "weights=whole.safetensors", f"projector={HEAD}", "projector_prefix=projector.")
    ours, theirs = criteria(foreign, "mine"), criteria(finished, "tiny")
    compared = {key for key in ours if "value" in ours[key] and "loss" not in key}
    assert len(compared) > 30
    assert {key: ours[key]["value"] for key in compared} == {key: theirs[key]["value"] for key in compared}
    assert (
        "the loss of an adopted encoder is unknown" in next(v for k, v in ours.items() if "train_loss" in k)["refused"]
    )


def test_without_a_projector_there_is_no_z_and_everything_else_works(foreign: Project, finished: Project) -> None:
    out = foreign.ok("adopt", *ADOPT, "weights=[plain.pt]")
    assert "next: python -m src.selection study=mine\n" in out  # the default rule asks for h alone
    assert "warning" not in out
    measured = criteria(foreign, "mine")
    assert "the method has no projector" in next(v for k, v in measured.items() if k.startswith("rankme_z"))["refused"]
    foreign.ok("probe", "study=mine", "threads=1")
    ours = foreign.json("runs/mine/probe.json")["trials"].popitem()[1]["1"]
    theirs = finished.json("runs/tiny/probe.json")["trials"]
    last = theirs[finished.json("runs/tiny/study.json")["trials"][0]["trial"]]
    assert ours == last[max(last, key=int)]
    foreign.ok("selection", "study=mine", "draws=100")
    foreign.ok("report", "study=mine", "resamples=100", "threads=1")


def test_adopted_trials_are_not_repeated_with_other_seeds(foreign: Project) -> None:
    foreign.ok("adopt", *ADOPT, "weights=whole.safetensors", f"projector={HEAD}", "projector_prefix=projector.")
    line = foreign.refused("confirm", "study=mine", "trials=[0]")
    assert "trials 0 of study mine were adopted: confirm can't train them with other seeds" in line


def test_with_too_few_images_for_the_features_other_rules_are_named(foreign: Project) -> None:
    foreign.ok("adopt", *ADOPT, "weights=plain.pt", "evaluation.images=12")
    line = foreign.refused("selection", "study=mine")
    assert "view_information needs more images than features" in line and "raise evaluation.images" in line
    assert "rule=alignment_h has values" in line
    foreign.ok("selection", "study=mine", "rule=alignment_h", "draws=100")


def test_entries_that_share_memory_are_kept_each_for_itself(foreign: Project) -> None:
    """As torch.save keeps tied weights, which a safetensors file can't hold."""
    state = torch.load(foreign.folder / "plain.pt", weights_only=True)["state_dict"]
    first, second = (name for name in state if name.endswith(("layers.1.weight", "layers.1.bias")))
    state[first] = state[second]
    torch.save(state, foreign.folder / "tied.pt")
    foreign.ok("adopt", *ADOPT, "weights=tied.pt")
    kept = weights_of(foreign, 0, "mine")
    names = [name.replace("backbone.", "encoder.") for name in (first, second)]
    assert torch.equal(kept[names[0]], kept[names[1]])


def test_adopting_twice_changes_nothing(foreign: Project) -> None:
    foreign.ok("adopt", *ADOPT, "weights=plain.pt")
    before = foreign.fingerprint()
    foreign.ok("adopt", *ADOPT, "weights=plain.pt")
    assert foreign.fingerprint() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["ignore=[]"], "plain.pt doesn't fit the model: it has besides fc.weight"),
        (["encoder_prefix=net."], "encoder_prefix=net. begins no entry of backbone.layers.0.weight"),
        (["model.depth=5"], "it lacks encoder.layers"),
        (["model.width=16"], "it has other shapes in encoder.layers.0.weight (24, 1, 3, 3) for (16, 1, 3, 3)"),
        (["weights=none.pt"], "weights=none.pt is not a file"),
        (["criterion=consensus"], "criterion=consensus is relative to a pool of trials and can't say of one trial how"),
        (["criterion=nesum"], "criterion=nesum has no better direction and can't say of one trial how good it is"),
        (["images=0"], "images must be >= 1, got 0"),
        (["data.name=nowhere"], "no packed data in data/nowhere/images"),
    ],
)
def test_what_does_not_fit_is_named_before_anything_is_written(
    foreign: Project, changes: list[str], message: str
) -> None:
    assert message in foreign.refused("adopt", *ADOPT, "weights=plain.pt", *changes)
    assert not (foreign.folder / "runs").exists()


class Harmful:
    def __reduce__(self) -> Any:
        return (print, ("executed",))


def test_a_file_that_would_execute_something_is_refused(foreign: Project) -> None:
    (foreign.folder / "harm.pt").write_bytes(pickle.dumps(Harmful()))
    line = foreign.refused("adopt", *ADOPT, "weights=harm.pt")
    assert "neither a safetensors file nor a plain state dict" in line and "executed" not in line
    Path(foreign.folder / "broken.safetensors").write_bytes(b"no")
    assert "neither a safetensors file" in foreign.refused("adopt", *ADOPT, "weights=broken.safetensors")
    torch.save([1, 2], foreign.folder / "list.pt")
    assert "must hold a state dict, names to tensors, got list" in foreign.refused("adopt", *ADOPT, "weights=list.pt")
