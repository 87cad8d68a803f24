from __future__ import annotations

import numpy as np
import pytest

from src.report.loss_correlation import loss_trust, sentence, stated
from src.report.numbers import LossTrust
from src.runtime import files
from src.study.pool import TrialResult
from tests.pools import member

TRIALS, SNAPSHOTS = 12, 5


def run(number: int, losses: list[float], tops: list[float]) -> TrialResult:
    """A trial whose loss and quality went like this."""
    rights = [np.full(10, top) for top in tops]
    return member(
        number, {}, earlier=[{}] * (len(tops) - 1), losses=losses, right=rights[-1], earlier_right=rights[:-1]
    )


def runs(within: float, between: float) -> list[TrialResult]:
    """Quality rises in every run, and from run to run; the loss falls with it (+1), rises with it (-1) or neither."""
    rng = np.random.default_rng(2)
    made = []
    for i in range(TRIALS):
        tops = [0.3 + 0.02 * i + 0.05 * k for k in range(SNAPSHOTS)]
        ends = 5.0 - between * i if between else rng.uniform(2, 5)
        path = [0.01 * within * (SNAPSHOTS - 1 - k) if within else rng.uniform(-0.01, 0.01) for k in range(SNAPSHOTS)]
        made.append(run(i, [ends + step for step in path], tops))
    return made


def trusted(members: list[TrialResult], resampled: int = 200) -> LossTrust:
    return loss_trust(members, "linear", resampled=resampled, seed=0)


@pytest.mark.parametrize("within", [1, -1])
@pytest.mark.parametrize("between", [0.1, -0.1])
def test_perfect_and_inverted_losses(within: float, between: float) -> None:
    found = trusted(runs(within, between))
    assert found.within == pytest.approx(within) and found.within_interval == pytest.approx((within, within))
    sign = np.sign(between)
    assert found.between == pytest.approx(sign) and found.between_interval == pytest.approx((sign, sign))
    assert found.trials == TRIALS and found.rising_while_improving == (0 if within > 0 else TRIALS)
    inside, across = ("follows" if value > 0 else "misleads about" for value in (within, between))
    assert sentence("simclr", found) == (
        f"simclr: within a run a falling loss {inside} quality (rho {within:+.2f}); "
        f"between runs a lower loss {across} it (rho {sign:+.2f})."
    )


def test_a_loss_that_has_nothing_to_do_with_quality() -> None:
    found = trusted(runs(0, 0))
    for rho, spread in ((found.within, found.within_interval), (found.between, found.between_interval)):
        assert rho is not None and spread is not None
        assert abs(rho) < 0.4 and spread.low < 0 < spread.high
    assert sentence("byol", found).count("says nothing certain about") == 2


def test_a_loose_follower_is_called_one() -> None:
    rng = np.random.default_rng(1)
    members = []
    for i in range(60):
        quality = 0.3 + 0.01 * i
        members.append(run(i, [3.0, 2.0, 2.0 - quality + rng.normal(0, 0.6)], [0.1, 0.2, quality]))
    found = trusted(members)
    assert found.between is not None and 0 < found.between < 0.5
    assert found.between_interval is not None and found.between_interval.low > 0
    assert "between runs a lower loss loosely follows it" in sentence("simclr", found)


def test_rising_while_improving_counts_trials_that_ended_better_while_their_loss_rose() -> None:
    up, down = [0.3, 0.4, 0.5], [0.5, 0.4, 0.3]
    members = [run(0, [1, 2, 3], up), run(1, [3, 2, 1], up), run(2, [1, 2, 3], down), run(3, [2, 3, 4], up)]
    members.append(run(4, [2, 3, 4, 1], [0.5, 0.6, 0.7, 0.4]))  # against each other, but it ended worse
    assert trusted(members).rising_while_improving == 2


def test_within_is_the_mean_over_trials() -> None:
    up = [0.3, 0.4, 0.5]
    found = trusted([run(0, [3, 2, 1], up), run(1, [3, 2, 1], up), run(2, [1, 2, 3], up), run(3, [2, 1, 3], up)])
    assert found.within == pytest.approx((1 + 1 - 1 - 0.5) / 4)
    assert found.within_interval is not None and found.within is not None
    assert found.within_interval.low < found.within < found.within_interval.high


def test_too_little_to_say() -> None:
    for members in ([], [run(0, [2, 1, 0], [0.1, 0.2, 0.3])], [run(i, [2, 1], [0.1, 0.2]) for i in range(8)]):
        assert "too few trials or snapshots" in sentence("simclr", trusted(members))
    assert trusted([]).trials == 0


def test_trials_without_a_loss_or_a_score_take_no_part() -> None:
    members = runs(1, 0.1)
    unscored = member(90, {}, losses=[1.0])
    assert trusted([*members, unscored, member(91, status="diverged")]) == trusted(members)
    assert loss_trust(members, "knn", resampled=50, seed=0).trials == 0


def test_runs_that_stand_still_say_nothing_of_within() -> None:
    """Resamples of nothing but such runs have no mean either."""
    still = [run(i, [3, 2, 1], [0.5, 0.5, 0.5]) for i in range(4)]
    found = trusted([*still, run(9, [3, 2, 1], [0.1, 0.2, 0.3])])
    assert found.within == pytest.approx(1) and found.within_interval == pytest.approx((1, 1))
    assert trusted(still).within is None and trusted(still).within_interval is None


def test_the_same_seed_gives_the_same_intervals() -> None:
    assert trusted(runs(0, 0)) == trusted(runs(0, 0))


def test_what_files_keep_is_the_trust_with_its_sentence() -> None:
    alone, among_collapsed = trusted(runs(1, 0.1)), trusted(runs(-1, -0.1))
    kept = stated("simclr", alone, with_collapsed=among_collapsed)
    assert kept.within == alone.within and kept.between_interval == alone.between_interval
    assert kept.sentence == sentence("simclr", alone) and kept.with_collapsed == among_collapsed
    assert "with_collapsed" not in files.plain(stated("simclr", alone))  # type: ignore[operator]  # an object
