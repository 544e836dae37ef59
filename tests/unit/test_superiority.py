"""P(A > B) against scipy, closed forms and simulations whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from regulens.stats.superiority import brunner_munzel_p, improvement_interval

Values = NDArray[np.float64]
RNG = np.random.default_rng
runs = st.lists(st.floats(0, 1, width=16), min_size=2, max_size=12).map(lambda x: np.array(x, np.float64))


def covered(share: float, spreads: tuple[float, float], n: tuple[int, int], samples: int) -> float:
    """Return how often the interval of normal runs holds P(A > B)."""
    rng, shift = RNG(list(n)), stats.norm.ppf(share) * math.hypot(*spreads)
    found = [
        improvement_interval(shift + spreads[0] * rng.normal(size=n[0]), spreads[1] * rng.normal(size=n[1]), 0.95)
        for _ in range(samples)
    ]
    return float(np.mean([each.low <= share <= each.high for each in found]))


class TestInterval:
    def test_estimate_is_the_share_of_pairs_with_ties_half(self) -> None:
        a, b = np.array([1.0, 2, 2, 5]), np.array([2.0, 0, 4])
        expected = np.mean((a[:, None] > b) + 0.5 * (a[:, None] == b))
        assert improvement_interval(a, b, 0.95).estimate == pytest.approx(expected)

    @given(runs, runs)
    @settings(deadline=None, max_examples=100)
    def test_it_has_width_stays_inside_and_turns_with_the_cells(self, a: Values, b: Values) -> None:
        one, other = improvement_interval(a, b, 0.95), improvement_interval(b, a, 0.95)
        assert 0 <= one.low < one.high <= 1
        assert one.low <= one.estimate <= one.high
        assert (one.low, one.high) == pytest.approx((1 - other.high, 1 - other.low), abs=1e-9)

    @given(runs, runs)
    @settings(deadline=None, max_examples=50)
    def test_it_depends_on_ranks_alone(self, a: Values, b: Values) -> None:
        assert improvement_interval(np.exp(3 * a), np.exp(3 * b), 0.95) == improvement_interval(a, b, 0.95)

    @pytest.mark.parametrize("n", [(2, 2), (5, 5), (10, 10), (5, 40), (2000, 2000)])
    def test_of_separated_cells_it_is_the_mid_p_interval_of_the_smaller_ones_runs(self, n: tuple[int, int]) -> None:
        got, r = improvement_interval(np.arange(n[0]) + 5000.0, np.arange(n[1]) + 0.0, 0.95), min(n)
        assert (got.estimate, got.high) == (1, 1)
        assert got.low**r / 2 == pytest.approx(0.025)  # half the probability of r successes in r trials

    def test_where_one_cell_is_a_point_it_lies_within_the_exact_interval_of_a_share(self) -> None:
        point, wins, n = np.zeros(50), 14, 20  # each of 20 runs is above or below all of the other cell's
        got = improvement_interval(np.where(np.arange(n) < wins, 1.0, -1.0), point, 0.95)
        trials = (0.7 * 0.3 + 1 / n) / (0.7 * 0.3 / (n - 1) + 1 / n**2)
        assert n - 1 < trials < n
        for bound, above, other in ((got.low, True, 0.975), (got.high, False, 0.025)):
            x = 0.7 * trials
            tails = [stats.beta.cdf(bound, x, trials - x + 1), stats.beta.cdf(bound, x + 1, trials - x)]
            assert np.mean(tails) == pytest.approx(1 - other, abs=1e-9), above
        low, high = proportion_confint(wins, n, method="beta")
        assert low < got.low < 0.7 < got.high < high

    def test_a_run_that_hardly_overlaps_does_not_make_it_narrow(self) -> None:
        a, b = np.arange(30.0), np.append(-np.arange(1.0, 30.0), 0.5)
        overlapping, apart = improvement_interval(a, b, 0.95), improvement_interval(a, b - 1, 0.95)
        assert apart.estimate == 1 > overlapping.estimate > 0.998
        assert overlapping.low == pytest.approx(apart.low, abs=0.02)

    def test_single_runs_have_no_interval(self) -> None:
        got = improvement_interval(np.array([1.0]), np.array([0.0, 2.0, 3.0, 0.5]), 0.95)
        assert got.estimate == 0.5
        assert math.isnan(got.low)
        assert math.isnan(got.high)

    def test_cells_that_tie_throughout_are_around_a_half(self) -> None:
        got = improvement_interval(np.ones(5), np.ones(8), 0.95)
        assert got.estimate == 0.5
        assert 0 < got.low == pytest.approx(1 - got.high)

    @pytest.mark.parametrize(
        ("n", "spreads", "share"),
        [
            ((10, 10), (1, 1), 0.76),
            ((3, 3), (1, 10), 0.7),
            ((5, 5), (1, 10), 0.5),
            ((20, 5), (1, 10), 0.7),
            ((30, 3), (1, 10), 0.9),
            ((30, 10), (10, 1), 0.5),
            ((30, 30), (1, 10), 0.95),
        ],
    )
    def test_it_covers_whatever_the_spreads(
        self, n: tuple[int, int], spreads: tuple[float, float], share: float
    ) -> None:
        assert covered(share, spreads, n, 1000) >= 0.94 - 3 * math.sqrt(0.06 * 0.94 / 1000)

    def test_many_equal_runs_have_the_width_that_the_variance_of_ranks_gives(self) -> None:
        rng, n = RNG(1), 400
        found = [improvement_interval(rng.normal(size=n), rng.normal(size=n), 0.95) for _ in range(50)]
        error = math.sqrt((2 * n + 1) / (12 * n * n))
        assert np.mean([each.high - each.low for each in found]) == pytest.approx(2 * 1.96 * error, rel=0.03)


class TestBrunnerMunzel:
    def test_published_example(self) -> None:
        one = np.array([1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 1, 1], np.float64)  # Brunner and Munzel 2000, table 1
        other = np.array([3, 3, 4, 3, 1, 2, 3, 1, 1, 5, 4], np.float64)
        assert brunner_munzel_p(one, other) == pytest.approx(0.005786, abs=1e-6)

    @given(runs, runs)
    @settings(deadline=None, max_examples=50)
    def test_p_is_scipys(self, a: Values, b: Values) -> None:
        if a.min() > b.max() or a.max() < b.min() or np.ptp(np.concatenate([a, b])) == 0:
            assert math.isnan(brunner_munzel_p(a, b))
        else:
            assert brunner_munzel_p(a, b) == pytest.approx(stats.brunnermunzel(a, b).pvalue, abs=1e-12)

    def test_single_values_have_none(self) -> None:
        assert math.isnan(brunner_munzel_p(np.array([1.0]), np.array([0.0, 4.0])))
