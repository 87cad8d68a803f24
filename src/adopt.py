"""adopt: encoders that were trained elsewhere become trials of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src.runtime import app


def adopt(config: DictConfig) -> None:
    """Keep each weight file as a trial, measure its criteria, and write runs/<study>/study.json."""
    from src.data.pack import read_manifest
    from src.evaluation.definitions import load_criteria
    from src.evaluation.protocol import check_protocol, warn_of_refused
    from src.runtime.device import set_up
    from src.study.log import Study
    from src.train.runner import StudyRunner
    from src.trial.adopted import adopt_weights
    from src.trial.identity import dimensions

    settings: Any = OmegaConf.to_container(config, resolve=True)
    set_up("cpu", settings["threads"])
    manifest = read_manifest(Path(settings["folders"]["data"]) / settings["data"]["name"])
    check_protocol(settings["evaluation"], manifest)
    wanted = settings["weights"] if isinstance(settings["weights"], list) else [settings["weights"]]
    store = Path(settings["folders"]["store"])
    criteria = load_criteria(Path(app.CONF) / "criterion", settings["criterion"])
    trials = [adopt_weights(Path(path), settings, manifest, store) for path in wanted]
    sizes = dimensions(trials[0], manifest.shape)
    warn_of_refused(criteria, settings["evaluation"], sizes)
    identity = {"adopted": [trial.key for trial in trials], "evaluation": settings["evaluation"]}
    identity["criterion"] = settings["criterion"]
    study = Study(Path(settings["folders"]["runs"]) / settings["study"], identity)
    runner_settings = settings | {"device": "cpu", "checkpoint_seconds": 0.0, "max_hours": None}
    runner = StudyRunner(runner_settings, study, manifest, criteria, len(trials))
    try:
        for number, (path, trial) in enumerate(zip(wanted, trials, strict=True)):
            runner.run(number, [f"weights={Path(path).name}"], trial)
    finally:
        path = runner.close()
        print(f"written: {path}\nnext: python -m src.selection study={settings['study']}")


if __name__ == "__main__":
    app.run(adopt, "adopt")
