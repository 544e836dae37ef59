"""Intervals against scipy and statsmodels, published figures, and simulations whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from regulens.stats.cells import Cells
from regulens.stats.design import Design
from regulens.stats.intervals import Collapse, Interval, mover_difference, overall_interval, welch_df, wilson
from regulens.stats.means import mean_interval
from regulens.stats.samples import Sample, sample

UNBOUNDED = (-math.inf, math.inf)
Values = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Values]


def values(low: float = 0.0, high: float = 1.0, least: int = 2) -> st.SearchStrategy[Values]:
    return st.lists(st.floats(low, high, width=32), min_size=least, max_size=12).map(lambda x: np.array(x, np.float64))


def difference(a: Values, b: Values, level: float = 0.95, bounds: tuple[float, float] = UNBOUNDED) -> Interval:
    """The difference of the means of two cells."""
    return Cells({"a": sample(a), "b": sample(b)}, Design(bounds=bounds)).trained({"a": 1.0, "b": -1.0}).interval(level)


def symmetric(seed: int, n: int) -> Values:
    """Values without skewness, which only Student's interval is made for."""
    half = np.random.default_rng(seed).standard_normal(n)
    return np.concatenate([half, -half]) + 3


class TestRates:
    def test_wilsons_published_example(self) -> None:
        got = wilson(81, 263, 0.95)  # Newcombe 1998, Statistics in Medicine 17, 857-872, table I
        assert (round(got.low, 4), round(got.high, 4)) == (0.2553, 0.3662)
        none = wilson(0, 20, 0.95)
        assert (none.low, round(none.high, 4)) == (0.0, 0.1611)

    def test_a_difference_of_rates_is_newcombes(self) -> None:
        got = mover_difference(wilson(56, 70, 0.95), wilson(48, 80, 0.95))  # Newcombe 1998, 873-890, table II (a)
        assert (round(got.low, 4), round(got.high, 4)) == (0.0524, 0.3339)


class TestMeans:
    @pytest.mark.parametrize("n", [2, 3, 10])
    @pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
    def test_without_skewness_it_is_students(self, n: int, level: float) -> None:
        x = symmetric(n, n)
        got = mean_interval(x, level)
        expected = stats.t.interval(level, len(x) - 1, loc=x.mean(), scale=stats.sem(x))
        assert (got.low, got.high) == pytest.approx(expected, rel=1e-9)
        assert got.estimate == pytest.approx(3)

    @pytest.mark.parametrize(("n", "m"), [(2, 5), (4, 4), (10, 3)])
    def test_without_skewness_a_difference_is_welchs(self, n: int, m: int) -> None:
        a, b = symmetric(1, n), 5 * symmetric(2, m)
        means = CompareMeans(DescrStatsW(a), DescrStatsW(b))
        got = difference(a, b)
        assert (got.low, got.high) == pytest.approx(means.tconfint_diff(usevar="unequal"), rel=1e-9)

    @given(values(least=3), values(least=3))
    @settings(deadline=None, max_examples=50)
    def test_it_never_lies_inside_students_and_turns_with_the_sign(self, a: Values, b: Values) -> None:
        got = mean_interval(a, 0.95)
        if not math.isnan(got.low):
            students = stats.ttest_1samp(a, 0).confidence_interval(0.95)
            assert got.low <= students.low + 1e-12
            assert got.high >= students.high - 1e-12
        one, other = (difference(a, b), -difference(b, a))
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-9, nan_ok=True)
        mirrored = -mean_interval(-a, 0.95)
        assert (got.low, got.high) == pytest.approx((mirrored.low, mirrored.high), abs=1e-9, nan_ok=True)

    def test_bounds_stay_within_a_few_standard_errors_at_any_level(self) -> None:
        """Twenty runs of little spread with one heavy tail, where a cubic would leave its range."""
        x = np.concatenate([0.88 + 0.001 * symmetric(3, 9), [0.88, 0.86]])
        students = stats.t.interval(0.9996, 19, loc=x.mean(), scale=stats.sem(x))
        got = mean_interval(x, 0.9996)
        assert x.mean() - got.low <= 3.5 * (x.mean() - students[0]) + 1e-12
        assert got.high == pytest.approx(students[1])

    def test_one_value_and_no_spread_have_no_bounds(self) -> None:
        for x in (np.array([0.5]), np.full(3, 0.5)):
            got = mean_interval(x, 0.95)
            assert got.estimate == 0.5
            assert math.isnan(got.low)
        assert math.isnan(difference(np.array([0.5]), np.array([0.5, 0.6])).high)

    def test_a_difference_stays_within_what_is_possible(self) -> None:
        got = difference(np.array([0.0, 1.0]), np.array([0.0, 1.0, 0.9]), 0.99, (0.0, 1.0))
        assert (got.low, got.high) == (-1.0, 1.0)

    def test_freedom_of_a_sum_of_variances_is_welchs(self) -> None:
        a, b = np.array([1.0, 2, 4, 7]), np.array([0.0, 5, 6])
        got = welch_df([a.var(ddof=1) / 4, b.var(ddof=1) / 3], [3, 2])
        assert got == pytest.approx(stats.ttest_ind(a, b, equal_var=False).df)


