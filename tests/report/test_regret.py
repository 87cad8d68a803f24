from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr

from src.report.numbers import Judged
from src.report.regret import (
    Chooser,
    budget_choosers,
    correlations,
    judge,
    noise_floor,
    one_chooser,
    random_chooser,
    rule_chooser,
    verdicts,
)
from src.report.resampling import Draws, ResampledPool, halvings, resampled_pool, resamples
from src.runtime.stats import Interval
from src.selection.rule import make_rule
from src.study.pool import Floats, TrialResult
from tests.pools import answers, member, planted, pool

SOURCES = 60


def sample_of(
    quality: Floats, *, seed: int, sources: int = SOURCES, seeds: int = 1, wobble: float = 0.0
) -> ResampledPool:
    """Configurations of these true qualities, each with some seeds that deviate from it by ``wobble``."""
    rng = np.random.default_rng([seed, 7])
    each = np.repeat(quality, seeds)
    right = answers(each + rng.normal(0, wobble, len(each)) if wobble else each, sources, seed=seed)
    configuration = np.repeat(np.arange(len(quality)), seeds)
    trials = [member(i, {}, right=row, configuration=f"c{configuration[i]}") for i, row in enumerate(right)]
    return resampled_pool(trials, "linear")


def whole_and_drawn(sample: ResampledPool, *, halved: int = 20, drawn: int = 200, seed: int = 0) -> tuple[Draws, Draws]:
    return halvings(sample, count=halved, seed=seed), resamples(sample, count=drawn, seed=seed)


def judged(choosers: list[Chooser], whole: Draws, drawn: Draws) -> Judged:
    """The verdict on what chooses something."""
    found = judge(choosers, whole, drawn)
    assert found is not None
    return found


def known(spread: Interval | None) -> Interval:
    assert spread is not None
    return spread


def known_scores(scores: Floats) -> Chooser:
    """A chooser by given scores of trials (t,)."""
    return lambda mix: mix @ scores


# correlations


@settings(max_examples=80, deadline=None)
@given(
    x=st.lists(st.one_of(st.integers(0, 4).map(float), st.just(np.nan)), min_size=8, max_size=8),
    y=st.lists(st.integers(0, 4).map(float), min_size=8, max_size=8),
)
def test_correlations_are_scipys_with_ties_and_gaps(x: list[float], y: list[float]) -> None:
    a, b = np.array(x), np.array(y)
    known = ~np.isnan(a)
    tau, rho = (float(found[0]) for found in correlations(a[None], b[None]))
    if known.sum() < 3 or np.ptp(a[known]) == 0 or np.ptp(b[known]) == 0:
        assert np.isnan(tau) and np.isnan(rho)
    else:
        assert tau == pytest.approx(kendalltau(a[known], b[known]).statistic, abs=1e-12)
        assert rho == pytest.approx(spearmanr(a[known], b[known]).statistic, abs=1e-12)


def test_correlations_of_many_rows_are_each_rows_own() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 30)), rng.normal(size=(5, 30))
    x[rng.random(x.shape) < 0.2] = np.nan
    taus, rhos = correlations(x, y)
    for a, b, tau, rho in zip(x, y, taus, rhos, strict=True):
        kept = ~np.isnan(a)
        assert tau == pytest.approx(kendalltau(a[kept], b[kept]).statistic)
        assert rho == pytest.approx(spearmanr(a[kept], b[kept]).statistic)


# the sample


def test_an_arena_holds_what_was_probed_by_configuration() -> None:
    rows = answers(np.full(4, 0.5), SOURCES, seed=0)
    members = [
        member(0, {}, right=rows[0], configuration="x"),
        member(1, {}),
        member(2, {}, right=rows[2], configuration="y"),
        member(3, {}, right=rows[3], configuration="x"),
        member(4, status="diverged"),
    ]
    sample = resampled_pool(members, "linear")
    assert [m.number for m in sample.trials] == [0, 2, 3] and sample.configuration.tolist() == [0, 1, 0]
    assert np.allclose(sample.means(sample.right), [(rows[0] + rows[3]) / 2, rows[2]])
    said = r"^no trial has a knn score on val: run python -m src\.probe study=\.\.\. first$"
    with pytest.raises(ValueError, match=said):
        resampled_pool(members, "knn")


