"""Effects across data sets, ranks and profiles against closed forms, published results and simulations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from regulens.stats.datasets import equal_weights, generalized_q, random_effects, set_effect
from regulens.stats.intervals import Interval
from regulens.stats.profiles import interquartile_gain_of_sets, interquartile_mean_of_sets, performance_profile
from regulens.stats.ranks import PairRanks, adjusted_by_holm, cliques, rank_levels, signed_rank_p
from regulens.stats.samples import sample

# Colditz et al. 1994: cases and others with and without BCG vaccine in 13 trials, the example of metafor's manual
BCG = [
    (4, 119, 11, 128), (6, 300, 29, 274), (3, 228, 11, 209), (62, 13536, 248, 12619), (33, 5036, 47, 5761),
    (180, 1361, 372, 1079), (8, 2537, 10, 619), (505, 87886, 499, 87892), (29, 7470, 45, 7232), (17, 1699, 65, 1600),
    (186, 50448, 141, 27197), (5, 2493, 3, 2338), (27, 16886, 29, 17825),
]  # fmt: skip


def bcg() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the trials' log relative risks and their variances."""
    a, b, c, d = np.array(BCG, np.float64).T
    return np.log(a / (a + b)) - np.log(c / (c + d)), 1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)


def covered(intervals: list[Interval], truth: float | NDArray[np.float64]) -> float:
    low, high = np.array([(each.low, each.high) for each in intervals]).T
    return float(np.mean((low <= truth) & (truth <= high)))


# effects


def test_random_effects_are_those_of_metafor() -> None:
    found = random_effects(*bcg())
    assert found.q == pytest.approx(152.2330, abs=1e-4)
    assert found.spread.estimate**2 == pytest.approx(0.3181, abs=1e-4)  # rma(..., method = "PM")
    assert (found.spread.low**2, found.spread.high**2) == pytest.approx((0.1197, 1.1115), abs=1e-4)  # confint()


@pytest.mark.parametrize("spread", [0.0, 3.0])
def test_with_equal_variances_both_models_are_students(spread: float) -> None:
    y = np.random.default_rng(1).normal(0.3, math.hypot(1, spread), 7)
    variance, k = 1.0, 7
    equal, weighted = equal_weights(y), random_effects(y, np.full(k, variance))
    student = stats.t.interval(0.95, k - 1, y.mean(), stats.sem(y))
    for mean in (equal.mean, weighted.mean):
        assert (mean.estimate, mean.low, mean.high) == pytest.approx((y.mean(), *student))
    between = max(0.0, y.var(ddof=1) - variance)
    assert weighted.spread.estimate**2 == pytest.approx(between, rel=1e-4)
    sums = (k - 1) * y.var(ddof=1)
    for bound, share in ((weighted.spread.low, 0.975), (weighted.spread.high, 0.025)):
        assert bound**2 == pytest.approx(max(0.0, sums / stats.chi2.ppf(share, k - 1) - variance))
    half = stats.t.ppf(0.975, k - 2) * math.sqrt(between + y.var(ddof=1) / k)
    assert weighted.new.high - weighted.mean.estimate == pytest.approx(half, rel=1e-4)
    half = stats.t.ppf(0.975, k - 1) * y.std(ddof=1) * math.sqrt(1 + 1 / k)
    assert equal.new.high - equal.mean.estimate == pytest.approx(half)
    np.testing.assert_allclose(weighted.weights, 1 / k)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(-1000, 1000), st.integers(10, 3000)), min_size=2, max_size=12),
    st.floats(-8, 3),
)
def test_pooled_effects_follow_shift_and_unit(sets: list[tuple[float, float]], unit: float) -> None:
    y, v = np.array(sets).T / 1000
    scale = 10.0**unit
    found, moved = random_effects(y, v), random_effects(scale * (y + 2), scale**2 * v)
    for name in ("mean", "new"):
        for end in ("estimate", "low", "high"):
            value = getattr(getattr(found, name), end)
            assert getattr(getattr(moved, name), end) == pytest.approx(scale * (value + 2), rel=1e-3, nan_ok=True)
    assert moved.spread.high == pytest.approx(scale * found.spread.high, rel=1e-3, abs=1e-6 * scale)


