"""compare prints where two trials differ and draws their curves."""

from __future__ import annotations

from tests.project import TINY_TRIAL, Project


def test_two_trials_are_compared(finished: Project) -> None:
    out = finished.ok("compare", "study=tiny", "trials=[0,2]", "folders.report=compared")
    trials = {t["number"]: t for t in finished.json("report/metrics.json")["trials"]}
    for knob in ("optimizer.learning_rate", "method.temperature"):
        row = next(line for line in out.splitlines() if knob in line)
        assert all(f"{trials[n]['knobs'][knob]:.4g}" in row for n in (0, 2))
    assert "model.features" not in out  # the same for both
    assert f"{trials[2]['criteria']['rankme_z']:.4g}" in next(line for line in out.splitlines() if "rankme_z" in line)
    assert "<svg" in (finished.folder / "compared/compare-0-2.svg").read_text()


def test_other_than_two_known_trials_are_refused(finished: Project) -> None:
    assert "trials must be the numbers of two trials, [0,7], got [1]" in finished.refused(
        "compare", "study=tiny", "trials=[1]"
    )
    near = finished.refused("compare", "study=tiny", "trials=[0,1]", "column=rankmee_z")
    assert "names, such as rankme_z, rankme_h" in near and near.endswith("got 'rankmee_z'")
    assert "trials must be numbers of study tiny, 0 to 4, got 9" in finished.refused(
        "compare", "study=tiny", "trials=[0,9]"
    )


def test_a_trial_that_diverged_is_compared_by_its_settings(project: Project) -> None:
    project.prepare()
    short = [*TINY_TRIAL, "schedule.images=256", "study=two"]
    project.ok("train", *short, "optimizer.learning_rate=1e30")
    project.ok("train", *short)
    out = project.ok("compare", "study=two", "trials=[0,1]")
    row = next(line for line in out.splitlines() if "status" in line)
    assert "diverged" in row and "collapsed" in row
    assert "1e+30" in next(line for line in out.splitlines() if "optimizer.learning_rate" in line)
    assert "<svg" in (project.folder / "report/compare-0-1.svg").read_text()
    project.ok("train", *short, "optimizer.learning_rate=1e29")
    assert "neither of the two trials was measured" in project.refused("compare", "study=two", "trials=[0,2]")
