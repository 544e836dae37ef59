"""What runs and images together say: matrices of right and wrong, (runs, images), in; variances and intervals out.

The model is the two-way crossed random layout ``correct[r, i] = accuracy + run_r + image_i + residual_ri`` (Searle,
Casella and McCulloch 1992, Variance Components, chapter 4), runs and images being samples of those one could have had.
Everything is conditional on the training part that the runs share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from regulens.stats.intervals import Interval

RESAMPLES_AT_ONCE = 250  # counts of 250 x 9,000 images are 9 MB


@dataclass(frozen=True)
class VarianceSplit:
    """What the variance of accuracy between runs on one set of images consists of: ``observed`` is the sum.

    Attributes:
        observed: sample variance of the runs' accuracies on these images.
        finite_test: what the finite number of images adds; it would vanish on infinitely many.
        between_runs: unbiased estimate of the variance on infinitely many new images; negative where the images
            explain more than was observed.
    """

    observed: float
    finite_test: float
    between_runs: float

    @property
    def about_zero(self) -> bool:
        """Whether no variance between runs is left once the images' share is taken off."""
        return self.between_runs <= 0

    @property
    def between_runs_sd(self) -> float:
        """The standard deviation between runs on new images, 0 where it is about zero."""
        return math.sqrt(max(self.between_runs, 0.0))


def variance_split(correct: ArrayLike) -> VarianceSplit:
    """Split the variance of accuracy between runs into that of the finite test set and that of the runs themselves.

    With n images the variance on new images is estimated without bias by ``n / (n - 1) * [Var_r(accuracy_r) - sum_i
    Var_r(correct_ri) / n^2]``, sample variances over the runs (Jordan 2023, arXiv 2304.01910). It equals the
    component of variance of the runs in the two-way layout.

    Args:
        correct: (runs, images) bool or 0 and 1, at least 2 runs.

    Raises:
        ValueError: if there are fewer than 2 runs or images, or other values.
    """
    x = _matrix(correct)
    runs, images = x.shape
    if runs < 2:
        raise ValueError("a variance between runs needs at least 2 runs, got 1")
    rate = x.mean(0)
    observed = float(x.mean(1).var(ddof=1))
    by_image = float(np.sum(rate * (1 - rate))) * runs / (runs - 1)
    between = images / (images - 1) * (observed - by_image / images**2)
    return VarianceSplit(observed, observed - between, between)


@dataclass(frozen=True)
class MeanSquares:
    """The mean squares of a two-way layout with one observation in each place, and its size."""

    runs: float
    images: float
    residual: float
    n_runs: int
    n_images: int


def mean_squares(correct: ArrayLike) -> MeanSquares:
    """Analyse (runs, images) bool or 0 and 1 by two-way analysis of variance without replication.

    Raises:
        ValueError: if there are fewer than 2 runs or images, or other values.
    """
    x = _matrix(correct)
    runs, images = x.shape
    if runs < 2:
        raise ValueError("an analysis of variance needs at least 2 runs, got 1")
    mean = x.mean()
    of_runs = images * float(np.sum((x.mean(1) - mean) ** 2))
    of_images = runs * float(np.sum((x.mean(0) - mean) ** 2))
    total = x.size * float(mean * (1 - mean))  # of zeros and ones
    residual = max(total - of_runs - of_images, 0.0)
    dfs = runs - 1, images - 1
    return MeanSquares(of_runs / dfs[0], of_images / dfs[1], residual / (dfs[0] * dfs[1]), runs, images)


def seeds_and_images(correct: ArrayLike, level: float) -> Interval:
    """Return a cell's accuracy with its interval over new seeds and new images.

    The mean's variance is ``(MS_runs + MS_images - MS_residual) / (runs * images)``, components below zero counted as
    zero, with Satterthwaite's (1946) degrees of freedom; the bounds are kept within [0, 1]. NaN bounds for a single
    run, and where nothing varies. The interval is one of a mean of runs of one kind: where runs collapse, give it
    those that trained.

    Args:
        correct: (runs, images) bool or 0 and 1.
        level: e.g. 0.95.

    Raises:
        ValueError: if there are no runs, fewer than 2 images, or other values.
    """
    x = _matrix(correct)
    estimate = float(x.mean())
    if len(x) < 2:
        return Interval(estimate, math.nan, math.nan, level)
    squares = mean_squares(x)
    images = max(squares.images, squares.residual) / x.size, squares.n_images - 1.0
    return _interval(estimate, [images, *_of_runs(squares)], level, (0.0, 1.0))