def test_halvings_are_disjoint_halves_of_all_sources() -> None:
    """Sources that weigh powers of two: the two means tell which sources they hold."""
    weights = np.exp2(np.arange(10.0))
    sample = resampled_pool([member(0, {}, right=weights), member(1, {}, right=weights)], "linear")
    draws = halvings(sample, count=30, seed=0)
    assert np.allclose((draws.on_a + draws.on_b) * 5, weights.sum()) and len(np.unique(draws.on_a[:, 0])) > 20
    assert np.array_equal(draws.mix, np.broadcast_to(np.eye(2), (30, 2, 2)))


# regret


def test_cross_fitting_removes_the_optimism_of_the_maximum() -> None:
    """Equal trials: the naive regret of a fixed pick is the winner's curse, the cross-fitted one is zero."""
    naive, fitted = [], []
    for seed in range(40):
        sample = sample_of(np.full(16, 0.5), seed=seed, sources=100)
        draws = halvings(sample, count=5, seed=seed)
        fitted.append(verdicts(known_scores(np.eye(16)[0])(draws.mix), draws.on_a, draws.on_b).regret.mean())
        means = sample.right.mean(1)
        naive.append(means.max() - means[0])
    assert np.mean(naive) > 0.06
    assert abs(np.mean(fitted)) < 0.02


QUALITY = np.array([0.2, 0.9, 0.5, 0.4])


def sure(*, copies: int = 50) -> ResampledPool:
    """Trials whose quality no half can mistake."""
    return resampled_pool([member(i, {}, right=np.full(copies, q)) for i, q in enumerate(QUALITY)], "linear")


@pytest.mark.parametrize("pick", range(4))
def test_regret_of_separated_trials_is_their_difference(pick: int) -> None:
    draws = halvings(sure(), count=3, seed=0)
    found = verdicts(known_scores(np.eye(4)[pick])(draws.mix), draws.on_a, draws.on_b)
    regret = 0.9 - QUALITY[pick]
    assert found.regret.tolist() == pytest.approx([regret] * 3)
    assert found.over_range.tolist() == pytest.approx([regret / 0.7] * 3)
    assert found.over_random.tolist() == pytest.approx([regret / (0.9 - 0.5)] * 3)
    assert found.quality.tolist() == pytest.approx([QUALITY[pick]] * 3)
    assert found.top.tolist() == [pick == 1] * 3


def test_picks_with_equal_scores_count_with_their_mean() -> None:
    draws = halvings(sure(), count=2, seed=0)
    found = verdicts(known_scores(np.array([1.0, 1.0, 0.0, 0.0]))(draws.mix), draws.on_a, draws.on_b)
    assert found.regret.tolist() == pytest.approx([0.35] * 2) and found.top.tolist() == [0.5, 0.5]


def test_rounding_is_no_difference_to_divide_by() -> None:
    """Equal trials: the mean over them may differ from each in the last digit."""
    quality = np.full((50, 7), 0.1) + np.linspace(0, 0.9, 50)[:, None]
    residues = quality[:, 0] - quality.mean(1)
    assert 0 < residues.max() < 1e-15
    found = verdicts(np.broadcast_to(np.eye(7)[0], (50, 7)), quality, quality)
    assert np.isnan(found.over_random).all() and np.isnan(found.over_range).all() and np.all(found.regret == 0)


def test_top_is_the_best_tenth() -> None:
    quality = np.linspace(0.1, 0.9, 30)
    sample = resampled_pool([member(i, {}, right=np.full(8, q)) for i, q in enumerate(quality)], "linear")
    draws = halvings(sample, count=1, seed=0)
    tops = [float(verdicts(known_scores(row)(draws.mix), draws.on_a, draws.on_b).top[0]) for row in np.eye(30)]
    assert tops == [0.0] * 27 + [1.0] * 3


def test_rank_correlation_is_of_scores_and_quality() -> None:
    draws = halvings(sure(), count=2, seed=0)
    for scores, tau in ((QUALITY, 1), (-QUALITY, -1)):
        found = verdicts(known_scores(scores)(draws.mix), draws.on_a, draws.on_b)
        assert found.tau.tolist() == found.rho.tolist() == pytest.approx([tau] * 2)


def test_trials_without_a_score_take_no_part() -> None:
    """They aren't picked and aren't correlated, but may still have been the best choice."""
    draws = halvings(sure(), count=2, seed=0)
    scores = np.broadcast_to([1.0, np.nan, 2.0, 3.0], (2, 4))
    found = verdicts(scores, draws.on_a, draws.on_b)
    assert found.regret.tolist() == pytest.approx([0.9 - 0.4] * 2)
    assert found.tau.tolist() == pytest.approx([kendalltau([1, 2, 3], QUALITY[[0, 2, 3]]).statistic] * 2)
    empty = verdicts(np.full((2, 4), np.nan), draws.on_a, draws.on_b)
    assert all(np.isnan(values).all() for values in empty)


