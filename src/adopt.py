"""adopt: encoders that were trained elsewhere become trials of a study."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

from src.data.settings import Data
from src.evaluation.criterion import Criterion, Protocol
from src.runtime import app, files
from src.runtime.records import Config, closed
from src.runtime.settings import Folders, Name
from src.trial.config import GivenEncoder


def _files(value: object) -> object:
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError("must be a file or a list of files, [a.safetensors,b.pt]")
    return names


@closed
@dataclass(frozen=True)
class Settings(GivenEncoder):
    """What conf/adopt.yaml states."""

    study: Name
    weights: Annotated[list[str], BeforeValidator(_files)]  # each file becomes a trial
    evaluation: Protocol
    folders: Folders
    data: Data
    criterion: Criterion


def adopt(settings: Settings) -> None:
    """Keep each weight file as a trial, measure its criteria, and write runs/<study>/study.json."""
    from src.data.pack import read_manifest
    from src.evaluation.definitions import load_criteria
    from src.evaluation.protocol import check_ordered, check_protocol, warn_of_refused
    from src.runtime.device import set_up
    from src.study.log import Study
    from src.train.runner import HowToRun, StudyRunner
    from src.trial.adopted import adopt_weights
    from src.trial.method import dimensions

    # Nothing is trained: the weights are embedded once, on the CPU.
    set_up("cpu", settings.threads)
    manifest = read_manifest(settings.folders.packed(settings.data.name))
    check_protocol(settings.evaluation, manifest)
    check_ordered(settings.criterion)
    store = Path(settings.folders.store)
    criteria = load_criteria(Path(app.CONF) / "criterion", settings.criterion)
    trials = [adopt_weights(Path(path), settings, manifest, store) for path in settings.weights]
    # All files hold the same model, so the first trial's dimensions are those of all.
    warn_of_refused(criteria, settings.evaluation, dimensions(trials[0].config, manifest.shape))
    # There is no search space and no sampler: the files themselves are what makes this study this one.
    identity: Config = {
        "adopted": [trial.key for trial in trials],
        "evaluation": files.plain(settings.evaluation),
        "criterion": files.plain(settings.criterion),
    }
    how = HowToRun(
        criterion=settings.criterion,
        criteria=criteria,
        protocol=settings.evaluation,
        device="cpu",
        store=store,
        mlruns=Path(settings.folders.mlruns),
        # no training, so no checkpoint ever falls due
        checkpoint_seconds=0.0,
    )
    runner = StudyRunner(how, Study(settings.folders.of(settings.study), identity), manifest, len(trials))
    try:
        for number, (path, trial) in enumerate(zip(settings.weights, trials, strict=True)):
            runner.run(number, [f"weights={Path(path).name}"], trial)
    finally:
        # Also after an error: study.json then lists the trials that were measured before it.
        written = runner.close()
        print(f"written: {written}\nnext: python -m src.selection study={settings.study}")


if __name__ == "__main__":
    app.run(adopt, "adopt", Settings)
