"""Comparisons against scipy and statsmodels, and simulations whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from regulens.stats.cells import Cells
from regulens.stats.comparisons import Comparison, compare, hedges_g
from regulens.stats.design import Design, Primary
from regulens.stats.estimate import StudentEstimate
from regulens.stats.samples import Sample, sample
from regulens.stats.verdicts import judge

RNG = np.random.default_rng
DIRECTIONS = ("better", "worse", "better (size open)", "worse (size open)")


def normal(seed: int, mean: float, sd: float = 0.01, n: int = 10) -> Sample:
    """Runs of a symmetric normal shape, which no correction for skewness touches."""
    half = RNG(seed).standard_normal(n // 2)
    x = np.concatenate([half, -half, np.zeros(n % 2)])
    return sample(mean + sd * RNG(seed).permutation(x))


def compared(design: Design, *samples: Sample, family: int | None = None) -> list[Comparison]:
    """Compare each sample after the first with the first."""
    cells = Cells(dict(enumerate(samples)), design)
    return compare([(cell, 0) for cell in range(1, len(samples))], cells, family)


class TestFamily:
    def test_intervals_are_welchs_at_bonferronis_level_and_p_adjusted_by_holm(self) -> None:
        samples = [normal(0, 0.86), *(normal(seed, mean) for seed, mean in ((1, 0.86), (2, 0.87), (3, 0.9)))]
        found = compared(Design(rope=0.005), *samples)
        for arm, each in zip(samples[1:], found, strict=True):
            welch = stats.ttest_ind(arm.values, samples[0].values, equal_var=False)
            expected = welch.confidence_interval(1 - 0.05 / 3)
            assert (each.difference.low, each.difference.high) == pytest.approx(tuple(expected))
            alone = welch.confidence_interval(0.95)
            assert (each.unadjusted.low, each.unadjusted.high) == pytest.approx(tuple(alone))
            assert each.p == pytest.approx(welch.pvalue)
        assert [each.p_holm for each in found] == pytest.approx(multipletests([e.p for e in found], method="holm")[1])
        assert found[2].verdict == "better"

    def test_two_answers_share_the_family(self) -> None:
        samples = [normal(0, 0.86), normal(1, 0.87), normal(2, 0.88)]
        for one, both in zip(compared(Design(), *samples), compared(Design(rates=True), *samples), strict=True):
            assert one.rate is None
            assert both.rate is not None
            assert (one.difference.level, both.difference.level) == (1 - 0.05 / 2, 1 - 0.05 / 4)
            assert both.rate.interval.level == both.difference.level
            assert both.trained.runs == (10, 10)

    def test_a_comparison_that_cannot_be_made_still_counts_in_the_family(self) -> None:
        a, b = normal(1, 0.9), normal(2, 0.89)
        (alone,) = compared(Design(), a, b)
        (one_of_four,) = compared(Design(), a, b, family=4)
        assert one_of_four.difference.level == 1 - 0.05 / 4
        assert one_of_four.p_holm == pytest.approx(min(1, 4 * alone.p))

    def test_hundreds_of_comparisons_of_large_effects_have_a_small_p(self) -> None:
        cells = Cells({0: normal(0, 0.5), 1: normal(1, 0.9)}, Design())
        (found,) = compare([(1, 0)], cells, family=510)
        assert found.verdict == "better"
        assert 0 < found.p_holm < 1e-6

    def test_the_order_of_the_cells_only_turns_the_sign(self) -> None:
        a, b = normal(1, 0.9, n=6), normal(2, 0.86, 0.02, n=8)
        (one,), (other,) = compared(Design(), b, a), compared(Design(), a, b)
        assert (one.difference.low, one.difference.high) == pytest.approx(
            (-other.difference.high, -other.difference.low)
        )
        assert (one.verdict, other.verdict) == ("better", "worse")
        assert one.effect_size == pytest.approx(-other.effect_size)
        assert one.improvement.estimate == pytest.approx(1 - other.improvement.estimate)
        assert one.p == pytest.approx(other.p)

    def test_a_lower_loss_is_better(self) -> None:
        (found,) = compared(Design(direction="lower"), normal(2, 0.5), normal(1, 0.4))
        assert found.difference.estimate == pytest.approx(-0.1)
        assert found.verdict == "better"
        assert found.improvement.estimate > 0.9


class TestVerdicts:
    @pytest.mark.parametrize(
        ("mean", "rope", "verdict", "above"),
        [
            (0.90, 0.005, "better", 0),
            (0.82, 0.005, "worse", 0),
            (0.86, 0.05, "equivalent", 0),
            (0.88, 0.05, "equivalent", 1),
            (0.84, 0.05, "equivalent", -1),
            (0.875, 0.012, "better (size open)", 0),
            (0.845, 0.012, "worse (size open)", 0),
            (0.862, 0.005, "undecided", 0),
        ],
    )
    def test_each_token_from_runs(self, mean: float, rope: float, verdict: str, above: int) -> None:
        (found,) = compared(Design(rope=rope), normal(0, 0.86, n=20), normal(1, mean, n=20))
        assert (found.verdict, found.above_zero) == (verdict, above)
        assert bool(found.reason) == (verdict not in {"better", "worse", "equivalent"})
        assert found.verdict == judge(found.estimate, rope, 0.05)

    @pytest.mark.parametrize("runs", [1, 2])
    def test_one_or_two_runs_are_never_judged(self, runs: int) -> None:
        (found,) = compared(Design(), normal(1, 0.8), sample([0.91, 0.9][:runs]))
        assert found.verdict == "too few runs"
        assert found.more == 3 - runs
        assert found.reason.startswith(f"{runs} trained run{'s' * (runs - 1)} of a cell;")

    def test_cells_without_any_spread_are_undecided(self) -> None:
        (found,) = compared(Design(), sample([0.8] * 3), sample([0.9] * 3))
        assert found.verdict == "undecided"
        assert found.reason.startswith("neither cell has any spread")
        assert math.isnan(found.difference.low)

    def test_few_runs_that_look_skewed_are_judged_only_where_it_holds_whatever_their_skewness(self) -> None:
        tail = np.array([0.0, 0.001, 0.002, 0.002, -0.03])
        samples = [sample(0.86 + scale * tail) for scale in (1, 2, 3)]
        near, far = (compared(Design(), *samples, sample(mean + tail))[2] for mean in (0.88, 0.99))
        assert (near.verdict, near.more) == ("too few runs", 7)
        assert (far.verdict, far.more) == ("better", 0)


class TestCollapse:
    DESIGN = Design(rope=0.005, rates=True, failed=0.1, bounds=(0.0, 1.0))

    def test_where_no_run_trained_the_overall_mean_may_be_whatever_is_possible(self) -> None:
        guessing = sample([0.1, 0.101, 0.099, 0.1, 0.1], [True] * 5)
        (found,) = compared(self.DESIGN, guessing, sample([0.1] * 5, [True] * 5))
        assert found.overall.interval.high > 0.3
        assert found.overall.interval.low < -0.3
        (unbounded,) = compared(Design(rates=True, failed=2.3, direction="lower"), guessing, guessing)
        assert math.isnan(unbounded.overall.interval.estimate)

    @pytest.mark.parametrize("primary", ["mean", "median"])
    def test_a_mean_of_runs_that_diverged_is_unknown_not_short_of_runs(self, primary: Primary) -> None:
        diverged = sample([0.4, 0.41, 0.39, 0.4, math.nan], [False] * 4 + [True])
        (found,) = compared(Design(primary=primary, rates=True, direction="lower"), diverged, normal(1, 0.5))
        assert found.verdict == "undecided"
        assert found.reason == "some runs diverged, and the value to count them with is unknown"

    def test_a_cell_that_collapses_is_better_when_it_trains_but_trains_less_often(self) -> None:
        lucky = sample([0.1] * 8 + [0.9, 0.901, 0.899, 0.9, 0.9005, 0.8995], [True] * 8 + [False] * 6)
        steady = normal(1, 0.88, 0.001, n=40)
        (found,) = compared(self.DESIGN, steady, lucky)
        assert found.verdict == "better"
        assert found.trained.runs == (6, 40)
        assert found.rate is not None
        assert found.rate.verdict == "worse"
        assert (found.mixed, found.word) == (True, "mixed: better")
        (turned,) = compared(self.DESIGN, lucky, steady)
        assert (turned.verdict, turned.mixed, turned.word) == ("worse", True, "mixed: worse")
        assert found.overall.verdict is None
        assert found.overall.interval.high < 0
        (declared,) = compared(Design(primary="mean", rates=True, failed=0.1), steady, lucky)
        assert declared.verdict.startswith("worse")

    def test_a_decided_verdict_says_what_difference_of_rates_undoes_it(self) -> None:
        (found,) = compared(self.DESIGN, normal(2, 0.86), normal(1, 0.9))
        assert found.sensitivity is not None
        undone = found.sensitivity.difference
        assert (1 - undone) * 0.9 + undone * 0.1 == pytest.approx(0.86)
        assert found.sensitivity.seen == ((0, 10), (0, 10))
        assert found.sensitivity.interval.low < -0.2
        (open_,) = compared(self.DESIGN, normal(2, 0.86), normal(1, 0.861))
        assert open_.sensitivity is None

    def test_a_collapse_in_another_cell_leaves_a_comparison_as_it_is(self) -> None:
        pair = normal(2, 0.86), normal(1, 0.9)
        third = sample([0.1] * 9 + [0.87], [True] * 9 + [False])
        alone, beside = (compared(self.DESIGN, *samples, family=2)[0] for samples in (pair, (*pair, third)))
        assert beside.verdict == alone.verdict == "better"
        assert beside.difference == alone.difference

    def test_diverged_runs_count_as_failures_to_train_and_rank_last(self) -> None:
        diverging = sample([0.1, 0.11, 0.12, 0.1, *[math.nan] * 6], [False] * 4 + [True] * 6)
        (found,) = compared(Design(direction="lower", rates=True, failed=2.3), normal(1, 0.2), diverging)
        assert found.runs == (10, 10)
        assert found.trained.runs == (4, 10)
        assert found.rate is not None
        assert found.rate.estimate.value == 0.6
        assert found.improvement.estimate == pytest.approx(0.4)
        assert found.overall.estimate.value == pytest.approx(0.6 * 2.3 + 0.4 * 0.1075 - 0.2)
        assert math.isnan(found.p_permutation)


class TestBlocks:
    def test_seeds_as_blocks_take_the_common_spread_out(self) -> None:
        rng = RNG(3)
        common = 0.05 * rng.standard_normal(10)
        a, b = (sample(mean + common + 0.001 * rng.standard_normal(10)) for mean in (0.87, 0.86))
        (paired,), (independent,) = compared(Design(paired=True), b, a), compared(Design(), b, a)
        assert (paired.verdict, independent.verdict) == ("better", "undecided")
        shuffled = Sample(a.values[::-1].copy(), a.collapsed, a.seeds[::-1].copy())
        (again,) = compared(Design(paired=True), b, shuffled)
        assert again.difference.low == pytest.approx(paired.difference.low)
        assert paired.p == pytest.approx(stats.ttest_rel(a.values, b.values).pvalue)

    def test_without_blocks_in_common_there_is_no_verdict(self) -> None:
        (found,) = compared(Design(paired=True), sample([1.0, 2.0]), sample([1.0, 2.0], seeds=[7, 8]))
        assert (found.verdict, found.more) == ("too few runs", 3)


def test_hedges_g_is_the_difference_in_standard_deviations_shrunk() -> None:
    a, b = np.array([1.0, 2, 3, 4]), np.array([0.0, 2, 4])
    expected = 0.5 / math.sqrt((5 / 3 + 4) / 2) * (1 - 3 / 19)
    assert hedges_g(a, b) == pytest.approx(expected)
    assert math.isnan(hedges_g(np.ones(3), np.ones(3)))


def family_error(draw: object, n: int, rounds: int, rates: bool = False) -> float:
    """The share of families of three comparisons of equal cells in which a direction is named."""
    rng, wrong = RNG(n), 0
    for _ in range(rounds):
        values: NDArray[np.float64] = draw(rng, n)  # type: ignore[operator]
        cells = Cells(dict(enumerate(map(sample, values))), Design(rates=rates, failed=0.1))
        level = cells.design.alpha_of_one(3)
        found = [cells.trained({cell: 1.0, 0: -1.0}) for cell in (1, 2, 3)]
        few = [cells.too_few({cell: 1.0, 0: -1.0}, level) for cell in (1, 2, 3)]
        wrong += any(
            judge(why.doubted if why and why.doubted else each, 0, level) in DIRECTIONS
            for each, why in zip(found, few, strict=True)
        )
    return wrong / rounds


@pytest.mark.parametrize("n", [5, 10])
@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, n: 0.88 + 0.006 * rng.standard_normal((4, n)),
        lambda rng, n: 0.88 + 0.006 * rng.standard_normal((4, n)) * np.array([[1], [1], [4], [8]]),
        lambda rng, n: 0.88 + 0.006 * rng.standard_t(3, (4, n)) * np.array([[1], [2], [6], [12]]),
        lambda rng, n: 0.88 + 0.006 * (1 - rng.exponential(1, (4, n))),
    ],
)
def test_equal_cells_are_called_better_or_worse_in_at_most_a_twentieth_of_the_families(draw: object, n: int) -> None:
    assert family_error(draw, n, 200) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


@given(st.integers(3, 6), st.integers(3, 6), st.integers(0, 99))
@settings(deadline=None, max_examples=10)
def test_shifting_and_scaling_the_response_shifts_and_scales_the_answer(n: int, m: int, seed: int) -> None:
    a, b = normal(seed, 0.5, 0.1, n), normal(seed + 100, 0.4, 0.1, m)
    (one,) = compared(Design(), b, a)
    scaled = [sample(100 * each.values + 7) for each in (b, a)]
    (other,) = compared(Design(), *scaled)
    assert other.difference.low == pytest.approx(100 * one.difference.low, abs=1e-6)
    assert other.effect_size == pytest.approx(one.effect_size)
    assert other.verdict == one.verdict
    assert isinstance(one.estimate, StudentEstimate)
