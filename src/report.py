"""report: what the selection was worth, as one page, one table of numbers and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src import app


def report(config: DictConfig) -> None:
    """Join runs/<study>/selection.json and probe.json, open the seal for the pick, write report/ and mirror it."""
    from src import files
    from src.data.pack import read_labels
    from src.device import set_up
    from src.findings import find
    from src.mirror import StudyMirror
    from src.page import render
    from src.plots import draw
    from src.record import StudyRecord
    from src.seal import open_seal

    settings: Any = OmegaConf.to_container(config, resolve=True)
    _check(settings)
    if settings["show"]:
        _show(Path(settings["folders"]["report"]))
        return
    set_up("cpu", settings["threads"])
    runs = Path(settings["folders"]["runs"])
    study = StudyRecord(runs / settings["study"])
    chosen, probed = (_read(study.folder, stage) for stage in ("selection", "probe"))
    metrics = find(study, probed, chosen, read_labels(study.manifest, "val")["group"], settings)
    seal = open_seal(runs / "seal.jsonl", study, chosen, probed["probe"])
    metrics |= {
        "test": seal["scores"],
        "seal": {"openings": seal["openings"]},
        "picked": [winner["number"] for winner in chosen["winners"]],
        "shown": sorted({chosen["criterion"]["name"], "rankme", "train_loss"} & set(study.criteria)),
    }
    folder = Path(settings["folders"]["report"])
    figures = draw(folder / "figures", study, metrics, seed=settings["seed"])
    files.write_json(folder / "metrics.json", metrics)
    files.write_atomically(folder / "trials.csv", trials_csv(metrics).encode())
    files.write_atomically(folder / "index.html", render(metrics, figures).encode())
    StudyMirror(study).attach(folder)

    _show(folder)


def _show(folder: Path) -> None:
    """Print what the last report says."""
    from src import files
    from src.screen import make_console, report_tables

    if not (folder / "metrics.json").exists():
        raise ValueError(f"{folder / 'metrics.json'} is missing: run python -m src.report first")
    console = make_console()
    console.print(*report_tables(files.read_json(folder / "metrics.json")))
    console.print(f"report: {folder / 'index.html'}\nMLflow: make ui", highlight=False)


def _check(settings: dict[str, Any]) -> None:
    from src import check

    check.flag("show", settings["show"])
    check.number("halvings", settings["halvings"], at_least=1, whole=True)
    check.number("resamples", settings["resamples"], at_least=100, whole=True)


def _read(folder: Path, stage: str) -> Any:
    from src import files

    path = folder / f"{stage}.json"
    if not path.exists():
        raise ValueError(f"{path} is missing: run python -m src.{stage} study={folder.name} first")
    return files.read_json(path)


def trials_csv(metrics: dict[str, Any]) -> str:
    """One line per trial, for `dvc plots` and spreadsheets."""
    import csv
    import io

    rows = [
        {"trial": t["number"], "status": t["status"], "knn": t.get("knn"), "linear": t.get("linear"), **t["criteria"]}
        for t in metrics["trials"]
    ]
    text = io.StringIO()
    table = csv.DictWriter(
        text, fieldnames=list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n"
    )
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


if __name__ == "__main__":
    app.run(report, "report")