def test_the_spreads_bounds_solve_the_generalized_q() -> None:
    y, v = bcg()
    found = random_effects(y, v, 0.9)
    for bound, share in ((found.spread.low, 0.95), (found.spread.high, 0.05)):
        assert generalized_q(y, v, bound**2) == pytest.approx(stats.chi2.ppf(share, len(y) - 1))


def test_two_sets_have_a_mean_but_no_weighted_prediction() -> None:
    found = random_effects([0.0, 1.0], [0.1, 0.1])
    assert math.isnan(found.new.low)
    assert found.mean.high - found.mean.low == pytest.approx(2 * stats.t.ppf(0.975, 1) * 0.5)
    assert math.isnan(equal_weights([0.2, 0.2]).mean.low)


def test_what_cannot_be_pooled_is_refused() -> None:
    for values in ([0.1], [0.1, math.nan], [[0.1, 0.2]]):
        with pytest.raises(ValueError, match="at least two sets"):
            equal_weights(values)
    for variances in ([0.1, 0.0], [0.1], [0.1, math.nan]):
        with pytest.raises(ValueError, match="above 0"):
            random_effects([0.1, 0.2], variances)


def test_the_mean_over_sets_is_covered_where_effects_go_with_their_variances() -> None:
    """Near a ceiling small effects have small variances: inverse-variance weights are wrong, equal ones are not."""
    rng = np.random.default_rng(0)
    place = rng.uniform(-0.5, 0.5, (1000, 10))
    error = 10.0**place
    y = place + error * rng.standard_normal(place.shape)
    equal = [equal_weights(row).mean for row in y]
    weighted = [random_effects(row, of_row**2).mean for row, of_row in zip(y, error, strict=True)]
    assert covered(equal, 0.0) > 0.93
    assert covered(weighted, 0.0) < 0.85


def test_intervals_of_ten_sets_hold_their_level() -> None:
    rng = np.random.default_rng(2)
    error = 10.0 ** rng.uniform(-0.5, 0.5, (1000, 10))
    y = 2 * rng.standard_normal(error.shape) + error * rng.standard_normal(error.shape)
    found = [random_effects(row, of_row**2) for row, of_row in zip(y, error, strict=True)]
    new = 2 * rng.standard_normal(1000)
    assert covered([each.mean for each in found], 0.0) == pytest.approx(0.95, abs=0.025)
    assert covered([each.new for each in found], new) > 0.88  # known to cover too little at small spreads
    assert covered([each.spread for each in found], 2.0) == pytest.approx(0.95, abs=0.025)
    predicted = [equal_weights(row).new for row in y]
    assert covered(predicted, new + 10.0 ** rng.uniform(-0.5, 0.5, 1000) * rng.standard_normal(1000)) > 0.93


def test_the_effect_on_one_set_is_welchs_or_students() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(1, 1, 6), rng.normal(0, 3, 9)
    found = set_effect(sample(x), sample(y), "mean", paired=False)
    low, high = stats.ttest_ind(x, y, equal_var=False).confidence_interval()
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high))
    assert found.variance == pytest.approx(x.var(ddof=1) / 6 + y.var(ddof=1) / 9)
    pairs = set_effect(sample(x), sample(y[:6]), "mean", paired=True)
    low, high = stats.ttest_rel(x, y[:6]).confidence_interval()
    assert (pairs.difference.low, pairs.difference.high) == pytest.approx((low, high))
    trained = set_effect(sample([1, 2, 9], [False, False, True]), sample([0.5, 0.0]), "trained", paired=False)
    assert trained.difference.estimate == pytest.approx(1.25)
    median = set_effect(sample(x), sample(y), "median", paired=False)
    assert median.difference.estimate == pytest.approx(np.median(x) - np.median(y))
    assert median.variance == pytest.approx(sum(stats.mstats.mjci(z, [0.5])[0] ** 2 for z in (x, y)))


def test_the_effect_on_one_set_says_where_its_variance_is_unknown() -> None:
    single = set_effect(sample([0.9]), sample([0.8, 0.82]), "mean", paired=False)
    assert single.difference.estimate == pytest.approx(0.09)
    assert math.isnan(single.variance)
    assert math.isnan(single.difference.low)
    assert set_effect(sample([1, 1]), sample([0, 0]), "mean", paired=False).variance == 0
    collapsed = set_effect(sample([0.1], [True]), sample([0.8, 0.82]), "trained", paired=False)
    assert math.isnan(collapsed.difference.estimate)
    two = set_effect(sample([1, 2]), sample([0, 0.5]), "mean", paired=False)
    assert two.difference.estimate == pytest.approx(1.25)
    assert two.variance == pytest.approx(0.5 / 2 + 0.125 / 2)


