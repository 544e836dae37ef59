"""Checked by simulation with known truth."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from regulens.stats.samples import Sample, sample
from regulens.stats.selection import Optimism, selection_optimism, single_run_ranking

Cells = list[NDArray[np.float64]]


def true_and_estimated(draw: Callable[[], Cells], means: NDArray[np.float64], repeats: int) -> tuple[float, float]:
    """Return the optimism of the selected cell over many studies, and what single ones estimate, on average."""
    rng, optimism = np.random.default_rng(0), []
    for _ in range(4000):
        above = np.array([values.mean() for values in draw()]) - means
        optimism.append(above[np.argmax(above + means)] - above.mean())
    estimates = [selection_optimism([sample(x) for x in draw()], rng, 300).estimate for _ in range(repeats)]
    return float(np.mean(optimism)), float(np.mean(estimates))


def normal(means: NDArray[np.float64], n: int) -> Callable[[], Cells]:
    rng = np.random.default_rng(1)
    return lambda: list(means[:, None] + rng.normal(size=(len(means), n)))


@pytest.mark.parametrize(("cells", "n"), [(2, 5), (8, 5), (8, 20)])
def test_equal_cells_have_the_optimism_of_the_largest_of_their_means(cells: int, n: int) -> None:
    true, estimated = true_and_estimated(normal(np.zeros(cells), n), np.zeros(cells), 300)
    exact = np.mean(np.random.default_rng(2).normal(size=(100_000, cells)).max(axis=1)) / math.sqrt(n)
    assert true == pytest.approx(exact, rel=0.05)
    assert estimated == pytest.approx(exact, rel=0.12)


def test_a_cell_far_ahead_has_none() -> None:
    means = np.array([3.0, 0, 0, 0])
    true, estimated = true_and_estimated(normal(means, 10), means, 100)
    assert true == pytest.approx(0, abs=0.01)
    assert estimated == pytest.approx(0, abs=0.01)


def test_cells_in_a_row_have_some_and_the_estimate_errs_upwards() -> None:
    means = np.linspace(-2, 2, 8)
    true, estimated = true_and_estimated(normal(means, 10), means, 300)
    error = 1 / math.sqrt(10)
    assert true > 0.2 * error
    assert true - 0.03 * error < estimated < true + 0.25 * error


def test_collapsing_cells_of_ten_runs_have_nearly_what_is_found() -> None:
    rng = np.random.default_rng(3)

    def draw() -> list[np.ndarray]:
        return list(np.where(rng.random((6, 10)) < 0.2, 0.1, 0.8 + 0.01 * rng.normal(size=(6, 10))))

    true, estimated = true_and_estimated(draw, np.full(6, 0.66), 300)
    assert 0.75 * true < estimated < 1.1 * true


def images(rng: np.random.Generator, cells: int, runs: int, of_run: float, of_image: float) -> list[NDArray[np.bool_]]:
    """Draw which of 500 images each run has right: a threshold on image + cell by image + run + noise."""
    ease = rng.normal(1.2, 1.5, 500)
    return [
        ease + of_image * rng.normal(size=500) + of_run * rng.normal(size=(runs, 1)) + rng.normal(size=(runs, 500)) > 0
        for _ in range(cells)
    ]


@pytest.mark.parametrize(("of_run", "of_image"), [(0.0, 0.0), (0.05, 0.5), (0.2, 0.3)])
def test_optimism_over_seeds_and_images_is_the_true_one(of_run: float, of_image: float) -> None:
    rng = np.random.default_rng(4)
    true, estimates = [], []
    for repeat in range(900):
        correct = images(rng, 5, 8, of_run, of_image)
        means = np.array([matrix.mean() for matrix in correct])
        true.append(means.max() - means.mean())  # the cells are equal
        if repeat < 150:
            runs = [sample(matrix.mean(axis=1)) for matrix in correct]
            estimates.append(selection_optimism(runs, rng, 200, correct=correct).estimate)
    assert np.mean(estimates) == pytest.approx(np.mean(true), rel=0.12)


def test_images_add_optimism_that_seeds_do_not_show() -> None:
    rng = np.random.default_rng(5)
    studies = [images(rng, 5, 8, 0.0, 0.7) for _ in range(20)]
    runs = [[sample(matrix.mean(axis=1)) for matrix in correct] for correct in studies]
    seeds = np.mean([selection_optimism(each, rng, 200).estimate for each in runs])
    both = [selection_optimism(each, rng, 200, correct=c).estimate for each, c in zip(runs, studies, strict=True)]
    assert np.mean(both) > 1.5 * seeds


def cells(*means: float, n: int = 6) -> list[Sample]:
    rng = np.random.default_rng(6)
    return [sample(mean + rng.normal(size=n)) for mean in means]


def optimism(samples: list[Sample], **how: bool) -> Optimism:
    return selection_optimism(samples, np.random.default_rng(7), 500, **how)


def test_lower_is_better_mirrors_the_cells() -> None:
    up = cells(0.0, 0.2, 0.1)
    down = [sample(-each.values) for each in up]
    found, mirrored = optimism(up), optimism(down, higher_is_better=False)
    assert found.estimate == pytest.approx(mirrored.estimate)
    assert found.selected == mirrored.selected
    np.testing.assert_array_equal(found.chosen, mirrored.chosen)


def test_choice_is_as_firm_as_the_cells_are_apart() -> None:
    far, near = optimism(cells(5.0, 0.0, 0.0)), optimism(cells(0.0, 0.0, 0.0))
    assert (far.selected, far.chosen[0]) == (0, 1.0)
    assert near.chosen.max() < 1
    assert near.chosen.sum() == pytest.approx(1)


def test_monte_carlo_error_is_the_spread_of_repeated_estimates() -> None:
    runs, rng = cells(0.0, 0.1, 0.2), np.random.default_rng(8)
    found = [selection_optimism(runs, rng, 300) for _ in range(200)]
    spread = np.std([each.estimate for each in found], ddof=1)
    assert np.mean([each.monte_carlo_error for each in found]) == pytest.approx(spread, rel=0.2)


def test_unequal_numbers_of_runs_are_each_scaled_by_their_own() -> None:
    rng = np.random.default_rng(9)
    sizes = (3, 12, 30)
    true = [max(rng.normal(0, 1 / math.sqrt(n)) for n in sizes) for _ in range(20_000)]
    found = [selection_optimism([sample(rng.normal(size=n)) for n in sizes], rng, 200).estimate for _ in range(400)]
    assert np.mean(found) == pytest.approx(np.mean(true), rel=0.12)


def test_one_cell_has_no_optimism() -> None:
    assert optimism(cells(0.3)).estimate == 0


def test_a_single_run_leaves_it_unknown() -> None:
    found = optimism([sample([0.5]), sample([0.4, 0.6, 0.7])])
    assert math.isnan(found.estimate)
    assert math.isnan(found.monte_carlo_error)
    assert found.selected == 1


def test_same_generator_gives_the_same_estimate() -> None:
    assert optimism(cells(0.0, 0.1)).estimate == optimism(cells(0.0, 0.1)).estimate


@pytest.mark.parametrize(
    ("correct", "message"),
    [
        ([np.ones((2, 4), bool), np.ones((2, 4), bool)], "a row for each run"),
        ([np.ones((3, 4), bool), np.ones((3, 5), bool)], "the same images"),
        ([np.ones((3, 4), bool), np.zeros((3, 4), bool)], "must be the values"),
    ],
)
def test_matrices_of_other_runs_are_refused(correct: list[NDArray[np.bool_]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        selection_optimism([sample([1.0] * 3)] * 2, np.random.default_rng(0), correct=correct)


def test_no_cells_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one cell"):
        selection_optimism([], np.random.default_rng(0))


class TestSingleRunRanking:
    def test_it_counts_the_pairs_of_two_cells(self) -> None:
        a, b = sample([0.9, 0.8, 0.1]), sample([0.5, 0.6, 0.55])  # the means are 0.6 and 0.55; a wins 6 of 9 pairs
        found = single_run_ranking([a, b], np.random.default_rng(0))
        assert found.best == pytest.approx(6 / 9, abs=0.015)
        assert found.order == found.best
        turned = single_run_ranking(
            [sample(-a.values), sample(-b.values)], np.random.default_rng(0), higher_is_better=False
        )
        assert turned == found

    def test_cells_far_apart_are_always_ranked_rightly_and_alike_ones_by_chance(self) -> None:
        rng = np.random.default_rng(1)
        apart = [sample(level + 0.001 * rng.standard_normal(5)) for level in (0.5, 0.7, 0.9)]
        assert single_run_ranking(apart, rng).order == 1
        alike = [sample(rng.standard_normal(200)) for _ in range(4)]
        found = single_run_ranking(alike, rng)
        assert 0.15 < found.best < 0.4
        assert found.order < 0.1

    def test_one_cell_is_no_ranking(self) -> None:
        with pytest.raises(ValueError, match="at least two cells, got 1"):
            single_run_ranking([sample([1.0])], np.random.default_rng(0))
