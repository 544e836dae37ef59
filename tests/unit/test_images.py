"""Checked against statsmodels' analysis of variance, sums written out, and simulations whose truth is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from regulens.stats.cells import Cells
from regulens.stats.design import Design
from regulens.stats.images import (
    VarianceSplit,
    image_rates,
    seeds_and_images,
    variance_split,
)
from regulens.stats.intervals import Interval
from regulens.stats.samples import sample

Correct = NDArray[np.bool_]
matrices = st.tuples(st.integers(2, 6), st.integers(2, 9)).flatmap(lambda shape: arrays(np.bool_, shape))


@dataclass(frozen=True)
class Squares:
    """Mean squares of the two-way layout, summed up cell by cell."""

    runs: float
    images: float
    residual: float


def mean_squares(correct: NDArray[np.generic]) -> Squares:
    x = correct.astype(np.float64)
    runs, images = x.shape
    residual = x - x.mean(0) - x.mean(1, keepdims=True) + x.mean()
    return Squares(
        images * float(x.mean(1).var(ddof=1)),
        runs * float(x.mean(0).var(ddof=1)),
        float(np.sum(residual**2)) / ((runs - 1) * (images - 1)),
    )


def difference(a: NDArray[np.generic], b: NDArray[np.generic], level: float) -> Interval:
    """The difference of two cells over seeds and images."""
    images = {"a": a.astype(np.float64), "b": b.astype(np.float64)}
    samples = {key: sample(x.mean(1)) for key, x in images.items()}
    cells = Cells(samples, Design(over=("seeds", "images"), bounds=(0.0, 1.0)), images)
    return cells.trained({"a": 1.0, "b": -1.0}).interval(level)


def draw(rng: np.random.Generator, of_images: NDArray[np.float64], of_runs: NDArray[np.float64]) -> Correct:
    """Right answers with probability image + run, drawn apart for each run and image."""
    return rng.random((len(of_runs), len(of_images))) < of_images + of_runs[:, None]


def draw_cell(rng: np.random.Generator, runs: int, images: NDArray[np.float64], sd: float) -> Correct:
    return draw(rng, images, rng.normal(0, sd, runs).clip(-0.08, 0.08))


@pytest.mark.parametrize(("sd", "images"), [(0.0, 100), (0.0, 400), (0.05, 100)])
def test_split_finds_the_known_variance_between_runs_on_new_images(sd: float, images: int) -> None:
    rng = np.random.default_rng(images)
    splits = [
        variance_split(draw(rng, rng.uniform(0.4, 0.9, images), rng.normal(0, sd, 12).clip(-0.1, 0.1)))
        for _ in range(600)
    ]
    between = np.array([split.between_runs for split in splits])
    clipped = float(np.var(rng.normal(0, sd, 1_000_000).clip(-0.1, 0.1)))
    assert between.mean() == pytest.approx(clipped, abs=4 * between.std() / math.sqrt(600))
    noise = 0.65 * 0.35 - 0.5**2 / 12  # mean of p (1 - p) for p uniform on (0.4, 0.9)
    expected = (noise - clipped) / images  # a run's shift adds to the variance of a run, not within it
    assert np.mean([split.finite_test for split in splits]) == pytest.approx(expected, rel=0.03)


def test_split_is_the_published_formula() -> None:
    correct = np.random.default_rng(0).random((5, 7)) < 0.6
    accuracy = [sum(map(int, run)) / 7 for run in correct]
    by_image = sum(float(np.var(column, ddof=1)) for column in correct.T.astype(float))
    assert variance_split(correct).between_runs == pytest.approx(7 / 6 * (np.var(accuracy, ddof=1) - by_image / 49))


@given(matrices)
def test_split_adds_up_and_is_the_component_of_the_runs(correct: Correct) -> None:
    split, squares = variance_split(correct), mean_squares(correct)
    assert split.observed == pytest.approx(float(correct.mean(1).var(ddof=1)))
    assert split.finite_test + split.between_runs == pytest.approx(split.observed)
    assert split.finite_test >= -1e-12
    assert split.between_runs == pytest.approx((squares.runs - squares.residual) / correct.shape[1], abs=1e-12)


def test_negative_estimate_is_kept_and_said_to_be_about_zero() -> None:
    split = variance_split(np.array([[1, 0, 1, 0], [0, 1, 0, 1]], np.uint8))
    assert split.observed == 0
    assert split.between_runs < 0
    assert split.about_zero
    assert split.between_runs_sd == 0


def test_positive_estimate_has_a_standard_deviation() -> None:
    split = VarianceSplit(observed=0.05, finite_test=0.01, between_runs=0.04)
    assert not split.about_zero
    assert split.between_runs_sd == pytest.approx(0.2)


def test_parts_of_the_runs_are_the_mean_squares_of_statsmodels() -> None:
    rng = np.random.default_rng(3)
    correct = draw_cell(rng, 4, rng.uniform(0.3, 0.8, 15), 0.15)
    run, image = np.indices(correct.shape)
    frame = pd.DataFrame({"run": run.ravel(), "image": image.ravel(), "y": correct.ravel().astype(float)})
    of_runs, of_images, residual = anova_lm(ols("y ~ C(run) + C(image)", frame).fit())["mean_sq"]
    found = image_rates(correct)
    expected = [(max(of_runs, residual) / correct.size, 3), (-residual / correct.size, 3 * 14)]
    assert np.ravel(found.of_runs) == pytest.approx(np.ravel(expected))
    assert 4 * found.by_image.var(ddof=1) == pytest.approx(of_images)
    ours = mean_squares(correct)
    assert (ours.runs, ours.images, ours.residual) == pytest.approx((of_runs, of_images, residual))


def by_components(correct: Correct, level: float) -> tuple[float, float]:
    """The bounds of a cell from mean squares, the component of the runs not below zero, written out."""
    squares, (runs, images) = mean_squares(correct), correct.shape
    wide = [max(squares.runs, squares.residual), squares.images, -squares.residual]
    dfs = [runs - 1, images - 1, (runs - 1) * (images - 1)]
    df = sum(wide) ** 2 / sum(w**2 / df for w, df in zip(wide, dfs, strict=True))
    half = stats.t.ppf((1 + level) / 2, df) * math.sqrt(sum(wide) / correct.size)
    return max(correct.mean() - half, 0.0), min(correct.mean() + half, 1.0)


@given(matrices, st.sampled_from([0.8, 0.95]))
def test_interval_of_a_cell_comes_from_its_components(correct: Correct, level: float) -> None:
    made = seeds_and_images(correct, level)
    assert made.estimate == pytest.approx(correct.mean())
    squares = mean_squares(correct)
    if max(squares.runs - squares.residual, 0.0) + squares.images < 1e-12:
        assert math.isnan(made.low)
        assert math.isnan(made.high)
    else:
        assert (made.low, made.high) == pytest.approx(by_components(correct, level))


def test_interval_is_students_over_runs_where_images_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    images = 20_000
    correct = draw(rng, np.full(images, 0.5), np.array([-0.3, -0.1, 0.0, 0.2, 0.4]))
    accuracy = correct.mean(1)
    students = stats.t.interval(0.95, 4, accuracy.mean(), stats.sem(accuracy))
    made = seeds_and_images(correct, 0.95)
    assert (made.low, made.high) == pytest.approx(students, abs=1e-4)


def test_interval_is_the_binomial_one_where_runs_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    right = rng.random(500) < 0.7
    made = seeds_and_images(np.tile(right, (6, 1)), 0.95)
    half = stats.t.ppf(0.975, 499) * math.sqrt(right.var(ddof=1) / 500)
    assert (made.low, made.high) == pytest.approx((right.mean() - half, right.mean() + half))


def covers(made: Interval, truth: float) -> bool:
    return made.low <= truth <= made.high


@pytest.mark.parametrize(("runs", "sd"), [(3, 0.05), (10, 0.05), (10, 0.0)])
def test_intervals_cover_over_new_runs_and_new_images(runs: int, sd: float) -> None:
    rng = np.random.default_rng(runs)
    hits = []
    for _ in range(500):
        hard = rng.random(300) < 0.3
        a = np.where(hard, 0.2, 0.9)  # mean 0.69
        b = a + rng.choice([-0.05, 0.02], 300)  # mean 0.675
        cell_a, cell_b = draw_cell(rng, runs, a, sd), draw_cell(rng, runs + 1, b, sd)
        found = difference(cell_a, cell_b, 0.95)
        hits.append([covers(seeds_and_images(cell_a, 0.95), 0.69), covers(found, 0.015)])
    assert (np.mean(hits, axis=0) >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 500)).all()
    assert (np.mean(hits, axis=0)[1:] <= 0.99).all()


def test_standard_error_of_the_difference_is_that_of_repeated_studies() -> None:
    rng = np.random.default_rng(5)
    differences, variances = [], []
    for _ in range(1500):
        a = rng.uniform(0.3, 0.9, 60)
        b = a + rng.uniform(-0.1, 0.1, 60)
        cell_a, cell_b = draw_cell(rng, 6, a, 0.1), draw_cell(rng, 4, b, 0.0)
        differences.append(cell_a.mean() - cell_b.mean())
        squares = mean_squares(cell_a), mean_squares(cell_b)
        runs = [(each.runs - each.residual) / cell.size for each, cell in zip(squares, (cell_a, cell_b), strict=True)]
        variances.append((cell_a.mean(0) - cell_b.mean(0)).var(ddof=1) / 60 + sum(runs))
    assert np.mean(variances) == pytest.approx(np.var(differences), rel=0.12)


def test_difference_is_the_formula_written_out() -> None:
    rng = np.random.default_rng(8)
    images = rng.uniform(0.2, 0.8, 40)
    a, b = draw_cell(rng, 5, images, 0.2), draw_cell(rng, 7, images, 0.2)
    parts = [((a.mean(0) - b.mean(0)).var(ddof=1) / 40, 39.0)]
    for cell in (a, b):
        squares = mean_squares(cell)
        assert squares.runs > squares.residual
        parts += [
            (squares.runs / cell.size, len(cell) - 1.0),
            (-squares.residual / cell.size, (len(cell) - 1.0) * 39),
        ]
    variance = sum(part for part, _ in parts)
    df = variance**2 / sum(part**2 / df for part, df in parts)
    half = stats.t.ppf(0.975, df) * math.sqrt(variance)
    made = difference(a, b, 0.95)
    assert made.estimate == pytest.approx(a.mean() - b.mean())
    reach = made.estimate - made.low, made.high - made.estimate
    assert min(reach) == pytest.approx(half)
    assert max(reach) <= 1.25 * half + 1e-12  # on the side to which the runs are skewed


@given(matrices, st.data())
def test_difference_changes_its_sign_with_the_order_of_the_cells(a: Correct, data: st.DataObject) -> None:
    b = data.draw(arrays(np.bool_, st.tuples(st.integers(1, 5), st.just(a.shape[1]))))
    forth, back = difference(a, b, 0.95), difference(b, a, 0.95)
    assert (forth.estimate, forth.low, forth.high) == pytest.approx(
        (-back.estimate, -back.high, -back.low), nan_ok=True
    )
    assert math.isnan(forth.low) or -1 <= forth.low <= forth.estimate <= forth.high <= 1


def test_one_run_says_nothing_of_other_runs() -> None:
    one, two = np.array([[1, 0, 1]]), np.array([[1, 0, 1], [0, 0, 1]])
    assert seeds_and_images(one, 0.95).estimate == pytest.approx(2 / 3)
    assert math.isnan(seeds_and_images(one, 0.95).low)
    assert math.isnan(difference(two, one, 0.95).high)


def owens_variance(cells: list[Correct], by_image: NDArray[np.float64]) -> float:
    """The variance over all resamples, Owen 2007: of images, of each cell's runs, of each cell's residuals."""
    variance = by_image.var() / len(by_image)
    for cell in cells:
        residual = cell - cell.mean(0) - cell.mean(1, keepdims=True) + cell.mean()
        variance += cell.mean(1).var() / len(cell) + np.mean(residual**2) / cell.size
    return float(variance)


def two_way_bootstrap(cells: list[Correct], rng: np.random.Generator, resamples: int) -> NDArray[np.float64]:
    """(resamples, cells) accuracies, images being drawn jointly and runs within each cell."""
    images = rng.multinomial(cells[0].shape[1], np.full(cells[0].shape[1], 1 / cells[0].shape[1]), resamples)
    runs = [rng.multinomial(len(cell), np.full(len(cell), 1 / len(cell)), resamples) for cell in cells]
    means = [np.sum(images @ cell.T * drawn, axis=1) / cell.size for cell, drawn in zip(cells, runs, strict=True)]
    return np.stack(means, axis=1)


def test_bootstrap_agrees_with_its_theory_and_with_the_components() -> None:
    rng = np.random.default_rng(11)
    images = np.where(rng.random(500) < 0.2, 0.3, 0.91)
    a, b = draw_cell(rng, 30, images, 0.0), draw_cell(rng, 20, images, 0.05)
    accuracies = two_way_bootstrap([a, b], rng, 4000)
    assert accuracies.shape == (4000, 2)
    assert accuracies.mean(0) == pytest.approx([a.mean(), b.mean()], abs=0.002)
    resampled = [*accuracies.T, accuracies[:, 0] - accuracies[:, 1]]
    theory = [owens_variance([a], a.mean(0)), owens_variance([b], b.mean(0))]
    theory += [owens_variance([a, b], a.mean(0) - b.mean(0))]
    assert [values.var() for values in resampled] == pytest.approx(theory, rel=4 * math.sqrt(2 / 4000))
    made = [seeds_and_images(a, 0.95), seeds_and_images(b, 0.95), difference(a, b, 0.95)]
    for values, interval, wider in zip(resampled, made, (1.12, 1.12, math.sqrt(3)), strict=True):
        low, high = np.quantile(values, [0.025, 0.975])
        assert 0.9 <= (high - low) / (interval.high - interval.low) <= wider


@pytest.mark.parametrize(
    ("correct", "words"),
    [
        (np.zeros(5), r"got shape \(5,\)"),
        (np.zeros((0, 5)), r"got shape \(0, 5\)"),
        (np.zeros((3, 1)), r"got shape \(3, 1\)"),
        (np.array([[0, 1], [1, 2]], np.uint8), "0 and 1 only, got 2"),
        (np.array([[0, 1], [1, math.nan]]), "0 and 1 only, got nan"),
    ],
)
def test_what_is_no_matrix_of_right_and_wrong_is_refused(correct: NDArray[np.float64], words: str) -> None:
    of_scores = (image_rates, lambda x: seeds_and_images(x, 0.95)) if "shape" in words else ()
    for function in (variance_split, *of_scores):
        with pytest.raises(ValueError, match=words):
            function(correct)


def test_variance_between_runs_needs_two() -> None:
    for function in (variance_split, image_rates):
        with pytest.raises(ValueError, match="at least 2 runs, got 1"):
            function(np.array([[1, 0, 1]]))