# ranks


def test_ranks_and_friedman_are_demsars() -> None:
    """Demsar 2006, table 6: C4.5 and three variants on 14 data sets; a rank that rounding hides has a fourth digit."""
    table = """
    .763 .768 .771 .798  .599 .591 .590 .569  .954 .971 .968 .967  .628 .661 .654 .657  .882 .888 .886 .898
    .936 .931 .916 .931  .661 .668 .609 .685  .583 .583 .563 .625  .775 .838 .866 .875  1.00 1.00 1.00 1.00
    .940 .962 .965 .962  .619 .666 .614 .669  .972 .981 .9751 .9749  .957 .978 .946 .970
    """
    found = rank_levels(np.array(table.split(), np.float64).reshape(14, 4))
    np.testing.assert_allclose(found.average, [3.143, 2.000, 2.893, 1.964], atol=5e-4)
    m, k = 14, 4
    untied = 12 * m / (k * (k + 1)) * (np.sum(found.average**2) - k * (k + 1) ** 2 / 4)
    assert untied == pytest.approx(9.28, abs=0.01)
    assert found.friedman > untied  # ties make the ranks vary less
    assert found.friedman_p == pytest.approx(stats.chi2.sf(found.friedman, 3))


def test_signed_ranks_are_exact() -> None:
    rng = np.random.default_rng(4)
    for d in (rng.normal(0.4, 1, 8), np.array([1, 1, 2, -3, 0, 2.0])):
        ranks = stats.rankdata(np.abs(d))
        halves = float(ranks[d == 0].sum()) / 2
        seen = float(ranks[d > 0].sum()) + halves
        every = [
            sum(r for r, sign in zip(ranks, signs, strict=True) if sign and r)
            for signs in itertools.product((0, 1), repeat=len(d))
        ]
        if not halves:
            below, above = (np.mean([side * total <= side * seen + 1e-9 for total in every]) for side in (1, -1))
            assert signed_rank_p(d, 3.0) == pytest.approx(min(1.0, 2 * min(below, above)))
        else:
            assert 0.05 < signed_rank_p(d, 3.0) <= 1
    assert signed_rank_p(np.zeros(5), 1.0) == 1
    assert signed_rank_p(np.full(6, 1e-17), 1.0) == 1  # rounding


def test_holms_adjustment_is_statsmodels() -> None:
    p = np.random.default_rng(0).random(40).round(1) ** 4  # with ties
    np.testing.assert_allclose(adjusted_by_holm(p), multipletests(p, method="holm")[1])
    assert adjusted_by_holm([0.3]) == [0.3]


def test_direction_turns_the_ranks_and_nothing_else() -> None:
    x = np.random.default_rng(5).normal(size=(9, 4))
    up, down = rank_levels(x), rank_levels(-x, higher=False)
    np.testing.assert_array_equal(up.ranks, down.ranks)
    assert up.pairs == down.pairs
    np.testing.assert_array_equal(up.ranks, 5 - rank_levels(x, higher=False).ranks)


def test_rounding_makes_no_ranks() -> None:
    x = np.array([[0.3, 0.1 + 0.2], [0.5, 0.4], [0.6, 0.5]])
    found = rank_levels(x)
    assert found.ranks[0].tolist() == [1.5, 1.5]
    assert math.isnan(found.friedman)
    assert rank_levels(np.ones((3, 3))).friedman_p == 1


def test_no_pair_can_differ_significantly_on_five_sets() -> None:
    x = np.arange(5)[:, None] + np.array([0.0, 1.0])
    found = rank_levels(x)
    assert found.smallest_p == found.pairs[0].p_holm == pytest.approx(2 / 2**5)
    assert found.cliques == ((1, 0),)
    assert rank_levels(np.arange(6)[:, None] + np.array([0.0, 1.0])).cliques == ()


