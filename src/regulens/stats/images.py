"""What runs and images together say: matrices of right and wrong, (runs, images), in; variances and intervals out.

The model is the two-way crossed random layout ``correct[r, i] = accuracy + run_r + image_i + residual_ri`` (Searle,
Casella and McCulloch 1992, Variance Components, chapter 4), runs and images being samples of those one could have had.
Everything is conditional on the training part that the runs share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regulens.stats.estimate import student_sum
from regulens.stats.intervals import Interval


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


@dataclass(frozen=True, eq=False)
class ImageRates:
    """What single images add to what is known of a cell: how hard each is, and what its runs add.

    Attributes:
        by_image: (images,) mean over the runs.
        of_runs: what the runs add to the variance of the mean, as signed parts with their degrees of freedom.
    """

    by_image: NDArray[np.float64]
    of_runs: tuple[tuple[float, float], ...]


def image_rates(scores: ArrayLike) -> ImageRates:
    """Return what images and runs each add, by two-way analysis of variance without replication.

    The runs add ``(MS_runs - MS_residual) / (runs * images)``, components below zero counted as zero: the residual is
    in the variance over images already.

    Args:
        scores: (runs, images) right or wrong, or another score of each run on each image, such as its loss.

    Raises:
        ValueError: if there are fewer than 2 runs or images.
    """
    x = _scores(scores)
    runs, images = x.shape
    if runs < 2:
        raise ValueError("an analysis of variance needs at least 2 runs, got 1")
    by_image, mean = x.mean(0), float(x.mean())
    squares_of_runs = images * float(np.sum((x.mean(1) - mean) ** 2))
    squares_of_images = runs * float(np.sum((by_image - mean) ** 2))
    total = float(np.einsum("ri,ri->", x, x)) - x.size * mean**2
    df = runs - 1.0
    residual = max(total - squares_of_runs - squares_of_images, 0.0) / (df * (images - 1))
    parts = (max(squares_of_runs / df, residual) / x.size, df), (-residual / x.size, df * (images - 1))
    return ImageRates(by_image, parts)


def seeds_and_images(scores: ArrayLike, level: float) -> Interval:
    """Return a cell's mean score with its interval over new seeds and new images.

    The mean's variance is ``(MS_runs + MS_images - MS_residual) / (runs * images)``, a component of the runs below zero
    counted as zero, with Satterthwaite's (1946) degrees of freedom; the bounds are kept within [0, 1]. NaN bounds for a
    single run, and where nothing varies. The interval is one of a mean of runs of one kind: where runs collapse, give
    it those that trained.

    Args:
        scores: (runs, images) right or wrong.
        level: e.g. 0.95.

    Raises:
        ValueError: if there are no runs, or fewer than 2 images.
    """
    x = _scores(scores)
    estimate = float(x.mean())
    if len(x) < 2:
        return Interval(estimate, math.nan, math.nan, level)
    rates = image_rates(x)
    of_images = float(rates.by_image.var(ddof=1)) / x.shape[1], x.shape[1] - 1.0
    return student_sum(estimate, [of_images, *rates.of_runs], (0.0, 1.0)).interval(level)


def _matrix(correct: ArrayLike) -> NDArray[np.float64]:
    """Return (runs, images) zeros and ones."""
    x = _scores(correct)
    if not np.isin(x, (0, 1)).all():
        raise ValueError(f"correct must hold 0 and 1 only, got {x[~np.isin(x, (0, 1))][0]}")
    return x


def _scores(scores: ArrayLike) -> NDArray[np.float64]:
    """Return (runs, images) numbers."""
    x = np.asarray(scores)
    if x.ndim != 2 or len(x) < 1 or x.shape[1] < 2:
        raise ValueError(f"scores must be (runs, images) with at least 1 run and 2 images, got shape {x.shape}")
    return x.astype(np.float64)
