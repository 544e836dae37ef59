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

from regulens.stats.intervals import (
    Interval,
    collapse_of,
    mean_interval,
    mover_difference,
    overall_interval,
    paired_interval,
    welch_interval,
    wilson,
)
from regulens.stats.samples import Sample, sample

Values = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Values]


def values(low: float = 0.0, high: float = 1.0, least: int = 2) -> st.SearchStrategy[Values]:
    return st.lists(st.floats(low, high, width=32), min_size=least, max_size=12).map(lambda x: np.array(x, np.float64))


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
        got = welch_interval(a, b, 0.95)
        assert (got.low, got.high) == pytest.approx(means.tconfint_diff(usevar="unequal"), rel=1e-9)

    @given(values(least=3), values(least=3))
    @settings(deadline=None, max_examples=100)
    def test_it_never_lies_inside_students_and_turns_with_the_sign(self, a: Values, b: Values) -> None:
        got, students = mean_interval(a, 0.95), stats.ttest_1samp(a, 0).confidence_interval(0.95) if np.ptp(a) else None
        if students is not None:
            assert got.low <= students.low + 1e-12
            assert got.high >= students.high - 1e-12
        one, other = welch_interval(a, b, 0.95), -welch_interval(b, a, 0.95)
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-9)
        mirrored = -mean_interval(-a, 0.95)
        assert (got.low, got.high) == pytest.approx((mirrored.low, mirrored.high), abs=1e-9)

    def test_a_long_tail_moves_the_bound_on_its_side(self) -> None:
        x = np.array([0.86, 0.88, 0.885, 0.89, 0.89, 0.892])
        got, students = mean_interval(x, 0.95), stats.t.interval(0.95, 5, loc=x.mean(), scale=stats.sem(x))
        assert got.low < students[0] - 0.001
        assert got.high == pytest.approx(students[1])

    def test_one_value_has_no_interval_and_no_spread_has_no_width(self) -> None:
        assert math.isnan(mean_interval(np.array([0.5]), 0.95).low)
        assert math.isnan(welch_interval(np.array([0.5]), np.array([0.5, 0.6]), 0.95).high)
        assert mean_interval(np.full(3, 0.5), 0.95) == Interval(0.5, 0.5, 0.5, 0.95)

    def test_pairs_are_students_of_the_differences(self) -> None:
        a, b = np.array([1.0, 2, 3, 4]), np.array([0.5, 1.6, 2.4, 3.5])
        expected = stats.ttest_rel(a, b).confidence_interval(0.95)
        got = paired_interval(a, b, 0.95)
        assert got.low <= expected.low + 1e-12
        assert got.estimate == pytest.approx(0.5)


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
    rng, rounds = np.random.default_rng(5), 1500
    allowed = 0.93 - 3 * math.sqrt(0.93 * 0.07 / rounds)
    one = [mean_interval(draw(rng, 10), 0.95) for _ in range(rounds)]
    assert np.mean([each.low <= truth <= each.high for each in one]) >= allowed
    two = [welch_interval(draw(rng, 10), draw(rng, 10), 0.95) for _ in range(rounds)]
    assert np.mean([each.low <= 0 <= each.high for each in two]) >= allowed


