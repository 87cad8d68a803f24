"""probe: the labelled quality of every trial and its snapshots, beside raw pixels and the untrained encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src import app


def probe(config: DictConfig) -> None:
    """Fit on the labels of ``probe``, score on ``val``, write runs/<study>/probe.json and mirror it to MLflow."""
    from rich.progress import track

    from src import files
    from src.device import set_up
    from src.features import Split, encode, score, trial_features
    from src.mirror import StudyMirror
    from src.record import StudyRecord
    from src.screen import make_console, probe_table
    from src.trial import build_method

    settings: Any = OmegaConf.to_container(config, resolve=True)
    set_up("cpu", settings["threads"])
    study = StudyRecord(Path(settings["folders"]["runs"]) / settings["study"])
    fitted, scored = Split(study.manifest, "probe"), Split(study.manifest, "val")
    probes = settings["probe"]
    mirror = StudyMirror(study)

    default = study.entries[0]
    untrained = build_method(default.trial.config, study.manifest.channels).eval().encoder
    result: dict[str, Any] = {
        "study": settings["study"],
        "probe": probes,
        "baselines": {
            "raw pixels": score(probes, fitted, scored, fitted.pixels(), scored.pixels()),
            "untrained encoder": score(probes, fitted, scored, encode(untrained, fitted), encode(untrained, scored)),
        },
        "trials": {},
    }
    for entry in track(study.entries, description="probing", console=make_console(), transient=True):
        snapshots = {}
        for step in entry.trial.snapshot_steps() if entry.trained else []:
            features = trial_features(entry.trial, step, [fitted, scored])
            snapshots[str(step)] = score(probes, fitted, scored, features["probe"], features["val"])
        result["trials"][entry.trial.key] = snapshots
        mirror.probed(entry, snapshots)
    path = study.folder / "probe.json"
    files.write_json(path, result)
    console = make_console()
    console.print(probe_table(study, result))
    console.print(f"written: {path}\nnext: python -m src.selection study={settings['study']}", highlight=False)


if __name__ == "__main__":
    app.run(probe, "probe")
