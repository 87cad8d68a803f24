"""What ``python -m src.budget`` does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from src.budget.settings import Settings
from src.confirm.confirmation import SUFFIX
from src.data.budgets import Budget, read_budget
from src.data.pack import open_images, read_names
from src.evaluation.embeddings import encode, views_of
from src.probes.label_budget import label_budget
from src.runtime import files
from src.runtime.console import make_console
from src.runtime.device import set_up
from src.runtime.records import check_replaceable
from src.study.results import BUDGET_FORMAT, BudgetFile, BudgetScore, LabelFile, read_budgets
from src.study.stored import Entry, StoredStudy
from src.study.tables import budget_table


def run(settings: Settings) -> None:
    """Write budget.json of the study and of what confirmed it: the skill of every trial by each label file."""
    set_up("cpu", settings.threads)
    folder = settings.folders.of(settings.study)
    repeated = folder.with_name(folder.name + SUFFIX)
    names = []
    for one in [folder, repeated] if (repeated / "study.json").exists() else [folder]:
        names.append(_budget_study(StoredStudy(one, settings.folders.trusted()), settings))
    print(f"next: python -m src.selection study={settings.study} rule=labels_{names[0]}")


def _budget_study(study: StoredStudy, settings: Settings) -> str:
    """Score one study; returns the name of its first label file."""
    path = study.folder / "budget.json"
    check_replaceable(path, BudgetFile, "budget")
    places = _label_files(study, settings.file)
    budgets = _read(study, places)
    scores: dict[str, dict[str, BudgetScore]] = {name: {} for name in budgets}
    console = make_console()
    for entry in track(study.entries, description="scoring", console=console, transient=True):
        # Collapsed trials too: the report also judges what would have been chosen with them among the choices.
        if entry.trained:
            for name, score in _score(study, entry, budgets, settings).items():
                scores[name][entry.trial.key] = score
    result = {place.stem: _label_file(place, len(budgets[place.stem].places), scores, settings) for place in places}
    # A file of your own joins the scores of the others; without one, every file is scored anew.
    kept = read_budgets(study.folder) if settings.file else {}
    files.write_json(path, BudgetFile(BUDGET_FORMAT, study.name, kept | result))
    console.print(budget_table(study, result))
    console.print(f"written: {path}", highlight=False)
    return min(result)


def _label_files(study: StoredStudy, named: str | None) -> list[Path]:
    folder = study.manifest.folder / "budgets"
    places = [Path(named)] if named else sorted(folder.glob("*.csv"))
    if not places:
        raise ValueError(
            f"no label file in {folder}: python -m src.prepare draws some where images have classes; "
            "file=<path> names yours"
        )
    return places


def _read(study: StoredStudy, places: list[Path]) -> dict[str, Budget]:
    count, names = study.manifest.splits.probe.count, read_names(study.manifest, "probe")
    return {place.stem: read_budget(place, count, names) for place in places}


def _label_file(place: Path, labels: int, scores: dict[str, dict[str, BudgetScore]], settings: Settings) -> LabelFile:
    return LabelFile(
        labels=labels,
        checksum=files.checksum(place),
        views=settings.views,
        folds=settings.folds,
        strengths=settings.strengths,
        halves=settings.halves,
        seed=settings.seed,
        trials=scores[place.stem],
    )


def _score(study: StoredStudy, entry: Entry, budgets: dict[str, Budget], settings: Settings) -> dict[str, BudgetScore]:
    """What each budget says about a trial; the images of all budgets are encoded once."""
    needed = np.unique(np.concatenate([few.places for few in budgets.values()]))
    images = torch.from_numpy(open_images(study.manifest, "probe")[needed])
    method = entry.trial.method(entry.steps[-1], study.manifest.shape)
    plain = encode(method.encoder, images, study.manifest)
    scores = {}
    for name, few in budgets.items():
        place = np.searchsorted(needed, few.places)
        features = plain[place][:, None]
        # With one source image of some class, only views of it can be held out.
        if few.fewest_groups < 2:
            features = views_of(method, images[place], study.manifest, study.protocol, settings.views)
        scored = label_budget(
            features,
            torch.from_numpy(few.classes),
            torch.from_numpy(few.groups),
            folds=settings.folds,
            strengths=settings.strengths,
            halves=settings.halves,
            seed=settings.seed,
        )
        scores[name] = BudgetScore(scored.skill, scored.halves)
    return scores
