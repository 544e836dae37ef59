"""Verdicts against statsmodels' equivalence tests, tests of the three-way partition by hand, and simulated errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from regulens.stats.estimate import IntervalEstimate, StudentEstimate, negative
from regulens.stats.intervals import Interval
from regulens.stats.verdicts import edge_alpha, judge

T = stats.t


def student(value: float, error: float = 1.0, df: float = 8.0) -> StudentEstimate:
    return StudentEstimate(value, error, df)


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 6])
@pytest.mark.parametrize("rope", [0.0, 0.3, 1.0, 4.0])
@pytest.mark.parametrize("value", [-9.0, -3.0, -2.0, -1.0, 0.0, 0.5, 1.9, 2.4, 3.5, 5.0, 8.0])
def test_verdict_is_that_of_the_tests_of_three_regions_by_hand(value: float, rope: float, alpha: float) -> None:
    """P values of the hypotheses below -ROPE, inside and above +ROPE, of zero, and their critical values."""
    found = judge(student(value), rope, alpha)
    one_sided = T.sf(value - rope, 8), T.cdf(value + rope, 8)  # of "not above +ROPE" and of "not below -ROPE"
    inside = max(T.sf(value + rope, 8), T.cdf(value - rope, 8)) < alpha  # two one-sided tests
    edge = edge_alpha(alpha, rope, student(value))
    expected = "undecided"
    if one_sided[0] < edge:
        expected = "better"
    elif one_sided[1] < edge:
        expected = "worse"
    elif rope and inside:
        expected = "equivalent"
    elif 2 * T.sf(abs(value), 8) < alpha:
        expected = "better (size open)" if value > 0 else "worse (size open)"
    assert found == expected
    turned = judge(student(-value), rope, alpha, "lower")
    assert turned == expected
    mirrored = {"better": "worse", "worse": "better"}
    assert judge(student(-value), rope, alpha) == " ".join(
        [mirrored.get(expected.split(" ")[0], expected.split(" ")[0]), *expected.split(" ")[1:]]
    )


@pytest.mark.parametrize("seed", range(12))
def test_equivalent_is_two_one_sided_tests_of_statsmodels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal(8), rng.standard_normal(12)
    means = CompareMeans(DescrStatsW(a), DescrStatsW(b))
    p = means.ttost_ind(-1.2, 1.2, usevar="unequal")[0]
    welch = stats.ttest_ind(a, b, equal_var=False)
    error = abs((a.mean() - b.mean()) / welch.statistic)
    estimate = StudentEstimate(float(a.mean() - b.mean()), float(error), float(welch.df))
    assert (judge(estimate, 1.2, 0.05) == "equivalent") == (p < 0.05)


@pytest.mark.parametrize("df", [4.0, 8.0, 38.0])
@pytest.mark.parametrize("width", [0.1, 0.25, 1.0, 2.5])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 6])
def test_the_two_ways_to_err_at_the_edge_add_up_to_alpha(alpha: float, width: float, df: float) -> None:
    edge = edge_alpha(alpha, width, student(0.0, df=df))
    better = edge  # of an estimate beyond the critical value above the edge it truly lies at
    c, at_zero = T.isf(edge, df), T.isf(alpha / 2, df)
    worse = T.sf(min(c + 2 * width, at_zero + width), df)
    assert better + worse == pytest.approx(alpha, rel=1e-6)
    assert alpha / 2 <= edge <= alpha


def test_without_a_region_the_edge_is_two_sided_and_with_a_wide_one_it_is_one_sided() -> None:
    assert edge_alpha(0.05, 0.0, student(1.0)) == 0.025
    assert edge_alpha(0.05, 100.0, student(1.0)) == pytest.approx(0.05)
    assert edge_alpha(0.05, 1e-9, student(1.0)) == pytest.approx(0.025, rel=1e-6)


@pytest.mark.parametrize("relative", [0.0, 0.25, 1.0, 4.0])
@pytest.mark.parametrize("truth", [-1, 0, 1])
def test_false_verdicts_at_the_borders_have_at_most_the_probability_alpha(relative: float, truth: int) -> None:
    rng, df, studies = np.random.default_rng(int(10 * relative) + truth + 1), 8, 2000
    rope = relative
    values = truth * rope + rng.standard_normal(studies)
    errors = np.sqrt(rng.chisquare(df, studies) / df)
    said = [judge(student(v, e, df), rope, 0.05) for v, e in zip(values, errors, strict=True)]
    wrong = {"better", "worse"}
    if truth == 0 or rope == 0:
        wrong |= {"better (size open)", "worse (size open)"}
    else:
        wrong.add("worse (size open)" if truth > 0 else "better (size open)")
        assert np.mean([each == "equivalent" for each in said]) <= 0.05 + 3 * math.sqrt(0.0475 / studies)
    assert np.mean([each in wrong for each in said]) <= 0.05 + 3 * math.sqrt(0.0475 / studies)


def test_a_bound_on_an_edge_but_for_rounding_is_on_neither_side() -> None:
    error = (0.835 - 0.83) / T.isf(0.025, 8)
    on_zero = student(0.835 - 0.83, error)
    assert judge(on_zero, 0.0, 0.05, rounding=1e-15) == "undecided"
    assert judge(student(0.0051, error), 0.0, 0.05, rounding=1e-15) == "better"


def test_what_has_no_bounds_is_undecided() -> None:
    unknown = StudentEstimate(0.3, math.nan, math.nan)
    assert judge(unknown, 0.1, 0.05) == "undecided"


class TestEstimates:
    def test_p_is_the_bounds_inverted(self) -> None:
        for estimate in (
            StudentEstimate(1.0, 0.4, 7.0, (1.3, 1.0)),
            StudentEstimate(-1.0, 0.4, 7.0, (1.0, 1.4)),
            IntervalEstimate(1.0, lambda level: Interval(1.0, 1 - T.isf((1 - level) / 2, 7), 9.0, level)),
        ):
            bound = estimate.lower(estimate.p / 2) if estimate.value > 0 else estimate.upper(estimate.p / 2)
            assert bound == pytest.approx(0.0, abs=1e-3)

    def test_p_resolves_far_below_a_thousandth(self) -> None:
        assert student(20.0, 1.0, 18.0).p == pytest.approx(2 * T.sf(20, 18))
        assert 0 < student(20.0, 1.0, 18.0).p < 1e-12

    def test_bounds_lie_within_what_is_possible(self) -> None:
        found = StudentEstimate(0.9, 0.2, 4.0, limits=(-1.0, 1.0)).interval(0.99)
        assert found.high == 1.0
        assert found.low == pytest.approx(0.9 - T.isf(0.005, 4) * 0.2)

    def test_the_negative_turns_bounds_and_keeps_p(self) -> None:
        one = StudentEstimate(0.3, 0.1, 5.0, (1.4, 1.0), (-1.0, 0.5))
        other = negative(one)
        assert other.lower(0.01) == -one.upper(0.01)
        assert other.upper(0.01) == -one.lower(0.01)
        assert other.p == one.p
        skewed = IntervalEstimate(0.3, lambda level: Interval(0.3, 0.1, 0.4, level))
        assert negative(skewed).interval(0.95) == Interval(-0.3, -0.4, -0.1, 0.95)
