"""Bounds of a difference of collapse rates against closed forms, brute force, scipy and statsmodels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from regulens.stats.rates import RateDifference, rate_sensitivity


@st.composite
def differences(draw: st.DrawFn) -> RateDifference:
    n_a, n_b = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    return RateDifference(draw(st.integers(0, n_a)), n_a, draw(st.integers(0, n_b)), n_b)


def lower_bounds(n_a: int, n_b: int, alpha: float) -> NDArray[np.float64]:
    return np.array([[RateDifference(a, n_a, b, n_b).lower(alpha) for b in range(n_b + 1)] for a in range(n_a + 1)])


def jeffreys(n: int) -> NDArray[np.float64]:
    """Lower and upper bounds of 0 to n of n, each of error 1 %: (2, n + 1)."""
    low, high = proportion_confint(np.arange(n + 1), n, alpha=0.02, method="jeffreys")
    return np.array([np.where(np.arange(n + 1) > 0, low, 0), np.where(np.arange(n + 1) < n, high, 1)])


def greatest_tail(of: RateDifference, difference: float, alpha: float) -> float:
    """The largest probability of counts as extreme, by brute force over 2,000 pairs of rates."""
    rate_a, rate_b = np.arange(of.n_a + 1)[:, None] / of.n_a, np.arange(of.n_b + 1) / of.n_b
    below, above = rate_a[:, 0] - jeffreys(of.n_a)[0], jeffreys(of.n_b)[1] - rate_b
    order = rate_a - rate_b - np.hypot(below[:, None], above)
    extreme = order >= order[of.collapsed_a, of.collapsed_b] - 1e-12
    (low_a, high_a), (low_b, high_b) = (
        proportion_confint(count, n, alpha=0.01 * alpha, method="beta")
        for count, n in ((of.collapsed_a, of.n_a), (of.collapsed_b, of.n_b))
    )
    rates = np.linspace(max(low_b, low_a - difference), min(high_b, high_a - difference), 2000)
    pmf_a = stats.binom.pmf(np.arange(of.n_a + 1), of.n_a, rates[:, None] + difference)
    pmf_b = stats.binom.pmf(np.arange(of.n_b + 1), of.n_b, rates[:, None])
    return float(((pmf_a @ extreme) * pmf_b).sum(axis=1).max())


class TestBounds:
    @pytest.mark.parametrize("n", [1, 3, 5, 20])
    @pytest.mark.parametrize("alpha", [0.025, 0.001])
    def test_all_against_none_is_a_closed_form(self, n: int, alpha: float) -> None:
        got = RateDifference(n, n, 0, n)  # p^n q^n is largest where p = q = (1 + difference) / 2
        assert got.lower(alpha) == pytest.approx(2 * (0.98 * alpha) ** (1 / (2 * n)) - 1, abs=1e-4)
        assert got.upper(alpha) == 1
        assert got.p == pytest.approx(min(1, 2 * 0.25**n / 0.98), rel=1e-3)

    def test_p_of_all_against_none_is_barnards(self) -> None:
        barnard = stats.barnard_exact([[5, 0], [0, 5]], n=256).pvalue
        assert RateDifference(5, 5, 0, 5).p == pytest.approx(barnard / 0.98, rel=1e-3)

    @pytest.mark.parametrize("counts", [(0, 10, 0, 10), (3, 30, 0, 30), (2, 4, 1, 10), (5, 30, 0, 3), (9, 15, 12, 20)])
    @pytest.mark.parametrize("alpha", [0.025, 0.0001])
    def test_they_are_where_brute_force_says(self, counts: tuple[int, int, int, int], alpha: float) -> None:
        got = RateDifference(*counts)
        assert greatest_tail(got, got.lower(alpha), alpha) == pytest.approx(0.98 * alpha, rel=0.01)
        assert greatest_tail(-got, -got.upper(alpha), alpha) == pytest.approx(0.98 * alpha, rel=0.01)

    @pytest.mark.parametrize(("n_a", "n_b"), [(3, 3), (5, 5), (3, 15), (15, 4), (10, 10)])
    @pytest.mark.parametrize("alpha", [0.025, 0.004, 0.00005])
    def test_they_err_no_more_often_than_they_say_at_any_rates(self, n_a: int, n_b: int, alpha: float) -> None:
        bounds, rates = lower_bounds(n_a, n_b, alpha), np.linspace(0, 1, 41)
        of_a, of_b = (stats.binom.pmf(np.arange(n + 1), n, rates[:, None]) for n in (n_a, n_b))
        errors = [
            a @ (bounds > p - q + 1e-9) @ b
            for p, a in zip(rates, of_a, strict=True)
            for q, b in zip(rates, of_b, strict=True)
        ]
        assert max(errors) <= alpha

    def test_none_of_ten_on_both_sides_leaves_thirty_points_open(self) -> None:
        got = RateDifference(0, 10, 0, 10).interval(0.95)
        assert (got.estimate, got.low, got.high) == (0, pytest.approx(-0.31, abs=0.001), pytest.approx(0.31, abs=0.001))

    @pytest.mark.parametrize("counts", [(1000, 2000, 900, 2000), (300, 900, 200, 700)])
    def test_of_many_runs_at_middling_rates_they_are_about_the_score_interval(
        self, counts: tuple[int, int, int, int]
    ) -> None:
        got = RateDifference(*counts).interval(0.95)
        expected = confint_proportions_2indep(*counts, method="score", compare="diff", alpha=0.05)
        assert (got.low, got.high) == pytest.approx(expected, abs=0.0015)

    def test_counts_out_of_reach_are_left_out_without_a_trace(self) -> None:
        got = RateDifference(60, 500, 2, 300)
        assert greatest_tail(got, got.lower(1e-5), 1e-5) == pytest.approx(0.98e-5, rel=0.02)

    @given(differences(), st.floats(1e-6, 0.5), st.floats(1e-6, 0.5))
    @settings(deadline=None, max_examples=60)
    def test_they_are_possible_ordered_and_antisymmetric(self, got: RateDifference, one: float, two: float) -> None:
        alpha, larger = sorted((one, two))
        assert -1 <= got.lower(alpha) <= got.lower(larger) + 1e-6
        assert got.lower(larger) <= got.value <= got.upper(larger)
        assert got.upper(larger) - 1e-6 <= got.upper(alpha) <= 1
        assert (-got).lower(alpha) == -got.upper(alpha)
        assert (-got).p == got.p

    @pytest.mark.parametrize(("n_a", "n_b"), [(5, 5), (4, 12), (12, 4)])
    def test_a_collapse_more_of_a_or_less_of_b_raises_them(self, n_a: int, n_b: int) -> None:
        bounds = lower_bounds(n_a, n_b, 0.004)
        assert (np.diff(bounds, axis=0) > 0).all()
        assert (np.diff(bounds, axis=1) < 0).all()

    @given(differences(), st.floats(0.9, 0.9999))
    @settings(deadline=None, max_examples=60)
    def test_p_is_small_where_the_interval_excludes_zero(self, got: RateDifference, level: float) -> None:
        interval = got.interval(level)
        if min(abs(interval.low), abs(interval.high)) > 1e-4:
            assert (got.p < 1 - level) == (interval.low > 0 or interval.high < 0)

    def test_p_beyond_a_margin_is_where_the_bound_meets_it(self) -> None:
        got = RateDifference(6, 10, 1, 12)
        assert got.p_above(got.lower(0.01)) == pytest.approx(0.01, rel=1e-3)
        assert got.p_below(got.upper(0.002)) == pytest.approx(0.002, rel=1e-3)
        assert got.p_below(-1) == 1

    def test_what_is_no_count_is_refused(self) -> None:
        for counts in ((4, 3, 0, 3), (-1, 3, 0, 3), (0, 3, 0, 0)):
            with pytest.raises(ValueError, match="between none and all"):
                RateDifference(*counts)
        with pytest.raises(ValueError, match="alpha must be in"):
            RateDifference(1, 3, 0, 3).lower(0.6)


class TestSensitivity:
    @given(st.floats(0.5, 1), st.floats(-0.3, 0.5), st.floats(0, 1), st.sampled_from([1, -1]))
    def test_at_that_difference_the_overall_means_are_equal(
        self, trained_a: float, better_by: float, rate_b: float, sign: int
    ) -> None:
        failed, trained_b = 0.1, trained_a - better_by
        got = rate_sensitivity(sign * better_by, sign * trained_a, rate_b, sign * failed)
        if not math.isnan(got):
            rate_a = rate_b + got
            overall = [failed + (1 - p) * (m - failed) for p, m in ((rate_a, trained_a), (rate_b, trained_b))]
            assert overall[0] == pytest.approx(overall[1], abs=1e-12)
            assert -1e-12 <= rate_a <= 1 + 1e-12

    def test_three_points_of_eighty_are_undone_by_four_points_of_collapse(self) -> None:
        assert rate_sensitivity(0.032, 0.9, 0.0, 0.1) == pytest.approx(0.04)  # 0.96 x 0.8 = 0.868 - 0.1
        assert rate_sensitivity(0.032, 0.9, 0.5, 0.1) == pytest.approx(0.02)

    def test_where_no_rate_does_it_there_is_none(self) -> None:
        assert math.isnan(rate_sensitivity(-0.02, 0.88, 0.0, 0.1))  # a is worse and b never collapses
        assert math.isnan(rate_sensitivity(0.5, 0.5, 0.2, 0.1))  # b is worse trained than a run that failed
        assert math.isnan(rate_sensitivity(0.1, 0.1, 0.2, 0.1))
