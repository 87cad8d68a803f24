"""clean: list what could be deleted without losing a study, and delete it when asked to."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src import app


def clean(config: DictConfig) -> None:
    """Trials that no study lists, and cached features, which probe makes again."""
    from src import check, files
    from src.screen import make_console
    from src.show import clean_table
    from src.start import FOLDER as WEIGHTS
    from src.study import logged_trials

    settings: Any = OmegaConf.to_container(config, resolve=True)
    check.flag("delete", settings["delete"])
    runs, store = Path(settings["folders"]["runs"]), Path(settings["folders"]["store"])
    listed = {trial["trial"] for path in runs.rglob("study.json") for trial in files.read_json(path)["trials"]}
    listed |= {trial for path in runs.rglob("log-*.jsonl") for trial in logged_trials(path)}
    found = []
    for trial in sorted(path for path in store.glob("*") if path.is_dir() and path.name != WEIGHTS):
        if trial.name not in listed:
            found.append((trial, "trial that no study lists", size(trial)))
        elif (trial / "features").exists():
            found.append((trial / "features", "cached features", size(trial / "features")))
    configs = [store / trial / "config.json" for trial in listed]
    begun = {files.read_json(path).get("start", {}).get("weights") for path in configs if path.exists()}
    for kept in sorted((store / WEIGHTS).glob("*.safetensors")):
        if kept.stem not in begun:
            found.append((kept, "weights that no trial began from", kept.stat().st_size))
    console = make_console()
    console.print(clean_table(found, size(runs)))
    if not settings["delete"]:
        console.print("nothing was deleted; delete=true deletes what is listed")
        return
    for path, _, _ in found:
        if path.is_file():
            path.unlink()
            continue
        trial = store / path.relative_to(store).parts[0]
        with files.locked(trial / ".lock"):
            shutil.rmtree(path)
    console.print(f"deleted what is listed: {len(found)}")


def size(folder: Path) -> int:
    """Bytes of the files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    app.run(clean, "clean")