# choosers


def test_random_choice_has_its_own_regret() -> None:
    sample = sample_of(np.linspace(0.4, 0.8, 10), seed=0)
    whole, drawn = whole_and_drawn(sample)
    found = judged([random_chooser], whole, drawn)
    assert found.over_random == pytest.approx(1) and found.over_random_interval == pytest.approx((1, 1))
    assert found.quality == pytest.approx(sample.right.mean()) and found.regret > 0
    assert found.tau is None and found.rho is None and found.pick is None


def test_the_default_is_trial_0_where_it_was_drawn() -> None:
    sample = resampled_pool([member(i, {}, right=np.full(20, q)) for i, q in enumerate(QUALITY)][::-1], "linear")
    whole, drawn = whole_and_drawn(sample)
    found = judged([one_chooser(sample, "c0")], whole, drawn)
    assert found.pick == 3 and found.regret == pytest.approx(0.7) and found.quality == pytest.approx(0.2)
    regrets = verdicts(one_chooser(sample, "c0")(drawn.mix), drawn.on_a, drawn.on_b).regret
    there = drawn.mix[:, :, 3].sum(1) > 0
    assert np.array_equal(~np.isnan(regrets), there) and 0.5 < there.mean() < 0.85


def test_without_a_default_nothing_is_chosen() -> None:
    sample = resampled_pool([member(i + 1, {}, right=np.full(20, q)) for i, q in enumerate(QUALITY)], "linear")
    assert judge([one_chooser(sample, "c0")], *whole_and_drawn(sample)) is None


def test_the_default_goes_by_its_configuration() -> None:
    """A draw of its second seed alone is the default still."""
    sample = sample_of(QUALITY, seed=0, seeds=2)
    choose = one_chooser(sample, "c0")
    whole = choose(halvings(sample, count=1, seed=0).mix)
    assert np.array_equal(whole, [[1, np.nan, np.nan, np.nan]], equal_nan=True)
    assert np.array_equal(choose(np.eye(8)[None, [1, 2]]), [[1, np.nan]], equal_nan=True)


def columns_of(values: list[dict[str, float]], **other: Any) -> list[TrialResult]:
    right = answers(np.linspace(0.3, 0.9, len(values)), SOURCES, seed=1)
    return [member(i, v, right=right[i], **other) for i, v in enumerate(values)]


def test_a_rule_scores_configurations_by_their_mean_over_seeds() -> None:
    values = [{"train_loss": float(v)} for v in (1, 5, 3, 2)]
    members = columns_of(values)
    made = pool([replace(m, configuration=f"c{i % 2}") for i, m in enumerate(members)])
    sample = resampled_pool(made.members, "linear")
    choose = rule_chooser(sample, make_rule(made, "train_loss"))
    assert choose(halvings(sample, count=1, seed=0).mix).tolist() == [[-2.0, -3.5]]
    assert choose(np.array([[[1.0, 0, 0, 0], [0, 0.5, 0, 0.5], [0, 0, 1, 0]]])).tolist() == [[-1.0, -3.5, -3.0]]


def test_a_column_that_a_trial_lacks_leaves_it_out() -> None:
    values = [{"rankme_z": 1.0, "lidar_z": 1.0}, {"lidar_z": 9.0}, {"rankme_z": 2.0, "lidar_z": 0.5}]
    made = pool(columns_of(values))
    sample = resampled_pool(made.members, "linear")
    whole = halvings(sample, count=1, seed=0).mix
    alone = rule_chooser(sample, make_rule(made, "rankme_z"))(whole)
    assert np.array_equal(alone, [[1, np.nan, 2]], equal_nan=True)
    both = rule_chooser(sample, make_rule(made, ["rankme_z", "lidar_z"]))(whole)
    assert np.array_equal(both, [[0.75, np.nan, 0.75]], equal_nan=True)


def test_a_trial_without_a_value_has_none_only_where_it_was_drawn() -> None:
    """One of two seeds lacks the column: draws of the other alone have it."""
    made = pool([replace(m, configuration="c") for m in columns_of([{"rankme_z": 4.0}, {}])])
    choose = rule_chooser(resampled_pool(made.members, "linear"), make_rule(made, "rankme_z"))
    found = choose(np.array([[[1.0, 0.0]], [[0.5, 0.5]], [[0.0, 1.0]]]))
    assert np.array_equal(found, [[4.0], [np.nan], [np.nan]], equal_nan=True)


