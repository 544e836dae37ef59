"""Comparisons and verdicts against scipy and statsmodels, and simulations whose truth is known."""

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

from regulens.stats.comparisons import (
    Design,
    compare,
    difference_interval,
    hedges_g,
    judge,
    permutation_p,
)
from regulens.stats.intervals import Interval, collapse_of, mover_difference, welch_interval, wilson
from regulens.stats.samples import Sample, sample

RNG = np.random.default_rng


def normal(seed: int, mean: float, sd: float = 0.01, n: int = 10) -> Sample:
    return sample(mean + sd * RNG(seed).standard_normal(n))


class TestVerdict:
    @pytest.mark.parametrize(
        ("low", "high", "rope", "verdict"),
        [
            (0.006, 0.02, 0.005, "better"),
            (-0.02, -0.006, 0.005, "worse"),
            (-0.004, 0.004, 0.005, "equivalent"),
            (0.001, 0.004, 0.005, "equivalent"),
            (0.001, 0.006, 0.005, "undecided"),
            (0.005, 0.006, 0.005, "undecided"),
            (-0.005, 0.001, 0.005, "undecided"),
            (0.001, 0.002, 0.0, "better"),
            (0.0, 0.002, 0.0, "undecided"),
            (0.0, 0.0, 0.0, "undecided"),
            (math.nan, math.nan, 0.005, "undecided"),
        ],
    )
    def test_it_depends_on_the_interval_alone(self, low: float, high: float, rope: float, verdict: str) -> None:
        assert judge(Interval((low + high) / 2, low, high, 0.95), rope) == verdict
        turned = {"better": "worse", "worse": "better"}.get(verdict, verdict)
        assert judge(Interval((low + high) / 2, low, high, 0.95), rope, "lower") == turned