def test_cliques_are_the_longest_runs_of_which_no_pair_differs() -> None:
    average = np.array([2.0, 1.0, 4.0, 3.0])  # in order: 1, 0, 3, 2

    def of(*apart: tuple[int, int]) -> tuple[tuple[int, ...], ...]:
        pairs = [
            PairRanks(a, b, 0.01, 0.01 if (a, b) in apart else 0.2) for a, b in itertools.combinations(range(4), 2)
        ]
        return cliques(average, tuple(pairs), 0.05)

    assert of() == ((1, 0, 3, 2),)
    assert of((1, 2)) == ((1, 0, 3), (0, 3, 2))
    assert of((0, 1), (1, 2), (1, 3)) == ((0, 3, 2),)
    assert of((0, 1)) == ((0, 3, 2),)  # 1 and 3 are neighbors of 0 and 2 only
    assert of(*itertools.combinations(range(4), 2)) == ()


# interquartile means and profiles


def test_the_interquartile_mean_of_sets_is_rliables() -> None:
    rng = np.random.default_rng(6)
    for shape in ((4, 5), (3, 8), (5, 4)):
        runs = rng.normal(size=shape) + np.arange(shape[0])[:, None]
        assert interquartile_mean_of_sets(list(runs)).estimate == pytest.approx(stats.trim_mean(runs, 0.25, axis=None))


def test_sets_count_the_same_whatever_their_runs() -> None:
    a, b = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.6, 0.7, 0.8, 0.9])
    even = interquartile_mean_of_sets([a, b]).estimate
    assert interquartile_mean_of_sets([a, np.repeat(b, 3)]).estimate == pytest.approx(even)
    thresholds = np.array([0.25, 0.65])
    profile = performance_profile([a, np.repeat(b, 3)], thresholds)
    assert profile.share == pytest.approx([0.75, 0.375])
    assert performance_profile([a, b], thresholds, higher=False).share == pytest.approx([0.25, 0.625])


def test_a_gain_over_the_control_is_free_of_the_sets_levels() -> None:
    rng = np.random.default_rng(7)
    runs, control = rng.normal(0.1, 1, (4, 6)), rng.normal(0, 1, (4, 6))
    level = np.array([0.0, 10.0, -30.0, 100.0])[:, None]
    found = interquartile_gain_of_sets(list(runs), list(control))
    moved = interquartile_gain_of_sets(list(runs + level), list(control + level))
    assert (moved.estimate, moved.low, moved.high) == pytest.approx((found.estimate, found.low, found.high))


def test_interquartile_means_of_three_sets_are_covered() -> None:
    rng = np.random.default_rng(8)
    level = np.array([0.0, 0.5, 1.0])[:, None]
    means, gains = [], []
    for _ in range(1000):
        runs, control = level + rng.normal(size=(3, 5)), level + rng.normal(size=(3, 5))
        means.append(interquartile_mean_of_sets(list(runs)))
        gains.append(interquartile_gain_of_sets(list(runs), list(control)))
    assert covered(means, 0.5) > 0.93
    assert covered(gains, 0.0) > 0.93


def test_profiles_are_shares_with_bounds_that_cover() -> None:
    rng = np.random.default_rng(9)
    thresholds = np.array([-5.0, 0.0, 1.0, 2.0])
    truth = np.mean([stats.norm.sf(thresholds, centre) for centre in (0.0, 1.0, 2.0)], axis=0)
    inside = []
    for _ in range(500):
        runs = list(rng.normal(size=(3, 5)) + np.arange(3)[:, None])
        found = performance_profile(runs, thresholds)
        assert found.share == pytest.approx((np.array(runs)[..., None] > thresholds).mean(axis=(0, 1)))
        inside.append((found.low <= truth) & (truth <= found.high))
    assert (np.mean(inside, axis=0) > 0.91).all()
    assert found.share[0] == found.high[0] == 1 > found.low[0]


def test_single_runs_have_no_interval_and_too_few_none_at_all() -> None:
    found = interquartile_mean_of_sets([np.array([float(place)]) for place in range(4)])
    assert found.estimate == pytest.approx(1.5)
    assert math.isnan(found.low)
    with pytest.raises(ValueError, match="at least 4 runs"):
        interquartile_mean_of_sets([np.array([0.1, 0.2])])
