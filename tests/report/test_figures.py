"""What the report's figures and tables choose to show; how figures look, nobody tests."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from src.report.figures import (
    curves_figure,
    heights_of,
    importance_figure,
    parallel_figure,
    parting_figure,
    regret_figure,
    slices_figure,
)
from src.report.numbers import Importance, Judged, ReportNumbers, Way
from src.report.plots import panels, shown_trials
from src.report.summary import find, trial_row
from src.report.tables import choosing_csv, trials_csv
from src.runtime.figure_style import BLUE, GRAY, ORANGE
from src.study.pool import Pool
from tests.pools import member, planted, pool
from tests.report.known import SETTINGS, selected, sure, with_epochs

QUALITY = [0.2, 0.9, 0.5, 0.4]
LOSSES = [0.5, 0.4, 0.1, 0.3]


def numbers_of(made: Pool) -> ReportNumbers:
    return find(made, selected(made), None, SETTINGS)


def four() -> Pool:
    """The default configuration is 0, lidar_z picks 3, 1 is the best and 2 has the lowest loss."""
    rows = zip(QUALITY, LOSSES, [1.0, 2.0, 3.0, 4.0], strict=True)
    return pool([sure(i, q, {"lidar_z": lidar, "train_loss": loss}) for i, (q, loss, lidar) in enumerate(rows)])


def judged(tau: float | None, regret: float = 0.1) -> Judged:
    return Judged(tau, None, tau, None, 0.5, None, regret, None, None, None, None, None, None, pick=0)


def column(name: str, tau: float | None) -> Way:
    return Way(name, judged(tau), judged(tau), "", is_column=True, noise_floor=None)


# which are shown


def test_panels_begin_with_the_rules_columns_then_the_usual_ones_then_the_best() -> None:
    rows = [
        *(column("a", 0.1), column("train_loss", -0.5), column("b", 0.9), column("mine", 0.0), column("lidar_z", -0.9)),
        *(column("labels_5-0", 1.0), column("flat", None)),
        Way("random choice", judged(0.99), judged(0.99), "", is_column=False, noise_floor=None),
        Way("unmeasured", None, None, "not measured", is_column=True, noise_floor=None),
    ]
    shown = [way.name for way in panels(rows, ["mine"])]
    assert shown == ["mine", "lidar_z", "train_loss", "b", "a"]


def test_four_trials_are_shown_over_training_each_once() -> None:
    assert {name: row.number for name, row in shown_trials(numbers_of(four())).items()} == {
        "3: pick": 3,
        "0: default": 0,
        "2: lowest loss": 2,
        "1: best on val": 1,
    }
    made = pool([sure(0, 0.9, {"lidar_z": 2.0, "train_loss": 0.1}), sure(1, 0.2, {"lidar_z": 1.0, "train_loss": 0.2})])
    assert list(shown_trials(numbers_of(made))) == ["0: pick, default, lowest loss, best on val"]


def test_a_trials_height_is_its_quality_or_else_its_best_score() -> None:
    made = four()
    collapsed = sure(4, 0.1, status="collapsed")
    found = numbers_of(replace(made, members=[*made.members, collapsed]))
    assert heights_of(found) == pytest.approx(dict(enumerate(QUALITY)))
    blind = pool([member(i, {"lidar_z": 10.0 * i}) for i in range(3)])
    assert heights_of(numbers_of(blind)) == {0: 0, 1: 10, 2: 20}


# what they draw


def test_regrets_are_drawn_with_the_smallest_on_top() -> None:
    found = numbers_of(four())
    assert found.choosing is not None
    figure = regret_figure(found.choosing["simclr"], "lidar_z")
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    regrets = {way.name: way.judged.regret for way in found.choosing["simclr"].rows if way.judged is not None}
    assert set(names) == set(regrets) and [regrets[name] for name in names] == sorted(regrets.values(), reverse=True)
    dots = {names[int(line.get_ydata()[0])]: line for line in axes.lines if line.get_marker() == "o"}  # type: ignore[index,arg-type]
    assert dots["lidar_z"].get_color() == ORANGE and dots["default configuration"].get_color() == BLUE
    assert dots["random choice"].get_color() == GRAY
    assert float(dots["lidar_z"].get_xdata()[0]) == pytest.approx(50)  # type: ignore[index,arg-type]  # 0.9 - 0.4


def test_a_curve_that_nobody_measured_has_no_panel() -> None:
    trial = trial_row(with_epochs(0, [0.3, 0.8], [1, 9]), "linear")
    titles = [axes.get_title() for axes in curves_figure("lidar_z", "linear", {"0": trial}).axes]
    assert titles == ["training loss", "lidar_z", "linear top-1 on val"]
    assert [axes.get_title() for axes in curves_figure("labels_5-0", None, {"0": trial}).axes] == ["training loss"]


def test_steps_in_which_loss_and_quality_rise_together_are_counted() -> None:
    up = with_epochs(0, [0.3, 0.5, 0.4], [1, 1, 1], losses=[3.0, 2.0, 2.5])  # falls and gains; rises and loses
    misled = with_epochs(1, [0.3, 0.5, 0.4], [1, 1, 1], losses=[3.0, 3.5, 2.0])  # rises and gains; falls and loses
    figure = parting_figure([trial_row(one, "linear") for one in (up, misled)])
    assert figure.axes[0].get_title() == "2 of 4 steps between snapshots: both rise or both fall"


def test_a_forest_that_knows_nothing_shows_no_importances() -> None:
    knowing = Importance(0.8, {"rate": 1.5, "depth": 0.1}, {"rate": 0.1, "depth": 0.1}, agreement=0.5)
    figure = importance_figure({"quality": knowing, "lidar_z": replace(knowing, r2=-0.2, agreement=None)})
    assert [text.get_text() for text in figure.axes[0].texts] == ["1.50", "0.10", "–", "–"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        "quality (R² +0.80)",
        "lidar_z (R² -0.20)",
    ]


def test_knobs_over_decades_have_a_log_axis_and_words_have_places() -> None:
    knobs = [{"rate": 10.0**-i, "recipe": word, "depth": 2 + i} for i, word in enumerate(("a", "b", "a", "c"))]
    members = [sure(i, q, {"lidar_z": 1.0 + i}, knobs=knobs[i]) for i, q in enumerate(QUALITY)]
    found = numbers_of(pool(members))
    scales = {axes.get_xlabel(): axes.get_xscale() for axes in slices_figure(found, found.varied).axes if axes.axison}
    assert scales == {"rate": "log", "recipe": "linear", "depth": "linear"}
    (bundle,) = parallel_figure(found, found.varied).axes[0].collections
    worst, *_, best = (np.asarray(path.vertices)[:, 1] for path in bundle.get_paths())
    assert worst == pytest.approx([1, 0, 0, 0])
    assert best[0] == pytest.approx(2 / 3) and best[-1] == 1  # logarithms of 1 to 0.001


# tables


def rows_of(table: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.decode())))


def test_choosing_csv_has_two_lines_for_each_way() -> None:
    made = four()
    collapsed = sure(4, 0.1, {"lidar_z": 9.0}, status="collapsed")
    rows = rows_of(choosing_csv(numbers_of(replace(made, members=[*made.members, collapsed]))))
    alone, among_all = (row for row in rows if row["chosen_by"] == "lidar_z")
    assert (alone["method"], alone["with_collapsed"], among_all["with_collapsed"]) == ("simclr", "False", "True")
    assert (float(alone["regret"]), float(among_all["regret"])) == pytest.approx((0.5, 0.8))
    assert float(alone["tau_low"]) <= float(alone["tau"]) <= float(alone["tau_high"])
    assert alone["noise_floor"] == ""
    unmeasured = next(row for row in rows if row["chosen_by"] == "rankme_h")
    assert {name for name, value in unmeasured.items() if value} == {"method", "chosen_by", "with_collapsed"}


def test_trials_csv_has_a_line_for_each_trial() -> None:
    made = planted(seed=0)
    rows = rows_of(trials_csv(numbers_of(replace(made, members=[*made.members, member(12, status="diverged")]))))
    assert len(rows) == 13 and rows[12]["status"] == "diverged" and rows[12]["linear_top1"] == ""
    last = made.members[5].last
    assert float(rows[5]["linear_top1"]) == pytest.approx(last.probes["linear"]["top1"])
    assert float(rows[5]["lidar_z"]) == pytest.approx(last.criteria["lidar_z"])
    assert float(rows[5]["labels_all"]) == pytest.approx(made.members[5].budgets["all"])
    assert float(rows[5]["optimizer.learning_rate"]) == pytest.approx(0.006)
