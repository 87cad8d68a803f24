"""budget: the quality of every trial by a few labels alone, read from one file, cross-validated within it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from src.runtime import app

if TYPE_CHECKING:
    from src.data.budgets import Budget
    from src.probes.label_budget import LabelBudget
    from src.study.stored import Entry, StoredStudy


def budget(config: DictConfig) -> None:
    """Write budget.json of the study and of what confirmed it: each label file's skill of every last snapshot."""
    from src.confirm.confirmation import SUFFIX
    from src.runtime.console import make_console
    from src.runtime.device import set_up
    from src.study.stored import StoredStudy

    settings: Any = OmegaConf.to_container(config, resolve=True)
    set_up("cpu", settings["threads"])
    folder = Path(settings["folders"]["runs"]) / settings["study"]
    repeated = folder.with_name(folder.name + SUFFIX)
    names = [
        _budget_study(StoredStudy(one, settings["folders"].values()), settings)
        for one in ([folder, repeated] if (repeated / "study.json").exists() else [folder])
    ]
    make_console().print(
        f"next: python -m src.selection study={settings['study']} rule=labels_{names[0]}", highlight=False
    )


def _budget_study(study: StoredStudy, settings: dict[str, Any]) -> str:
    """Score one study; returns the name of its first label file."""
    from rich.progress import track

    from src.data.budgets import read_budget
    from src.data.pack import read_names
    from src.runtime import files
    from src.runtime.console import make_console
    from src.runtime.records import BudgetFile, check_replaceable
    from src.study.stored import BUDGET_FORMAT, read_budgets
    from src.study.tables import budget_table

    check_replaceable(study.folder / "budget.json", BudgetFile, "budget")
    folder = study.manifest.folder / "budgets"
    paths = [Path(settings["file"])] if settings["file"] else sorted(folder.glob("*.csv"))
    if not paths:
        raise ValueError(
            f"no label file in {folder}: python -m src.prepare draws some where images have classes; "
            "file=<path> names yours"
        )
    count, files_of_probe = study.manifest.splits["probe"]["count"], read_names(study.manifest, "probe")
    budgets = {path.stem: read_budget(path, count, files_of_probe) for path in paths}
    scored_by = {key: settings[key] for key in ("views", "folds", "strengths", "halves", "seed")}
    result: dict[str, Any] = {
        name: {"labels": len(found.places), "checksum": files.checksum(path), **scored_by, "trials": {}}
        for (name, found), path in zip(budgets.items(), paths, strict=True)
    }
    console = make_console()
    for entry in track(study.entries, description="scoring", console=console, transient=True):
        if entry.trained:
            for name, scored in _score(study, entry, budgets, settings).items():
                result[name]["trials"][entry.trial.key] = {"skill": scored.skill, "halves": scored.halves}
    path = study.folder / "budget.json"
    kept = read_budgets(study) if settings["file"] else {}
    files.write_json(path, {"format": BUDGET_FORMAT, "study": study.name, "files": kept | result})
    console.print(budget_table(study, result))
    console.print(f"written: {path}", highlight=False)
    return min(result)


def _score(
    study: StoredStudy, entry: Entry, budgets: dict[str, Budget], settings: dict[str, Any]
) -> dict[str, LabelBudget]:
    """What each budget says of a trial; the images of all budgets are encoded once."""
    import numpy as np
    import torch

    from src.data.pack import open_images
    from src.evaluation.embeddings import encode, views_of
    from src.probes.label_budget import label_budget

    needed = np.unique(np.concatenate([found.places for found in budgets.values()]))
    images = torch.from_numpy(open_images(study.manifest, "probe")[needed])
    method = entry.trial.method(entry.trial.snapshot_steps()[-1], study.manifest.shape)
    plain = encode(method.encoder, images, study.manifest)
    found = {}
    for name, few in budgets.items():
        place = np.searchsorted(needed, few.places)
        features = plain[place][:, None]
        if min(len(np.unique(few.groups[few.classes == c])) for c in np.unique(few.classes)) < 2:
            features = views_of(method, images[place], study.manifest, study.protocol, settings["views"])
        classes, groups = torch.from_numpy(few.classes), torch.from_numpy(few.groups)
        keys = {key: settings[key] for key in ("folds", "strengths", "halves", "seed")}
        found[name] = label_budget(features, classes, groups, **keys)
    return found


if __name__ == "__main__":
    app.run(budget, "budget")