class TestCollapse:
    @staticmethod
    def drawn(rng: np.random.Generator, rate: float, n: int) -> Sample:
        collapsed = rng.random(n) < rate
        return sample(np.where(collapsed, 0.1, 0.88) + 0.005 * rng.standard_normal(n), collapsed)

    @pytest.mark.parametrize("n", [10, 29])
    @pytest.mark.parametrize("rate", [0.05, 0.2, 0.4])
    def test_the_interval_of_the_overall_mean_carries_rate_and_mean(self, n: int, rate: float) -> None:
        rng, rounds, truth = np.random.default_rng(n), 1500, 0.88 - 0.78 * rate
        collapse = collapse_of([sample([0.1, 0.9], [True, False])])
        found = [overall_interval(self.drawn(rng, rate, n), collapse, 0.95) for _ in range(rounds)]
        assert np.mean([each.low <= truth <= each.high for each in found]) >= 0.93 - 3 * math.sqrt(0.0651 / rounds)

    def test_students_interval_would_not(self) -> None:
        rng = np.random.default_rng(0)
        plain = [mean_interval(self.drawn(rng, 0.05, 10).values, 0.95) for _ in range(400)]
        assert np.mean([each.low <= 0.88 - 0.78 * 0.05 <= each.high for each in plain]) < 0.7

    def test_where_no_run_of_the_analysis_collapsed_it_is_that_of_the_mean(self) -> None:
        cell = sample([0.88, 0.89, 0.9])
        assert collapse_of([cell, cell]) is None
        assert overall_interval(cell, None, 0.95) == mean_interval(cell.values, 0.95)

    def test_a_cell_without_a_collapse_is_not_free_of_it(self) -> None:
        clean, other = sample(symmetric(0, 5) / 1000 + 0.9), sample([0.1, 0.1, 0.88], [True, True, False])
        collapse = collapse_of([clean, other])
        assert collapse is not None
        got, alone = overall_interval(clean, collapse, 0.95), mean_interval(clean.values, 0.95)
        gain = float(np.mean(clean.values)) - 0.1
        assert got.high == pytest.approx(alone.high)
        assert got.low == pytest.approx(
            got.estimate - math.hypot(gain * wilson(0, 10, 0.95).high, alone.estimate - alone.low)
        )

    @pytest.mark.parametrize("trained", [0, 1])
    def test_a_cell_that_hardly_trained_has_an_interval_too(self, trained: int) -> None:
        cell = sample([0.1] * (10 - trained) + [0.9] * trained, [True] * (10 - trained) + [False] * trained)
        collapse = collapse_of([cell, sample([0.9, 0.89])])
        got = overall_interval(cell, collapse, 0.95)
        assert got.low <= 0.1 + 0.08 * trained <= got.high
        assert 0.3 < got.high < 0.7

    @given(values(0.125, 0.875, least=4), st.integers(0, 3))
    @settings(deadline=None, max_examples=50)
    def test_losses_are_mirrored_accuracies(self, x: Values, collapses: int) -> None:
        collapsed = np.arange(len(x)) < collapses
        up, down = (sample(sign * np.where(collapsed, 0.05, x), collapsed) for sign in (1, -1))
        rest = [sample([sign * 0.05, sign * 0.95], [True, False]) for sign in (1, -1)]
        one = overall_interval(up, collapse_of([up, rest[0]]), 0.95)
        other = -overall_interval(down, collapse_of([down, rest[1]], higher=False), 0.95)
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-9)

    def test_runs_that_trained_below_those_that_collapsed_are_mirrored_too(self) -> None:
        gaps = sample([0.02, 0.021, 0.019, 0.022, 0.0], [False, False, False, False, True])
        for higher in (True, False):
            collapse = collapse_of([gaps], higher)
            got = overall_interval(gaps, collapse, 0.95)
            turned = -overall_interval(
                sample(-gaps.values, gaps.collapsed),
                collapse_of([sample(-gaps.values, gaps.collapsed)], not higher),
                0.95,
            )
            assert (got.low, got.high) == pytest.approx((turned.low, turned.high))
            rate = wilson(1, 5, 0.95)
            assert got.low < 0.0205 * (1 - rate.high) + 0.001
            assert got.high == pytest.approx(
                got.estimate
                + math.hypot(0.0205 * (0.2 - rate.low), 0.8 * (mean_interval(gaps.trained, 0.95).high - 0.0205))
            )


def test_an_interval_is_cut_off_at_what_is_possible() -> None:
    assert Interval(0.9, -0.3, 1.4, 0.95).within((0, 1)) == Interval(0.9, 0, 1, 0.95)
    assert math.isnan(Interval(0.9, math.nan, math.nan, 0.95).within((0, 1)).low)