def test_a_rule_that_depends_on_the_pool_is_computed_anew_in_each_draw() -> None:
    made = planted(seed=0)
    rule = make_rule(made, ["rankme_z", "lidar_h"])
    sample = resampled_pool(made.members, "linear")
    drawn = resamples(sample, count=30, seed=0)
    found = rule_chooser(sample, rule)(drawn.mix)
    values = np.array([[m.last.criteria[c] for c in rule.columns] for m in made.members])
    for mix, scores in zip(drawn.mix, found, strict=True):
        chosen = mix.argmax(1)
        assert scores.tolist() == pytest.approx(rule.score(values[chosen]).tolist())
    whole = rule.score(values)
    assert not np.allclose(found, whole[drawn.mix.argmax(2)])


# resampling


def test_resamples_draw_configurations_their_seeds_and_sources() -> None:
    sample = sample_of(np.linspace(0.2, 0.8, 6), seed=0, seeds=3)
    drawn = resamples(sample, count=300, seed=0)
    assert drawn.mix.shape == (300, 6, 18) and np.allclose(drawn.mix.sum(2), 1)
    owner = sample.configuration[drawn.mix.argmax(2)]
    outside = drawn.mix * (sample.configuration != owner[:, :, None])
    assert np.all(outside == 0)  # the seeds of one configuration in each row
    assert set(np.round(drawn.mix[drawn.mix > 0] * 3).astype(int)) == {1, 2, 3}
    distinct = np.mean([len(set(row)) for row in owner.tolist()]) / 6
    assert distinct == pytest.approx(1 - (5 / 6) ** 6, abs=0.02)  # drawn with replacement
    assert np.allclose(drawn.mix.mean((0, 1)), 1 / 18, atol=0.01)
    error = np.sqrt((sample.right[0].var()) / 60)  # of a mean over all the sources
    both = resamples(resampled_pool(sample.trials[:1], "linear"), count=2000, seed=1)
    assert ((both.on_a + both.on_b) / 2).std() == pytest.approx(error, rel=0.1)


def test_one_seed_gives_the_same_draws() -> None:
    sample = sample_of(np.linspace(0.2, 0.8, 6), seed=0, seeds=2)
    once, again, other = (resamples(sample, count=20, seed=seed) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))
    assert not np.array_equal(once.mix, other.mix) and not np.array_equal(once.on_a, other.on_a)
    first, second = (halvings(sample, count=5, seed=seed) for seed in (3, 3))
    assert np.array_equal(first.on_a, second.on_a)


def test_the_same_choices_differ_by_nothing() -> None:
    """Paired draws: two ways that choose alike have no interval between them, however wide their own."""
    sample = sample_of(np.linspace(0.3, 0.8, 12), seed=0)
    _, drawn = whole_and_drawn(sample)
    scores = np.arange(12.0)
    one, other = (verdicts(known_scores(s)(drawn.mix), drawn.on_a, drawn.on_b) for s in (scores, 3 * scores + 1))
    assert np.array_equal(one.regret, other.regret) and one.regret.std() > 0.01


def test_intervals_cover_the_truth() -> None:
    """The regret of a criterion that is quality and noise, over pools of one kind: 95 % intervals hold its mean."""
    pools, covered, regrets, intervals = 30, 0, [], []
    for seed in range(pools):
        rng = np.random.default_rng(seed)
        quality = np.clip(rng.normal(0.6, 0.08, 15), 0.05, 0.95)
        scores = quality + rng.normal(0, 0.06, 15)
        sample = sample_of(quality, seed=seed, sources=100)
        regrets.append(quality.max() - quality[scores.argmax()])
        intervals.append(
            known(judged([known_scores(scores)], *whole_and_drawn(sample, halved=5, drawn=100)).regret_interval)
        )
    for low, high in intervals:
        covered += low <= np.mean(regrets) <= high
    assert covered / pools >= 0.9
    assert np.mean([high - low for low, high in intervals]) < 0.4  # and not by saying nothing


