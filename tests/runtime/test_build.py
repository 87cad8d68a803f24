"""What a config may name: the objects of its slot's own package, however a path to others is spelled."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from src.runtime.build import OPTIMIZERS, PACKAGES, build, check_targets, resolve
from src.runtime.records import Config
from tests.composed import method_settings
from tests.project import ROOT, Project

SLOTS = {"model": "model", "method": "method", "augmentation": "augmentation", "criterion": "criterion", "data": "data"}


def modules_of(package: str) -> list[str]:
    module = importlib.import_module(package)
    inside = [found.name for found in pkgutil.iter_modules(getattr(module, "__path__", []))]
    return [package, *(f"{package}.{name}" for name in inside if name != "__main__")]


@pytest.mark.parametrize("slot", sorted(PACKAGES))
def test_of_all_that_can_be_reached_from_a_slot_only_its_own_definitions_resolve(slot: str) -> None:
    reached = 0
    for module_name in modules_of(PACKAGES[slot]):
        module = importlib.import_module(module_name)
        for name in dir(module):
            found = getattr(module, name)
            if inspect.ismodule(found) and found.__name__ in modules_of(PACKAGES[slot]):
                continue  # looked through on its own
            own = (inspect.isclass(found) or inspect.isfunction(found)) and found.__module__ == module_name
            if own and not name.startswith("_"):
                assert resolve(slot, f"{module_name}.{name}") is found
                reached += 1
                deeper = [f"{module_name}.{name}.{inner}" for inner in dir(found)]
            else:
                deeper = [f"{module_name}.{name}", *(f"{module_name}.{name}.{inner}" for inner in dir(found))]
            for path in deeper:
                with pytest.raises(ValueError, match="_target_ must be"):
                    resolve(slot, path)
    assert reached > 0


@pytest.mark.parametrize(
    ("slot", "target"),
    [
        ("model", "torch.nn.modules.module.torch.load"),
        ("model", "torch.nn.modules.module.torch.hub.load"),
        ("model", "torch.nn.Linear"),
        ("model", "src.methods.simclr.SimCLR"),
        ("model", "os.system"),
        ("model", "src.tracking.client.subprocess.run"),
        ("model", "src.models.timm_backbone.timm.create_model"),
        ("model", "src.models..cnn.SmallCNN"),
        ("model", "src.models.cnn.SmallCNN "),
        ("model", "src.models.cnn"),
        ("model", ["os.system"]),
        ("model", None),
        ("criterion", "src.data.pack.np.load"),
        ("criterion", "src.data.pack.shutil.copy"),
        ("criterion", "src.prepare.folder.folder"),
        ("criterion", "np.savetxt"),
        ("probe", "src.prepare.folder.folder"),
        ("optimizer", "torch.optim.optimizer.torch.load"),
        ("optimizer", "timm.optim.create_optimizer"),
        ("data", "src.prepare.staging.shutil.rmtree"),
    ],
)
def test_what_was_run_from_received_records_is_refused(slot: str, target: Any) -> None:
    with pytest.raises(ValueError, match=f"^{slot}._target_ must be .*, got "):
        build(slot, {"_target_": target, "_partial_": True})


def test_what_stands_inside_is_held_to_the_same_rule_before_anything_is_called(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    trap: Config = {"_target_": "os.system", "command": f"touch {marker}"}
    simclr = method_settings("simclr")
    backbone: Config = {"_target_": "src.models.timm_backbone.TimmBackbone", "arguments": {"norm": [trap]}}
    for slot, config in (("method", simclr | {"projector": trap}), ("model", backbone)):
        with pytest.raises(ValueError, match="_target_ must be"):
            check_targets(slot, config)
        with pytest.raises(ValueError, match="_target_ must be"):
            build(slot, config)
    assert not marker.exists()


def test_a_head_is_no_model_of_a_method_and_no_method_a_head() -> None:
    simclr = method_settings("simclr")
    with pytest.raises(ValueError, match=r"head\._target_ must be .* defined in src\.models\.projector"):
        build("method", simclr | {"projector": simclr}, None)


def test_every_configured_target_may_stand_in_its_slot() -> None:
    for slot, folder in SLOTS.items():
        for path in (ROOT / "conf" / folder).glob("*.yaml"):
            config = method_settings(path.stem) if slot == "method" else yaml.safe_load(path.read_text())
            check_targets(slot, config)
    for path in (ROOT / "conf/probe").glob("*.yaml"):
        check_targets("probe", yaml.safe_load(path.read_text()))
    for path in (ROOT / "conf/optimizer").glob("*.yaml"):
        assert yaml.safe_load(path.read_text())["factory"]["_target_"] in OPTIMIZERS
    assert all(inspect.isclass(resolve("optimizer", name)) for name in OPTIMIZERS)


def test_an_interpolation_in_a_record_stays_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "1234")
    config: Config = {
        "_target_": "src.models.timm_backbone.TimmBackbone",
        "architecture": "${oc.env:SECRET}",
        "arguments": {},
    }
    with pytest.raises(ValueError, match=r"got '\$\{oc\.env:SECRET\}'"):
        build("model", config, (1, 8, 8))


@pytest.mark.parametrize("key", ["pretrained", "pretrained_cfg", "checkpoint_path", "cache_dir"])
def test_a_timm_model_fetches_and_loads_nothing(key: str) -> None:
    config: Config = {
        "_target_": "src.models.timm_backbone.TimmBackbone",
        "architecture": "resnet10t",
        "arguments": {key: "x"},
    }
    with pytest.raises(ValueError, match=f"model.arguments.{key} isn't taken"):
        build("model", config, (1, 8, 8))


def test_a_received_study_that_names_foreign_code_runs_none_of_it(finished: Project, tmp_path: Path) -> None:
    import json
    import shutil

    from src.runtime import files

    project = Project(tmp_path / "received", finished.folder / "mlruns/mlflow.db").copy_of(finished)
    study_path = project.folder / "runs/tiny/study.json"
    study = json.loads(study_path.read_text())
    first = study["trials"][0]["trial"]
    config = project.json(f"runs/store/{first}/config.json")
    marker = tmp_path / "ran"
    config["model"] = {"_target_": "torch.nn.modules.module.torch.os.system", "command": f"touch {marker}"}
    forged = files.fingerprint(config)
    shutil.move(project.folder / "runs/store" / first, project.folder / "runs/store" / forged)
    files.write_json(project.folder / "runs/store" / forged / "config.json", config)
    study["trials"][0]["trial"] = forged
    study_path.write_text(json.dumps(study))
    for stage in ("selection", "probe", "budget", "supervised", "confirm", "report"):
        line = project.refused(stage, "study=tiny")
        assert "model._target_ must be a class or function defined in src.models, got 'torch.nn" in line, stage
    assert not marker.exists()


def test_received_scores_that_name_foreign_code_run_none_of_it(finished: Project, tmp_path: Path) -> None:
    import json

    project = Project(tmp_path / "received", finished.folder / "mlruns/mlflow.db").copy_of(finished)
    marker, trap = tmp_path / "ran", "src.data.pack.np.load"
    path = project.folder / "runs/tiny/probe.json"
    probed = json.loads(path.read_text())
    probed["probe"]["linear"]["score"] = {
        "_target_": trap,
        "_partial_": True,
        "file": str(marker),
        "allow_pickle": True,
    }
    path.write_text(json.dumps(probed))
    line = project.refused("report", "study=tiny", "resamples=100", "threads=1")
    assert f"probe._target_ must be a class or function defined in src.probes, got '{trap}'" in line
    path = project.folder / "runs/tiny/study.json"
    study = json.loads(path.read_text())
    next(one for one in study["criteria"] if one["name"] == "consensus")["score"] = {"_target_": trap}
    path.write_text(json.dumps(study))
    line = project.refused("selection", "study=tiny", "draws=100")
    assert f"criterion._target_ must be a class or function defined in src.criteria, got '{trap}'" in line
    assert not marker.exists()