def seeds_and_images_difference(correct_a: ArrayLike, correct_b: ArrayLike, level: float) -> Interval:
    """Return the accuracy of cell a minus that of cell b with its interval over new seeds and new images.

    The runs of the cells are independent; the images, the columns, are the same in the same order. The difference's
    variance is ``Var_i(d_i) / images``, ``d_i`` the difference of the two cells' rates of image i, plus ``(MS_runs -
    MS_residual) / (runs * images)`` of each cell: the residual is in both mean squares and counts once. Components
    below zero count as zero, degrees of freedom are Satterthwaite's, the bounds are kept within [-1, 1]. NaN bounds
    for a single run in either cell, and where nothing varies.

    Args:
        correct_a: (runs of a, images) bool or 0 and 1.
        correct_b: (runs of b, images).
        level: e.g. 0.95.

    Raises:
        ValueError: if the images differ in number, there are no runs, fewer than 2 images, or other values.
    """
    a, b = _matrix(correct_a), _matrix(correct_b)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"both cells must be judged on the same images, got {a.shape[1]} and {b.shape[1]}")
    estimate = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2:
        return Interval(estimate, math.nan, math.nan, level)
    images = a.shape[1]
    by_image = float((a.mean(0) - b.mean(0)).var(ddof=1)) / images, images - 1.0
    parts = [by_image, *_of_runs(mean_squares(a)), *_of_runs(mean_squares(b))]
    return _interval(estimate, parts, level, (-1.0, 1.0))


def two_way_bootstrap(
    correct: Sequence[ArrayLike],
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    rng: np.random.Generator,
    resamples: int = 2000,
) -> NDArray[np.float64]:
    """Resample runs within each cell and images jointly across cells; return the statistic of each resample.

    A check of the intervals above, not their replacement: its variance counts the residual three times (Owen 2007,
    Annals of Applied Statistics 1, 386-411), which shows in differences, from which the images' own variance has gone,
    and the variance between R runs (R - 1) / R times.

    Args:
        correct: for each cell (runs, images) bool or 0 and 1; runs may differ in number, images are the same.
        statistic: takes the cells' accuracies, (resamples, cells), and returns (resamples, ...).
        rng: consumed.
        resamples: how many.

    Raises:
        ValueError: if the images differ in number, there is no cell, no run, fewer than 2 images, or other values.
    """
    cells = [_matrix(cell).astype(np.float32) for cell in correct]  # counts are exact in float32 up to 2^24
    sizes = sorted({cell.shape[1] for cell in cells})
    if len(sizes) != 1:
        raise ValueError(f"all cells must be judged on the same images, got {sizes} of them")
    accuracies = np.empty((resamples, len(cells)))
    for start in range(0, resamples, RESAMPLES_AT_ONCE):
        rows = accuracies[start : start + RESAMPLES_AT_ONCE]
        images = _counts(sizes[0], len(rows), rng).astype(np.float32)
        for column, cell in enumerate(cells):
            right = (images @ cell.T).astype(np.float64)  # (resamples, runs)
            rows[:, column] = np.sum(right * _counts(len(cell), len(rows), rng), axis=1) / cell.size
    return statistic(accuracies)


def _counts(n: int, resamples: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return how often each of n units is drawn in n draws with replacement, (resamples, n)."""
    return rng.multinomial(n, np.full(n, 1 / n), size=resamples)


def _matrix(correct: ArrayLike) -> NDArray[np.float64]:
    """Return (runs, images) zeros and ones."""
    x = np.asarray(correct)
    if x.ndim != 2 or len(x) < 1 or x.shape[1] < 2:
        raise ValueError(f"correct must be (runs, images) with at least 1 run and 2 images, got shape {x.shape}")
    if not np.isin(x, (0, 1)).all():
        raise ValueError(f"correct must hold 0 and 1 only, got {x[~np.isin(x, (0, 1))][0]}")
    return x.astype(np.float64)


def _of_runs(squares: MeanSquares) -> list[tuple[float, float]]:
    """Return what the runs add to the variance of a mean, as two signed parts with their degrees of freedom."""
    size = squares.n_runs * squares.n_images
    df = squares.n_runs - 1.0
    return [
        (max(squares.runs, squares.residual) / size, df),
        (-squares.residual / size, df * (squares.n_images - 1)),
    ]


def _interval(
    estimate: float, parts: Sequence[tuple[float, float]], level: float, bounds: tuple[float, float]
) -> Interval:
    """Return Student's interval for a variance that is a sum of parts, each with its degrees of freedom."""
    variance = sum(part for part, _ in parts)
    if variance <= 0:
        return Interval(estimate, math.nan, math.nan, level)
    df = variance**2 / sum(part**2 / df for part, df in parts)
    half = float(stats.t.ppf((1 + level) / 2, df)) * math.sqrt(variance)
    return Interval(estimate, max(estimate - half, bounds[0]), min(estimate + half, bounds[1]), level)