class TestFamily:
    def test_intervals_are_made_at_bonferronis_level_and_p_adjusted_by_holm(self) -> None:
        control = normal(0, 0.86)
        arms = [normal(seed, mean) for seed, mean in ((1, 0.86), (2, 0.87), (3, 0.9))]
        found = compare([(arm, control) for arm in arms], Design(rope=0.005), [control, *arms], RNG(0))
        for arm, each in zip(arms, found, strict=True):
            assert each.difference == welch_interval(arm.values, control.values, 1 - 0.05 / 3)
            assert each.unadjusted == welch_interval(arm.values, control.values, 0.95)
            assert each.collapse is None
            assert each.difference.low < each.unadjusted.low
        assert [each.p_holm for each in found] == pytest.approx(multipletests([e.p for e in found], method="holm")[1])
        assert [each.verdict for each in found] == ["undecided", "undecided", "better"]

    def test_the_order_of_the_cells_only_turns_the_sign(self) -> None:
        a, b = normal(1, 0.9, n=6), normal(2, 0.86, 0.02, n=8)
        ((one,), (other,)) = (compare([pair], Design(), [a, b], RNG(0)) for pair in ((a, b), (b, a)))
        assert (one.difference.low, one.difference.high) == pytest.approx(
            (-other.difference.high, -other.difference.low)
        )
        assert (one.verdict, other.verdict) == ("better", "worse")
        assert one.effect_size == pytest.approx(-other.effect_size)
        assert one.improvement.estimate == pytest.approx(1 - other.improvement.estimate)
        assert one.p == pytest.approx(other.p, abs=0.01)

    def test_a_lower_loss_is_better(self) -> None:
        a, b = normal(1, 0.4), normal(2, 0.5)
        (found,) = compare([(a, b)], Design(direction="lower"), [a, b], RNG(0))
        assert found.difference.estimate == pytest.approx(-0.1, abs=0.01)
        assert found.verdict == "better"
        assert found.improvement.estimate > 0.9

    def test_few_runs_say_that_no_p_can_be_significant(self) -> None:
        a, b = normal(1, 0.9, n=3), normal(2, 0.8, n=3)
        (found,) = compare([(a, b)], Design(), [a, b], RNG(0))
        assert math.isnan(found.p)
        assert found.p_reason == "with 3 and 3 runs and one comparison, no adjusted p can be below 0.1"
        assert found.verdict == "better"  # an interval of normal values needs less than a permutation test
        four = [normal(seed, 0.9 - 0.1 * seed, n=4) for seed in range(2)]
        (found,) = compare([(four[0], four[1])], Design(), four, RNG(0))
        assert found.p == pytest.approx(2 / 70)

    def test_single_runs_are_undecided_and_say_why(self) -> None:
        a, b = sample([0.9]), sample([0.8])
        (found,) = compare([(a, b)], Design(), [a, b], RNG(0))
        assert found.verdict == "undecided"
        assert found.reason == "too few runs for an interval: two of each are needed"
        assert math.isnan(found.p)
        lone = [sample([0.9]), normal(1, 0.8, n=80)]
        (found,) = compare([(lone[0], lone[1])], Design(), lone, RNG(0))
        assert found.p_reason == "a single run has no spread and allows no test"

    def test_cells_without_any_spread_are_undecided(self) -> None:
        a, b = sample([0.9, 0.9, 0.9]), sample([0.8, 0.8, 0.8])
        (found,) = compare([(a, b)], Design(), [a, b], RNG(0))
        assert found.verdict == "undecided"
        assert found.reason.startswith("neither cell has any spread")
        assert math.isnan(found.difference.low)

    def test_a_comparison_that_cannot_be_made_still_counts_in_the_family(self) -> None:
        a, b = normal(1, 0.9), normal(2, 0.89)
        (alone,) = compare([(a, b)], Design(), [a, b], RNG(0))
        (one_of_four,) = compare([(a, b)], Design(), [a, b], RNG(0), family=4)
        assert one_of_four.difference.level == 1 - 0.05 / 4
        assert one_of_four.p_holm == pytest.approx(min(1, 4 * alone.p))

    def test_a_cell_that_collapses_is_not_better_for_its_lucky_runs(self) -> None:
        lucky = sample([0.1] * 5 + [0.9] * 5, [True] * 5 + [False] * 5)
        steady = sample(0.88 + 0.001 * np.arange(10))
        (found,) = compare([(lucky, steady)], Design(rope=0.005), [lucky, steady], RNG(0))
        assert found.trained.low > 0.005
        assert found.verdict == "worse"
        assert found.collapse == mover_difference(wilson(5, 10, 0.95), wilson(0, 10, 0.95))

    def test_collapses_that_cannot_be_excluded_keep_a_verdict_open(self) -> None:
        cells = [normal(1, 0.9), normal(2, 0.87), sample([0.1] * 9 + [0.87], [True] * 9 + [False])]
        (found,) = compare([(cells[0], cells[1])], Design(rope=0.005), cells, RNG(0))
        assert found.verdict == "undecided"
        assert found.reason == "better among the non-collapsed runs, but so few runs leave the collapse rates open"
        (free,) = compare([(cells[0], cells[1])], Design(rope=0.005), cells[:2], RNG(0))
        assert free.verdict == "better"
        (declared,) = compare([(cells[0], cells[1])], Design(rope=0.005, primary="trained"), cells, RNG(0))
        assert declared.verdict == "better"

    def test_seeds_as_blocks_take_the_common_spread_out(self) -> None:
        rng = RNG(3)
        common = 0.05 * rng.standard_normal(10)
        a, b = (sample(mean + common + 0.001 * rng.standard_normal(10)) for mean in (0.87, 0.86))
        (paired,) = compare([(a, b)], Design(paired=True), [a, b], RNG(0))
        (independent,) = compare([(a, b)], Design(), [a, b], RNG(0))
        assert (paired.verdict, independent.verdict) == ("better", "undecided")
        shuffled = Sample(a.values[::-1].copy(), a.collapsed, a.seeds[::-1].copy())
        (again,) = compare([(shuffled, b)], Design(paired=True), [a, b], RNG(0))
        assert again.difference.low == pytest.approx(paired.difference.low)
        with pytest.raises(ValueError, match="no seed in common"):
            compare([(sample([1, 2], seeds=[7, 8]), sample([1, 2]))], Design(paired=True), [a, b], RNG(0))
        with pytest.raises(ValueError, match="occurs twice"):
            compare([(sample([1, 2], seeds=[0, 0]), sample([1, 2]))], Design(paired=True), [a, b], RNG(0))


