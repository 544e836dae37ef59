"""Contrasts of cells against scipy's Welch test, statsmodels, sums written out, and simulations with known truth."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from regulens.stats.cells import LEAST_RUNS_IF_UNEQUAL, Cells
from regulens.stats.design import Design
from regulens.stats.intervals import wilson
from regulens.stats.samples import Sample, sample

RNG = np.random.default_rng
PAIR = {"a": 1.0, "b": -1.0}


def symmetric(seed: int, n: int) -> NDArray[np.float64]:
    half = RNG(seed).standard_normal(n)
    return np.concatenate([half, -half])


def of(design: Design, **values: NDArray[np.float64]) -> Cells[str]:
    return Cells({name: sample(x) for name, x in values.items()}, design)


class TestOverSeeds:
    @pytest.mark.parametrize("level", [0.9, 0.95, 1 - 0.05 / 6])
    @pytest.mark.parametrize(("n", "m"), [(2, 5), (4, 4), (10, 3)])
    def test_without_skewness_a_difference_is_welchs(self, n: int, m: int, level: float) -> None:
        a, b = symmetric(1, n) + 3, 5 * symmetric(2, m)
        found = of(Design(), a=a, b=b).trained(PAIR)
        welch = stats.ttest_ind(a, b, equal_var=False)
        expected = welch.confidence_interval(level)
        assert (found.interval(level).low, found.interval(level).high) == pytest.approx(expected, rel=1e-9)
        assert (found.df, found.p) == pytest.approx((welch.df, welch.pvalue))

    def test_a_contrast_of_more_cells_has_satterthwaites_freedom(self) -> None:
        x = {"a": symmetric(1, 4), "b": 2 * symmetric(2, 3), "c": 3 * symmetric(3, 5)}
        weights = {"a": 0.5, "b": 0.5, "c": -1.0}
        parts = {key: weights[key] ** 2 * each.var(ddof=1) / len(each) for key, each in x.items()}
        found = of(Design(), **x).trained(weights)
        df = sum(parts.values()) ** 2 / sum(parts[key] ** 2 / (len(x[key]) - 1) for key in x)
        assert (found.df, found.error) == pytest.approx((df, math.sqrt(sum(parts.values()))))

    def test_a_long_tail_moves_the_bound_on_its_side(self) -> None:
        x = np.array([0.86, 0.88, 0.885, 0.89, 0.89, 0.892])
        found = of(Design(), a=x).trained({"a": 1.0}).interval(0.95)
        low, high = stats.t.interval(0.95, 5, loc=x.mean(), scale=stats.sem(x))
        assert found.low < low - 1e-3
        assert found.high == pytest.approx(high)

    @pytest.mark.parametrize("values", [[0.9], [0.9, 0.9, 0.9]])
    def test_single_runs_and_no_spread_leave_no_bounds(self, values: list[float]) -> None:
        found = of(Design(), a=np.array(values)).trained({"a": 1.0})
        assert found.value == pytest.approx(0.9)
        assert not found.known
        assert math.isnan(found.p)

    def test_a_single_run_against_many_leaves_no_bounds(self) -> None:
        assert not of(Design(), a=np.array([0.9]), b=symmetric(0, 5)).trained(PAIR).known

    def test_bounds_of_a_contrast_are_those_that_its_weights_allow(self) -> None:
        x = {key: np.array([0.0, 1.0, 0.5]) + 0.0 * k for k, key in enumerate("abcd")}
        found = of(Design(bounds=(0.0, 1.0)), **x).trained({"a": 1.0, "b": -1.0, "c": -1.0, "d": 1.0}).interval(0.9999)
        assert (found.low, found.high) == (-2.0, 2.0)


class TestBlocks:
    def test_one_factor_within_blocks_is_the_paired_t_test(self) -> None:
        a, b = RNG(1).standard_normal(8), RNG(2).standard_normal(8)
        found = of(Design(paired=True), a=a, b=b).trained(PAIR)
        expected = stats.ttest_rel(a, b)
        assert found.p == pytest.approx(expected.pvalue)
        assert (found.lower(0.05), found.upper(0.05)) == pytest.approx(tuple(expected.confidence_interval(0.9)))

    def test_blocks_are_matched_by_seed_and_several_runs_of_one_averaged(self) -> None:
        a = sample([1.0, 2.0, 4.0, 9.0, 5.0], seeds=[3, 1, 1, 2, 8])
        b = sample([0.5, 1.0, 1.5], seeds=[1, 2, 3])
        found = Cells({"a": a, "b": b}, Design(paired=True)).trained(PAIR)
        expected = np.array([3.0 - 0.5, 9.0 - 1.0, 1.0 - 1.5])
        assert (found.value, found.error) == pytest.approx((expected.mean(), stats.sem(expected)))

    def test_a_block_in_which_a_cell_collapsed_is_left_out_of_the_trained(self) -> None:
        a = sample([0.9, 0.1, 0.92, 0.93], [False, True, False, False])
        b = sample([0.8, 0.81, 0.84, 0.82])
        cells = Cells({"a": a, "b": b}, Design(paired=True))
        assert cells.trained(PAIR).value == pytest.approx(np.mean([0.1, 0.08, 0.11]))

    def test_over_splits_the_variance_is_nadeau_and_bengios(self) -> None:
        d = np.array([0.01, 0.03, -0.01, 0.02, 0.02])
        design = Design(paired=True, over=("seeds", "split"), test_ratio=0.25)
        found = of(design, a=0.8 + d, b=np.full(5, 0.8)).trained(PAIR)
        assert found.error == pytest.approx(math.sqrt((1 / 5 + 0.25) * d.var(ddof=1)))
        assert found.df == 4

    def test_fewer_than_three_blocks_are_too_few(self) -> None:
        cells = of(Design(paired=True), a=np.array([0.9, 0.8]), b=np.array([0.7, 0.75]))
        few = cells.too_few(PAIR)
        assert few is not None
        assert (few.reason, few.more) == ("2 blocks in common; a verdict needs 3", 1)


class TestImages:
    @staticmethod
    def matrices(seed: int, a: int = 4, b: int = 6, images: int = 50) -> dict[str, NDArray[np.float64]]:
        rng = RNG(seed)
        chance = rng.uniform(0.3, 0.9, images)
        return {
            name: (rng.random((n, images)) < chance + 0.1 * rng.standard_normal((n, 1))).astype(np.float64)
            for name, n in (("a", a), ("b", b))
        }

    def cells(self, correct: Mapping[str, NDArray[np.float64]]) -> Cells[str]:
        samples = {name: sample(x.mean(1)) for name, x in correct.items()}
        return Cells(samples, Design(over=("seeds", "images"), bounds=(0.0, 1.0)), correct)

    def test_the_variance_is_that_of_images_and_of_runs_written_out(self) -> None:
        correct = self.matrices(3)
        by_image = correct["a"].mean(0) - correct["b"].mean(0)
        variance = by_image.var(ddof=1) / 50
        for x in correct.values():
            runs, images = x.shape
            residual = x - x.mean(0) - x.mean(1, keepdims=True) + x.mean()
            ms_residual = np.sum(residual**2) / ((runs - 1) * (images - 1))
            variance += max(x.mean(1).var(ddof=1) * images - ms_residual, 0.0) / (runs * images)
        found = self.cells(correct).trained(PAIR)
        assert found.error == pytest.approx(math.sqrt(variance))
        assert found.value == pytest.approx(by_image.mean())

    def test_the_sign_turns_with_the_order_of_the_cells(self) -> None:
        cells = self.cells(self.matrices(5))
        one, other = cells.trained(PAIR).interval(0.95), cells.trained({"b": 1.0, "a": -1.0}).interval(0.95)
        assert (one.estimate, one.low, one.high) == pytest.approx((-other.estimate, -other.high, -other.low))

    def test_it_covers_over_new_runs_and_new_images(self) -> None:
        rng, hits = RNG(0), []
        for _ in range(250):
            images = rng.uniform(0.5, 0.9, 100)
            cells = {}
            for name, shift in (("a", 0.0), ("b", 0.02)):
                chance = images + shift + rng.choice([-0.1, 0.1], 100) + rng.normal(0, 0.02, (6, 1))
                cells[name] = (rng.random((6, 100)) < chance).astype(np.float64)
            found = self.cells(cells).trained(PAIR).interval(0.95)
            hits.append(found.low <= -0.02 <= found.high)
        assert np.mean(hits) >= 0.95 - 3 * math.sqrt(0.0475 / 250)

    def test_without_images_it_is_over_seeds(self) -> None:
        correct = self.matrices(3)
        samples = {name: sample(x.mean(1)) for name, x in correct.items()}
        over = Cells(samples, Design(over=("seeds", "images"))).trained(PAIR)
        assert over.error == pytest.approx(Cells(samples, Design()).trained(PAIR).error)

    def test_the_images_of_runs_that_collapsed_do_not_count(self) -> None:
        correct = self.matrices(3)
        with_guess = np.vstack([correct["a"], np.arange(50) % 10 == 0])
        samples = {
            "a": sample(with_guess.mean(1), [False] * 4 + [True]),
            "b": sample(correct["b"].mean(1)),
        }
        found = Cells(samples, Design(over=("seeds", "images")), {**correct, "a": with_guess}).trained(PAIR)
        assert found.error == pytest.approx(self.cells(correct).trained(PAIR).error)


class TestCollapse:
    @staticmethod
    def drawn(rng: np.random.Generator, rate: float, n: int) -> Sample:
        collapsed = rng.random(n) < rate
        return sample(np.where(collapsed, 0.1, 0.88) + 0.005 * rng.standard_normal(n), collapsed)

    def cells(self, *samples: Sample) -> Cells[str]:
        design = Design(primary="mean", rates=True, failed=0.1, bounds=(0.0, 1.0))
        return Cells(dict(zip("abcd", samples, strict=False)), design)

    @pytest.mark.parametrize("rate", [0.02, 0.2])
    def test_an_overall_mean_covers_also_where_no_collapse_is_seen(self, rate: float) -> None:
        rng, truth, rounds = RNG(1), 0.88 - 0.78 * rate, 400
        found = [self.cells(self.drawn(rng, rate, 10)).overall({"a": 1.0}).interval(0.95) for _ in range(rounds)]
        covered = np.mean([each.low <= truth <= each.high for each in found])
        assert covered >= 0.93 - 3 * math.sqrt(0.93 * 0.07 / rounds)

    @pytest.mark.parametrize("rates", [(0.0, 0.02), (0.0, 0.05), (0.0, 0.4)])
    def test_equal_overall_means_are_seldom_told_apart(self, rates: tuple[float, float]) -> None:
        rng, wrong, rounds = RNG(2), 0, 200
        for _ in range(rounds):
            samples = []
            for rate in rates:
                runs = self.drawn(rng, rate, 10)
                trained = (0.5 - rate * 0.1) / (1 - rate)
                values = np.where(runs.collapsed, runs.values, runs.values - 0.88 + trained)
                samples.append(Sample(values, runs.collapsed, runs.seeds))
            found = self.cells(*samples).overall(PAIR)
            wrong += found.lower(0.025) > 0 or found.upper(0.025) < 0
        assert wrong / rounds <= 0.05

    def test_a_collapse_in_another_cell_does_not_widen_a_difference(self) -> None:
        rng = RNG(3)
        a, b = self.drawn(rng, 0.0, 10), self.drawn(rng, 0.0, 10)
        alone, beside = self.cells(a, b), self.cells(a, b, sample([0.1, 0.88, 0.87], [True, False, False]))
        one, other = alone.overall(PAIR).interval(0.95), beside.overall(PAIR).interval(0.95)
        assert other.high - other.low == pytest.approx(one.high - one.low, rel=0.05)

    def test_an_interaction_of_collapsing_cells_covers(self) -> None:
        rng, rates = RNG(7), (0.0, 0.15, 0.35, 0.1)
        weights = dict(zip("abcd", (1.0, -1.0, -1.0, 1.0), strict=True))
        truth = float(np.dot([1, -1, -1, 1], [0.88 - 0.78 * rate for rate in rates]))
        found = [
            self.cells(*(self.drawn(rng, rate, 12) for rate in rates)).overall(weights).interval(0.95)
            for _ in range(150)
        ]
        assert np.mean([each.low < truth < each.high for each in found]) > 0.93

    def test_an_unseen_collapse_is_in_the_bound_of_the_overall_mean_by_mover(self) -> None:
        clean = sample(0.9 + symmetric(0, 5) / 1000)
        cells = self.cells(clean)
        got, trained = cells.overall({"a": 1.0}).interval(0.95), cells.trained({"a": 1.0}).interval(0.95)
        loss = (trained.estimate - 0.1) * wilson(0, 10, 0.95).high
        assert got.low == pytest.approx(got.estimate - math.hypot(loss, trained.estimate - trained.low))
        assert got.high == pytest.approx(trained.high)

    def test_a_diverged_loss_stands_at_the_worst_and_where_that_is_unknown_there_is_no_overall_mean(self) -> None:
        diverged = sample([0.2, math.nan, 0.3, 0.25], [False, True, False, False])
        known = Cells({"a": diverged}, Design(direction="lower", rates=True, failed=2.3))
        assert known.diverged_value == 2.3
        assert known.overall({"a": 1.0}).value == pytest.approx((0.75 + 2.3) / 4)
        other = sample([7.0, 0.4, 0.3])
        assert Cells({"a": diverged, "b": other}, known.design).diverged_value == 7.0
        unknown = Cells({"a": diverged}, Design(direction="lower", rates=True))
        assert not unknown.overall({"a": 1.0}).known
        assert unknown.trained({"a": 1.0}).value == pytest.approx(0.25)


class TestTooFew:
    def test_fewer_than_three_trained_runs_of_a_cell_are_too_few(self) -> None:
        a = sample([0.9, 0.91, 0.1, 0.1], [False, False, True, True])
        few = Cells({"a": a, "b": sample(symmetric(1, 4))}, Design()).too_few(PAIR)
        assert few is not None
        assert (few.reason, few.more) == ("2 trained runs of a cell; a verdict needs 3", 1)

    def test_skewed_runs_need_twelve(self) -> None:
        x = np.exp(np.array([0.0, 0.1, 0.2, 0.3, 3.0]))
        cells = Cells({name: sample(x * scale) for name, scale in (("a", 1.0), ("b", 2.0), ("c", 3.0))}, Design())
        assert cells.shape.suspect
        few = cells.too_few(PAIR)
        assert few is not None
        assert few.more == 7
        assert Cells(cells.samples, Design(primary="median")).too_few(PAIR) is None

    @pytest.mark.parametrize("alpha", [0.05, 0.02, 0.05 / 6, 0.004, 0.001])
    def test_unequal_numbers_of_runs_need_more_at_higher_levels(self, alpha: float) -> None:
        needed = next(runs for least, runs in LEAST_RUNS_IF_UNEQUAL if alpha > least)
        for n in (3, 4, 5, 6, 7, 8):
            cells = of(Design(), a=symmetric(1, 15), b=symmetric(4, 4)[:n] if n < 8 else symmetric(4, 4))
            few = cells.too_few(PAIR, alpha)
            if not cells.shape.suspect:
                assert (few is not None) == (n < needed)
        assert of(Design(), a=symmetric(1, 2), b=symmetric(2, 2)).too_few(PAIR, alpha) is None

    def test_a_table_of_runs_keeps_welchs_error_below_one_and_a_half_times_alpha(self) -> None:
        """Normal runs, the smaller cell of four times the spread, two and four times as many of the other."""
        rng, studies = RNG(11), 30_000
        for least, n in LEAST_RUNS_IF_UNEQUAL[:4]:
            alpha = 1.05 * least
            for ratio in (2, 4):
                a, b = rng.standard_normal((studies, ratio * n)), 4 * rng.standard_normal((studies, n))
                p = stats.ttest_ind(a, b, axis=1, equal_var=False).pvalue
                error = float(np.mean(p < alpha))
                assert error <= 1.75 * alpha + 3 * math.sqrt(alpha / studies)  # bounds are stretched on top of Welch's


class TestSetsOfImages:
    def _cells(self, sets: dict[str, str]) -> Cells[str]:
        rng = np.random.default_rng(4)
        hard = {"one": rng.uniform(0.2, 1, 300), "other": rng.uniform(0.2, 1, 200)}
        images = {key: (rng.random((5, len(hard[name]))) < hard[name]).astype(float) for key, name in sets.items()}
        samples = {key: sample(x.mean(axis=1)) for key, x in images.items()}
        return Cells(samples, Design(over=("seeds", "images"), bounds=(0, 1)), images, sets)

    def test_cells_of_different_images_are_compared_as_independent(self) -> None:
        cells = self._cells({"a": "one", "b": "other"})
        alone = [cells.trained({key: 1.0}).error for key in "ab"]
        assert cells.trained({"a": 1.0, "b": -1.0}).error == pytest.approx(math.hypot(*alone))

    def test_an_interaction_over_two_sets_adds_up_its_differences(self) -> None:
        cells = self._cells({"a": "one", "b": "one", "c": "other", "d": "other"})
        first, second = (cells.trained({x: 1.0, y: -1.0}).error for x, y in ("ab", "cd"))
        whole = cells.trained({"a": 1.0, "b": -1.0, "c": -1.0, "d": 1.0})
        assert whole.error == pytest.approx(math.hypot(first, second))
        assert first < math.hypot(*(cells.trained({key: 1.0}).error for key in "ab"))


def test_a_few_runs_among_which_some_look_partly_collapsed_are_not_judged() -> None:
    rng = np.random.default_rng(0)
    whole = 0.9 + 0.003 * rng.standard_normal(10)
    partly = np.append(0.8 + 0.003 * rng.standard_normal(8), [0.3, 0.45])
    design = Design(bounds=(0, 1), rates=True, failed=0.1)
    cells = Cells({"a": sample(whole), "b": sample(partly)}, design)
    few = cells.too_few({"a": 1.0, "b": -1.0})
    assert cells.flagged["b"] == 2
    assert few is not None
    assert few.doubted is None
