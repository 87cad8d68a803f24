"""report: what the selection was worth, as one page, one table of numbers and figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from src.runtime import app

if TYPE_CHECKING:
    from src.study.stored import StoredStudy


def report(config: DictConfig) -> None:
    """Join what the stages before wrote, open the seal for the pick, write report/ and mirror it."""
    from src.report.labelled import judged_pool
    from src.report.page import render
    from src.report.plots import draw
    from src.report.summary import find
    from src.runtime import files, owned
    from src.runtime.device import set_up
    from src.study.stored import StoredStudy, check_current, read_selection
    from src.study.table import read_pool
    from src.tracking.mirror import StudyMirror

    settings: Any = OmegaConf.to_container(config, resolve=True)
    if settings["show"]:
        _show(Path(settings["folders"]["report"]))
        return
    folder = Path(settings["folders"]["report"])
    target = owned.Target(folder.parent, (folder.name,), "report", "choose folders.report=<another folder>")
    owned.check(target)
    set_up("cpu", settings["threads"])
    runs = Path(settings["folders"]["runs"])
    study = None if settings["table"] else StoredStudy(runs / settings["study"], settings["folders"].values())
    chosen: dict[str, Any] = dict(read_selection(runs / settings["study"]))
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
    with owned.replacing(target) as building:
        new = building / folder.name
        figures = draw(new / "figures", metrics, study, seed=settings["seed"])
        files.write_json(new / "metrics.json", metrics)
        files.write_atomically(new / "trials.csv", trials_csv(metrics))
        files.write_atomically(new / "choosing.csv", choosing_csv(metrics))
        files.write_atomically(new / "index.html", render(metrics, figures).encode())
    if study is not None:
        StudyMirror(study).attach(folder)
    _show(folder)


def _of_the_record(
    study: StoredStudy, chosen: dict[str, Any], confirmation: dict[str, Any] | None, settings: dict[str, Any]
) -> dict[str, Any]:
    """What a kept table doesn't have: the baselines, the links to MLflow, and the test split, unsealed."""
    from src.report.labelled import repeated, scores
    from src.report.sealed_test import open_seal
    from src.tracking.mirror import StudyMirror

    again = repeated(study)
    links: dict[str, str] = {}
    for one in [study] if again is None else [study, again]:
        links |= StudyMirror(one).links(settings["mlflow_ui"])
    probed = scores(study)
    if probed is None:
        return {"links": links}
    if settings["quality"] not in probed["probe"]:
        raise ValueError(
            f"quality must be one of the probes in {study.folder / 'probe.json'}, {', '.join(probed['probe'])}, "
            f"got {settings['quality']!r}: choose another, or run python -m src.probe study={study.name} with it"
        )
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
    from src.runtime import files, records

    path = folder / "confirmation.json"
    if not path.exists():
        return None
    found = records.read(path, records.Confirmation, f"run python -m src.confirm study={folder.name} again")
    return dict(found) if found["selection"] == files.fingerprint(chosen) else None


def _show(folder: Path) -> None:
    """Print what the last report says."""
    from src.runtime import records
    from src.runtime.console import make_console
    from src.study.tables import report_tables

    if not (folder / "metrics.json").exists():
        raise ValueError(f"{folder / 'metrics.json'} is missing: run python -m src.report first")
    console = make_console()
    metrics: dict[str, Any] = dict(
        records.read(folder / "metrics.json", records.ReportNumbers, "run python -m src.report again")
    )
    console.print(*report_tables(metrics))
    for trust in metrics.get("loss", {}).values():
        console.print(trust["sentence"], highlight=False)
    console.print(f"report: {folder / 'index.html'}\nMLflow: make ui", highlight=False)


def trials_csv(metrics: dict[str, Any]) -> bytes:
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


def choosing_csv(metrics: dict[str, Any]) -> bytes:
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


def _csv(rows: list[dict[str, Any]]) -> bytes:
    from src.runtime import files

    names = list(dict.fromkeys(key for row in rows for key in row))
    return files.to_csv(names, ([row.get(name, "") for name in names] for row in rows))


if __name__ == "__main__":
    app.run(report, "report")