class TestTests:
    def test_permutation_p_counts_all_arrangements_of_few_runs(self) -> None:
        a, b = np.array([0.9, 0.91, 0.87, 0.93]), np.array([0.88, 0.86, 0.85, 0.9])
        pooled = np.concatenate([a, b])

        def t(chosen: tuple[int, ...]) -> float:
            one, other = pooled[list(chosen)], np.delete(pooled, list(chosen))
            return abs(float(stats.ttest_ind(one, other, equal_var=False).statistic))

        every = [t(chosen) for chosen in itertools.combinations(range(8), 4)]
        expected = np.mean([each >= t((0, 1, 2, 3)) - 1e-9 for each in every])
        assert permutation_p(sample(a), sample(b), False, RNG(0)) == pytest.approx(expected)

    def test_permutation_p_of_pairs_flips_every_sign(self) -> None:
        a, b = np.array([0.9, 0.91, 0.87, 0.93, 0.9, 0.88]), np.array([0.88, 0.86, 0.85, 0.94, 0.86, 0.86])
        flips = [np.array(signs) * (a - b) for signs in itertools.product([1, -1], repeat=6)]
        t = [abs(float(stats.ttest_1samp(each, 0).statistic)) for each in flips]
        expected = np.mean([each >= t[0] - 1e-9 for each in t])
        assert permutation_p(sample(a), sample(b), True, RNG(0)) == pytest.approx(expected)

    def test_under_equal_means_and_unequal_variances_it_errs_as_often_as_it_says(self) -> None:
        rng = RNG(1)
        wrong = [
            permutation_p(sample(rng.standard_normal(6)), sample(4 * rng.standard_normal(9)), False, rng) <= 0.05
            for _ in range(100)
        ]
        assert np.mean(wrong) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 100)

    @pytest.mark.parametrize("same", [True, False])
    def test_cells_without_spread_have_a_p(self, same: bool) -> None:
        a, b = sample([0.9] * 5), sample([0.9 if same else 0.8] * 5)
        assert permutation_p(a, b, False, RNG(0)) == pytest.approx(1.0 if same else 2 / 252)

    def test_hedges_g_is_the_difference_in_standard_deviations_shrunk(self) -> None:
        a, b = np.array([1.0, 2, 3, 4]), np.array([0.0, 2, 4])
        expected = 0.5 / math.sqrt((5 / 3 + 4) / 2) * (1 - 3 / 19)
        assert hedges_g(a, b) == pytest.approx(expected)
        assert math.isnan(hedges_g(np.ones(3), np.ones(3)))


def collapsing(rng: np.random.Generator, rate: float, n: int) -> Sample:
    values: NDArray[np.float64] = 0.88 + 0.006 * rng.standard_normal(n)
    collapsed = rng.random(n) < rate
    return sample(np.where(collapsed, 0.1, values), collapsed)


@pytest.mark.parametrize("n", [5, 10])
@pytest.mark.parametrize("rate", [0.0, 0.2])
def test_equal_cells_are_called_better_or_worse_in_at_most_a_twentieth_of_the_families(n: int, rate: float) -> None:
    rng, rounds, wrong = RNG(n), 400, 0
    for _ in range(rounds):
        cells = [collapsing(rng, rate, n) for _ in range(4)]
        intervals = [
            difference_interval(each, cells[0], Design(), collapse_of(cells), 1 - 0.05 / 3) for each in cells[1:]
        ]
        wrong += any(judge(interval, 0) in {"better", "worse"} for interval in intervals)
    assert wrong / rounds <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)


@given(st.integers(2, 6), st.integers(2, 6), st.integers(0, 99))
@settings(deadline=None, max_examples=10)
def test_shifting_and_scaling_the_response_shifts_and_scales_the_answer(n: int, m: int, seed: int) -> None:
    a, b = normal(seed, 0.5, 0.1, n), normal(seed + 100, 0.4, 0.1, m)
    (one,) = compare([(a, b)], Design(), [a, b], RNG(0))
    scaled = [sample(100 * each.values + 7) for each in (a, b)]
    (other,) = compare([(scaled[0], scaled[1])], Design(), scaled, RNG(0))
    assert other.difference.low == pytest.approx(100 * one.difference.low, abs=1e-6)
    assert other.effect_size == pytest.approx(one.effect_size)
    assert other.verdict == one.verdict