def test_intervals_of_correlations_cover_the_truth() -> None:
    """A criterion that shares half its variance with quality: rho 6 / pi * asin(sqrt(1/2) / 2) = 0.69."""
    covered = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        quality = np.clip(rng.normal(0.6, 0.1, 20), 0.05, 0.95)
        scores = quality + rng.normal(0, 0.1, 20)
        sample = sample_of(quality, seed=seed, sources=400)
        found = judged([known_scores(scores)], *whole_and_drawn(sample, halved=2, drawn=100))
        low, high = known(found.rho_interval)
        covered += low <= 0.69 <= high
        assert high - low < 1.5
    assert covered / 30 >= 0.85


def test_seeds_that_disagree_widen_the_interval() -> None:
    """The same means: with several seeds of a configuration their draws add to the spread."""
    quality = np.linspace(0.4, 0.7, 8)
    wobbly = [np.full(300, q + d) for q in quality for d in (-0.25, 0.25)]
    flat = resampled_pool([member(i, {}, right=np.full(300, q)) for i, q in enumerate(quality)], "linear")
    seeded = resampled_pool(
        [member(i, {}, right=row, configuration=f"c{i // 2}") for i, row in enumerate(wobbly)], "linear"
    )
    assert np.allclose(seeded.means(seeded.right), flat.right)
    widths = []
    for sample in (flat, seeded):
        best = sample.means(np.eye(len(sample.trials))).T @ np.eye(8)[-1]
        low, high = known(judged([known_scores(best)], *whole_and_drawn(sample)).quality_interval)
        widths.append(high - low)
    assert widths[1] > widths[0] + 0.1


# verdicts in words


def test_judge_gives_each_figure_with_its_interval() -> None:
    sample = sample_of(np.linspace(0.3, 0.9, 12), seed=0)
    whole, drawn = whole_and_drawn(sample)
    found = judged([known_scores(np.arange(12.0))], whole, drawn)
    assert found.rho is not None and found.top is not None
    assert found.pick == 11 and found.rho > 0.9 and abs(found.regret) < 0.05 and found.top > 0.5
    for name in ("tau", "rho", "quality", "regret", "over_range", "over_random"):
        low, high = getattr(found, f"{name}_interval")
        assert low <= high and low - 0.05 <= getattr(found, name) <= high + 0.05
    backwards = judged([known_scores(-np.arange(12.0))], whole, drawn)
    assert backwards.over_random is not None and backwards.top is not None
    assert backwards.pick == 0 and backwards.over_random > 1.5 and backwards.over_range == pytest.approx(1, abs=0.1)
    assert backwards.top < 0.1


def test_noise_floor_is_the_deviation_over_seeds_by_that_over_configurations() -> None:
    values = {"a": [1.0, 3.0], "b": [7.0, 8.0], "c": [12.0]}
    members = [
        member(10 * i + s, {"rankme_z": v}, configuration=c, seed=s)
        for i, c in enumerate(values)
        for s, v in enumerate(values[c])
    ]
    seeds = np.sqrt(np.mean([np.var(v, ddof=1) for v in values.values() if len(v) > 1]))
    between = np.std([np.mean(v) for v in values.values()], ddof=1)
    assert noise_floor(members, "rankme_z") == pytest.approx(seeds / between)
    assert noise_floor([m for m in members if m.seed == 0], "rankme_z") is None
    assert noise_floor(members, "lidar_z") is None


def test_label_draws_are_one_way_of_choosing() -> None:
    """Two draws that pick the best and the worst: the mean of their regrets, in each resample too."""
    sample = resampled_pool(
        [member(i, right=answers(np.full(1, q), 200, seed=i)[0]) for i, q in enumerate((0.9, 0.2))], "linear"
    )
    whole, drawn = whole_and_drawn(sample)
    best, worst = known_scores(np.array([1.0, 0.0])), known_scores(np.array([0.0, 1.0]))
    one, other, both = (judged(choosers, whole, drawn) for choosers in ([best], [worst], [best, worst]))
    for name in ("regret", "quality", "over_range", "over_random", "top"):
        assert getattr(both, name) == pytest.approx((getattr(one, name) + getattr(other, name)) / 2)
    assert both.pick is None and one.pick == 0 and other.pick == 1
    made = pool([member(0, budgets={"5-0": 0.1, "5-1": 0.2, "all": 0.3, "mine": 0.1}, right=np.ones(4))])
    found = budget_choosers(made, resampled_pool(made.members, "linear"))
    assert {name: len(draws) for name, draws in found.items()} == {
        "labels: 5 per class": 2,
        "labels: all of probe": 1,
        "labels: mine": 1,
    }
