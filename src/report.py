"""report: what the selection was worth, as one page, one table of numbers and figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from src import app

if TYPE_CHECKING:
    from src.record import StudyRecord


def report(config: DictConfig) -> None:
    """Join what the stages before wrote, open the seal for the pick, write report/ and mirror it."""
    from src import check, files
    from src.device import set_up
    from src.findings import find
    from src.judged_pool import judged_pool
    from src.mirror import StudyMirror
    from src.page import render
    from src.plots import draw
    from src.record import StudyRecord, check_current
    from src.trial_table import read_pool

    settings: Any = OmegaConf.to_container(config, resolve=True)
    check.flag("show", settings["show"])
    check.choice("quality", settings["quality"], ("linear", "knn"))
    check.number("halvings", settings["halvings"], at_least=1, whole=True)
    check.number("resamples", settings["resamples"], at_least=100, whole=True)
    if settings["show"]:
        _show(Path(settings["folders"]["report"]))
        return
    set_up("cpu", settings["threads"])
    runs = Path(settings["folders"]["runs"])
    study = None if settings["table"] else StudyRecord(runs / settings["study"])
    chosen = _selection(runs / settings["study"])
    confirmation = _confirmation(runs / settings["study"], chosen)
    if study is None:
        pool = read_pool(Path(settings["table"]), settings["study"], probes=True, budgets=True)
    else:
        pool = judged_pool(study)
    check_current(chosen, pool)
    metrics = find(pool, chosen, confirmation, settings)
    metrics |= {"test": [], "seal": {"openings": 0}, "val": {}, "links": {}}
    if study is not None:
        metrics |= _of_the_record(study, chosen, confirmation, settings)
    folder = Path(settings["folders"]["report"])
    figures = draw(folder / "figures", metrics, study, seed=settings["seed"])
    files.write_json(folder / "metrics.json", metrics)
    files.write_atomically(folder / "trials.csv", trials_csv(metrics).encode())
    files.write_atomically(folder / "choosing.csv", choosing_csv(metrics).encode())
    files.write_atomically(folder / "index.html", render(metrics, figures).encode())
    if study is not None:
        StudyMirror(study).attach(folder)
    _show(folder)


def _of_the_record(
    study: StudyRecord, chosen: dict[str, Any], confirmation: dict[str, Any] | None, settings: dict[str, Any]
) -> dict[str, Any]:
    """What a kept table doesn't have: the baselines, the links to MLflow, and the test split, unsealed."""
    from src.judged_pool import repeated, scores
    from src.mirror import StudyMirror
    from src.seal import open_seal

    again = repeated(study)
    links: dict[str, str] = {}
    for one in [study] if again is None else [study, again]:
        links |= StudyMirror(one).links(settings["mlflow_ui"])
    probed = scores(study)
    if probed is None:
        return {"links": links}
    seal = open_seal(study.folder.parent / "seal.jsonl", study, chosen, confirmation, probed["probe"])
    return {
        "links": links,
        "test": seal["scores"],
        "seal": {"openings": seal["openings"]},
        "val": {
            name: {probe: found["numbers"] for probe, found in scored.items()}
            for name, scored in probed["baselines"].items()
        },
    }


def _confirmation(folder: Path, chosen: dict[str, Any]) -> dict[str, Any] | None:
    """confirmation.json where it confirms this very selection."""
    from src import files

    path = folder / "confirmation.json"
    found: dict[str, Any] | None = files.read_json(path) if path.exists() else None
    return found if found and found["selection"] == files.fingerprint(chosen) else None


def _show(folder: Path) -> None:
    """Print what the last report says."""
    from src import files
    from src.screen import make_console
    from src.show import report_tables

    if not (folder / "metrics.json").exists():
        raise ValueError(f"{folder / 'metrics.json'} is missing: run python -m src.report first")
    console = make_console()
    metrics = files.read_json(folder / "metrics.json")
    console.print(*report_tables(metrics))
    for trust in metrics.get("loss", {}).values():
        console.print(trust["sentence"], highlight=False)
    console.print(f"report: {folder / 'index.html'}\nMLflow: make ui", highlight=False)


def _selection(folder: Path) -> dict[str, Any]:
    from src import files

    path = folder / "selection.json"
    if not path.exists():
        raise ValueError(f"{path} is missing: run python -m src.selection study={folder.name} first")
    return dict(files.read_json(path))


def trials_csv(metrics: dict[str, Any]) -> str:
    """One line per trial, for `dvc plots` and spreadsheets."""
    return _csv(
        [
            {key: trial[key] for key in ("number", "trial", "seed", "method", "status", "tflops")}
            | {f"{probe}_{n}": v for probe, numbers in trial["probes"].items() for n, v in numbers.items()}
            | trial["criteria"]
            | trial["knobs"]
            for trial in metrics["trials"]
        ]
    )


def choosing_csv(metrics: dict[str, Any]) -> str:
    """One line per way of choosing and method; with_collapsed says whether collapsed trials could be chosen."""
    rows = []
    for method, choosing in metrics.get("choosing", {}).items():
        for row in choosing["rows"]:
            for collapsed, found in ((False, row), (True, row["with_collapsed"])):
                flat = {"method": method, "chosen_by": row["name"], "with_collapsed": collapsed}
                for key, value in found.items():
                    if key.endswith("_interval"):
                        low, high = value or (None, None)
                        flat |= {f"{key[:-9]}_low": low, f"{key[:-9]}_high": high}
                    elif key not in ("name", "with_collapsed", "note"):
                        flat[key] = value
                rows.append(flat)
    return _csv(rows)


def _csv(rows: list[dict[str, Any]]) -> str:
    import csv
    import io

    text = io.StringIO()
    names = list(dict.fromkeys(key for row in rows for key in row))
    table = csv.DictWriter(text, fieldnames=names, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


if __name__ == "__main__":
    app.run(report, "report")
