"""report: what the selection was worth, as one page, one table of numbers and figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from src import app

if TYPE_CHECKING:
    from src.pool import Pool
    from src.record import StudyRecord


def report(config: DictConfig) -> None:
    """Join what the stages before wrote, open the seal for the pick, write report/ and mirror it."""
    from src import check, files
    from src.device import set_up
    from src.findings import find
    from src.mirror import StudyMirror
    from src.page import render
    from src.plots import draw
    from src.record import StudyRecord
    from src.seal import open_seal

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
    chosen = _read(runs / settings["study"], "selection")
    confirmation = _confirmation(runs / settings["study"], chosen)
    probed = _probed(study) if study is not None else None
    repeated = _repeated(study) if study is not None else None
    pool = _pool(settings, study, repeated, probed)
    metrics = find(pool, chosen, confirmation, settings)
    metrics |= {"test": [], "seal": {"openings": 0}, "val": {}, "links": {}}
    if study is not None:
        mirror = StudyMirror(study)
        for one in [study, repeated] if repeated is not None else [study]:
            metrics["links"] |= StudyMirror(one).links(settings["mlflow_ui"])
    if study is not None and probed is not None:
        seal = open_seal(runs / "seal.jsonl", study, chosen, confirmation, probed["probe"])
        metrics |= {"test": seal["scores"], "seal": {"openings": seal["openings"]}, "val": _baselines(probed)}
    folder = Path(settings["folders"]["report"])
    figures = draw(folder / "figures", metrics, study, seed=settings["seed"])
    files.write_json(folder / "metrics.json", metrics)
    files.write_atomically(folder / "trials.csv", trials_csv(metrics).encode())
    files.write_atomically(folder / "choosing.csv", choosing_csv(metrics).encode())
    files.write_atomically(folder / "index.html", render(metrics, figures).encode())
    if study is not None:
        mirror.attach(folder)
    _show(folder)


def _pool(
    settings: dict[str, Any], study: StudyRecord | None, repeated: StudyRecord | None, probed: dict[str, Any] | None
) -> Pool:
    """The study with whatever labels measured of it, and with the trials that confirm repeated."""
    from src.data.pack import read_labels
    from src.pool import joined
    from src.record import labelled_pool, unlabelled_pool
    from src.trial_table import read_pool

    if study is None:
        return read_pool(Path(settings["table"]), settings["study"], probes=True, budgets=True)
    if probed is None:
        return unlabelled_pool(study, {})
    group = read_labels(study.manifest, "val")["group"]
    pool = labelled_pool(study, probed, group, _budgets(study.folder))
    if repeated is None or not (repeated.folder / "probe.json").exists():
        return pool
    again = labelled_pool(repeated, _scores(repeated, study.name), group, _budgets(repeated.folder))
    return joined(pool, again)


def _repeated(study: StudyRecord) -> StudyRecord | None:
    """The study of the trials that confirm repeated."""
    from src.confirmation import SUFFIX
    from src.record import StudyRecord

    folder = study.folder.with_name(study.name + SUFFIX)
    return StudyRecord(folder) if (folder / "study.json").exists() else None


def _budgets(folder: Path) -> dict[str, Any]:
    from src import files

    path = folder / "budget.json"
    return dict(files.read_json(path)["files"]) if path.exists() else {}


def _probed(study: StudyRecord) -> dict[str, Any] | None:
    """probe.json, or None where the data has no classes to probe with."""
    from src.data.pack import read_labels

    if not (study.manifest.folder / "labels").exists() or "class" not in read_labels(study.manifest, "val"):
        return None
    return _scores(study, study.name)


def _scores(study: StudyRecord, asked: str) -> dict[str, Any]:
    """probe.json of a study. Raises ValueError where trials came after it."""
    found: dict[str, Any] = _read(study.folder, "probe")
    later = [str(e.number) for e in study.entries if e.trained and not found["trials"].get(e.trial.key)]
    if later:
        raise ValueError(
            f"{study.folder / 'probe.json'} lacks trial {', '.join(later)}: run python -m src.probe study={asked} again"
        )
    return found


def _baselines(probed: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {probe: found["numbers"] for probe, found in scores.items()}
        for name, scores in probed["baselines"].items()
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


def _read(folder: Path, stage: str) -> Any:
    from src import files

    path = folder / f"{stage}.json"
    if not path.exists():
        raise ValueError(f"{path} is missing: run python -m src.{stage} study={folder.name} first")
    return files.read_json(path)


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