DRAWS: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, n: rng.standard_normal(n), 0.0),
    "skewed": (lambda rng, n: 2 - rng.gamma(2, 1, n), 0.0),
    "exponential": (lambda rng, n: 1 - rng.exponential(1, n), 0.0),
    "heavy-tailed": (lambda rng, n: rng.standard_t(3, n), 0.0),
    "tied": (lambda rng, n: np.round(rng.standard_normal(n)), 0.0),
}


@pytest.mark.parametrize("kind", DRAWS)
def test_ten_runs_cover_the_mean_and_the_difference(kind: str) -> None:
    draw, truth = DRAWS[kind]
    rng, rounds = np.random.default_rng(5), 600
    allowed = 0.93 - 3 * math.sqrt(0.93 * 0.07 / rounds)
    one = [mean_interval(draw(rng, 10), 0.95) for _ in range(rounds)]
    assert np.mean([each.low <= truth <= each.high for each in one]) >= allowed
    two = [difference(draw(rng, 10), draw(rng, 10)) for _ in range(rounds)]
    assert np.mean([each.low <= 0 <= each.high for each in two]) >= allowed


def overall(cell: Sample, collapse: Collapse, level: float = 0.95) -> Interval:
    """The interval of the overall mean, of Student's where two runs trained."""
    few = len(cell.trained) < 2
    mean = float(cell.trained.mean()) if len(cell.trained) else math.nan
    trained = Interval(mean, math.nan, math.nan, level) if few else mean_interval(cell.trained, level)
    return overall_interval(cell, trained, collapse)


class TestCollapse:
    @staticmethod
    def drawn(rng: np.random.Generator, rate: float, n: int) -> Sample:
        collapsed = rng.random(n) < rate
        return sample(np.where(collapsed, 0.1, 0.88) + 0.005 * rng.standard_normal(n), collapsed)

    @pytest.mark.parametrize("n", [10, 29])
    @pytest.mark.parametrize("rate", [0.05, 0.2, 0.4])
    def test_the_interval_of_the_overall_mean_carries_rate_and_mean(self, n: int, rate: float) -> None:
        rng, rounds, truth = np.random.default_rng(n), 500, 0.88 - 0.78 * rate
        found = [overall(self.drawn(rng, rate, n), Collapse(0.1, 0.9)) for _ in range(rounds)]
        assert np.mean([each.low <= truth <= each.high for each in found]) >= 0.93 - 3 * math.sqrt(0.0651 / rounds)

    def test_students_interval_would_not(self) -> None:
        rng = np.random.default_rng(0)
        drawn = [self.drawn(rng, 0.05, 10).values for _ in range(400)]
        plain = [stats.t.interval(0.95, 9, loc=x.mean(), scale=stats.sem(x)) for x in drawn]
        assert np.mean([low <= 0.88 - 0.78 * 0.05 <= high for low, high in plain]) < 0.7

    def test_a_cell_without_a_collapse_is_not_free_of_it(self) -> None:
        clean = sample(symmetric(0, 5) / 1000 + 0.9)
        got, alone = overall(clean, Collapse(0.1, 0.95)), mean_interval(clean.values, 0.95)
        gain = float(np.mean(clean.values)) - 0.1
        assert got.high == pytest.approx(alone.high)
        assert got.low == pytest.approx(
            got.estimate - math.hypot(gain * wilson(0, 10, 0.95).high, alone.estimate - alone.low)
        )

    @pytest.mark.parametrize("trained", [0, 1])
    def test_a_cell_that_hardly_trained_has_an_interval_too(self, trained: int) -> None:
        cell = sample([0.1] * (10 - trained) + [0.9] * trained, [True] * (10 - trained) + [False] * trained)
        got = overall(cell, Collapse(0.1, 0.9))
        assert got.low <= 0.1 + 0.08 * trained <= got.high
        assert 0.3 < got.high < 0.7

    @given(values(0.125, 0.875, least=4), st.integers(0, 3))
    @settings(deadline=None, max_examples=30)
    def test_losses_are_mirrored_accuracies(self, x: Values, collapses: int) -> None:
        collapsed = np.arange(len(x)) < collapses
        up, down = (sample(sign * np.where(collapsed, 0.05, x), collapsed) for sign in (1, -1))
        one, other = overall(up, Collapse(0.05, 0.95)), -overall(down, Collapse(-0.05, -0.95))
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-9)

    def test_runs_that_trained_below_those_that_collapsed_are_mirrored_too(self) -> None:
        gaps = sample([0.02, 0.021, 0.019, 0.022, 0.0], [False, False, False, False, True])
        got = overall(gaps, Collapse(0.0, 0.019))
        turned = -overall(sample(-gaps.values, gaps.collapsed), Collapse(0.0, -0.019))
        assert (got.low, got.high) == pytest.approx((turned.low, turned.high))
        rate = wilson(1, 5, 0.95)
        reach = math.hypot(0.0205 * (0.2 - rate.low), 0.8 * (mean_interval(gaps.trained, 0.95).high - 0.0205))
        assert got.high == pytest.approx(got.estimate + reach)


def test_an_interval_is_cut_off_at_what_is_possible() -> None:
    assert Interval(0.9, -0.3, 1.4, 0.95).within((0, 1)) == Interval(0.9, 0, 1, 0.95)
    assert math.isnan(Interval(0.9, math.nan, math.nan, 0.95).within((0, 1)).low)
