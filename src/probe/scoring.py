"""What the probes of a study score: each trial's snapshots, and encoders beside them that no trial trained."""

from __future__ import annotations

from collections.abc import Mapping

from src.evaluation.embeddings import encode
from src.probe.features import Split, as_record, score, trial_features
from src.probe.finetuning import finetune
from src.probe.settings import Finetuning
from src.runtime.records import Step
from src.study.results import ProbeDefinition, ProbeScore, ProbeScores
from src.study.stored import Entry, StoredStudy
from src.trial.loop import Normalise
from src.trial.method import build_method


class Labels:
    """The two splits that trials are compared on: ``probe`` fits, ``val`` scores."""

    def __init__(self, study: StoredStudy) -> None:
        self.fitted, self.scored = Split(study.manifest, "probe"), Split(study.manifest, "val")

    @property
    def both(self) -> list[Split]:
        return [self.fitted, self.scored]


def score_baselines(
    study: StoredStudy, reference: StoredStudy | None, labels: Labels, probes: Mapping[str, ProbeDefinition]
) -> dict[str, ProbeScores]:
    """Raw pixels, the study's encoder untrained, and the supervised reference where there is one."""
    # One untrained encoder for the study, of its first trial's model: where models are swept, others have none.
    untrained = build_method(study.entries[0].trial.config, study.manifest.shape).eval().encoder
    features = {
        "raw pixels": [split.pixels() for split in labels.both],
        "untrained encoder": [encode(untrained, split.images, study.manifest) for split in labels.both],
    }
    for entry in reference.entries if reference is not None else []:
        if entry.trained:
            own = trial_features(entry.trial, entry.steps[-1], labels.both)
            features[f"supervised, seed {entry.trial.config.seed}"] = [own["probe"], own["val"]]
    return {
        name: score(probes, labels.fitted.labelled(bank), labels.scored.labelled(queries), last=True)
        for name, (bank, queries) in features.items()
    }


def score_trial(entry: Entry, labels: Labels, probes: Mapping[str, ProbeDefinition]) -> dict[Step, ProbeScores]:
    """Snapshot's step -> what each probe finds; empty for a trial that wasn't trained to its end."""
    scores = {}
    for step in entry.steps:
        features = trial_features(entry.trial, step, labels.both)
        fitted, scored = labels.fitted.labelled(features["probe"]), labels.scored.labelled(features["val"])
        scores[str(step)] = score(probes, fitted, scored, last=step == entry.steps[-1])
    return scores


def score_finetuned(study: StoredStudy, entry: Entry, labels: Labels, how: Finetuning) -> ProbeScore:
    """The whole encoder trained on with the labels of ``probe``: what the trial is worth as a starting point."""
    method = entry.trial.method(entry.steps[-1], study.manifest.shape)
    normalise = Normalise(study.manifest.mean, study.manifest.std, "cpu")
    labelled = labels.fitted.images, labels.fitted.classes, labels.scored.images, labels.scored.classes
    return as_record(finetune(method.encoder, normalise, *labelled, how))
