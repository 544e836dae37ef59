"""Confidence intervals for what a cell's runs come to, and for the difference of two cells.

Where runs collapse, a cell's mean is a mixture, ``trained - rate * (trained - collapsed)``, and so is its interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special
from statsmodels.stats.proportion import proportion_confint

from regulens.stats.samples import Sample
from regulens.stats.ties import cancelled, constant


@dataclass(frozen=True)
class Interval:
    """An estimate with the bounds of its confidence interval, NaN where the runs are too few for one."""

    estimate: float
    low: float
    high: float
    level: float

    def within(self, bounds: tuple[float, float]) -> Interval:
        """Return the interval cut off at what is possible; NaN bounds stay."""
        least, most = bounds
        low, high = (min(max(bound, least), most) for bound in (self.low, self.high))
        return Interval(self.estimate, low, high, self.level)

    def __neg__(self) -> Interval:
        return Interval(-self.estimate, -self.high, -self.low, self.level)


def wilson(count: int, n: int, level: float) -> Interval:
    """Return a rate with Wilson's score interval (Wilson 1927; statsmodels)."""
    low, high = proportion_confint(count, n, alpha=1 - level, method="wilson")
    return Interval(count / n, float(low), float(high), level)


def mean_interval(values: NDArray[np.float64], level: float) -> Interval:
    """Return the mean of (n,) values with an interval that stands skewness, NaN bounds for a single value.

    The hull of Student's interval and of Hall's transformation of it (see ``around``).
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, math.nan, math.nan, level)
    return around(mean, [moments(values, 1)], level)


def welch_interval(a: NDArray[np.float64], b: NDArray[np.float64], level: float) -> Interval:
    """Return the difference of the means of (n,) and (m,) values with an interval that stands skewness.

    The hull of Welch's interval (Welch 1947) and of Hall's transformation of it (see ``around``). NaN bounds if either
    holds a single value; two cells without any spread have an interval of no width.
    """
    means = float(np.mean(a)), float(np.mean(b))
    estimate = cancelled(means[0] - means[1], means)
    if min(len(a), len(b)) < 2:
        return Interval(estimate, math.nan, math.nan, level)
    return around(estimate, [moments(a, 1), moments(b, -1)], level)


def paired_interval(a: NDArray[np.float64], b: NDArray[np.float64], level: float) -> Interval:
    """Return the mean difference of (n,) pairs with Student's interval: for runs whose seeds are blocks."""
    return mean_interval(a - b, level)


@dataclass(frozen=True)
class Collapse:
    """What the runs of a whole analysis say of collapse: the mean of collapsed runs, and the best run's value."""

    mean: float
    best: float


def collapse_of(cells: Sequence[Sample], higher: bool = True) -> Collapse | None:
    """Return what collapse means for the cells of an analysis, ``None`` if no run of any cell collapsed."""
    values = np.concatenate([cell.values for cell in cells])
    collapsed = np.concatenate([cell.collapsed for cell in cells])
    if not collapsed.any():
        return None
    return Collapse(float(values[collapsed].mean()), float(values.max() if higher else values.min()))


def overall_interval(cell: Sample, collapse: Collapse | None, level: float) -> Interval:
    """Return the mean over all runs of a cell, with an interval that carries the collapses as well.

    Without collapse it is ``mean_interval``. Otherwise the mean is ``c + (1 - p)(m - c)``: ``m`` the mean among runs
    that trained, ``p`` the collapse rate (Wilson), ``c`` the mean of collapsed runs, whose own spread is that of
    guessing and is left out. Its bounds come from those of ``m`` and ``p`` by MOVER for a product (Donner and Zou 2012,
    Statistical Methods in Medical Research 21, 347-359). A cell without a collapse does not have the rate zero: its
    interval reaches down to what Wilson's bound allows. Where fewer than two runs trained, the best run of the analysis
    stands for how well they might have.

    Args:
        cell: its runs.
        collapse: of the whole analysis.
        level: e.g. 0.95.
    """
    if collapse is None:
        return mean_interval(cell.values, level)
    level_of_trained = float(np.mean(cell.trained)) if len(cell.trained) else collapse.best
    if collapse.mean > level_of_trained:  # as with losses, or a gap: the product below wants a gain above zero
        mirrored = Sample(-cell.values, cell.collapsed, cell.seeds)
        return -overall_interval(mirrored, Collapse(-collapse.mean, -collapse.best), level)
    estimate = float(np.mean(cell.values))
    rate = wilson(cell.collapses, cell.n, level)
    kept = Interval(1 - rate.estimate, 1 - rate.high, 1 - rate.low, level)
    if len(cell.trained) > 1:
        gain = mean_interval(cell.trained - collapse.mean, level)
    else:
        most = collapse.best - collapse.mean
        gain = Interval(most, 0.0, most, level)
    product = _product(kept, gain)
    shift = estimate - product.estimate  # the collapsed runs of this cell need not lie at c exactly
    return Interval(estimate, product.low + shift, product.high + shift, level)


def mover_difference(a: Interval, b: Interval) -> Interval:
    """Return a - b of two independent estimates from their intervals of one level (MOVER).

    The method of variance estimates recovery (Zou and Donner 2008, Statistics in Medicine 27, 1693-1702): it keeps the
    asymmetry of each.
    """
    estimate = a.estimate - b.estimate
    low = estimate - math.hypot(a.estimate - a.low, b.high - b.estimate)
    high = estimate + math.hypot(a.high - a.estimate, b.estimate - b.low)
    return Interval(estimate, low, high, a.level)


def _product(x: Interval, y: Interval) -> Interval:
    """Return the product of two independent estimates by MOVER, ``x`` being positive or zero."""
    estimate = x.estimate * y.estimate
    low = estimate - math.hypot(y.estimate * (x.estimate - x.low), x.estimate * (y.estimate - y.low))
    high = estimate + math.hypot(y.estimate * (x.high - x.estimate), x.estimate * (y.high - y.estimate))
    return Interval(estimate, low, high, x.level)


def moments(values: NDArray[np.float64], sign: int) -> tuple[float, float, int]:
    """Return variance and third central moment of the mean of (n,) values, the latter with a sign, and n - 1."""
    n = len(values)
    centred = np.zeros(n) if constant(values) else values - np.mean(values)
    return float(np.sum(centred**2)) / (n - 1) / n, sign * float(np.mean(centred**3)) / n**2, n - 1


def around(estimate: float, parts: Sequence[tuple[float, float, int]], level: float) -> Interval:
    """Return the hull of two intervals for a sum of independent means, from the ``moments`` of each.

    One is Student's, with Welch and Satterthwaite's degrees of freedom: right for symmetric values, also heavy-tailed
    ones. The other is Hall's (1992, Journal of the Royal Statistical Society B 54, 221-228): a cubic transformation
    that takes the skewness out of the statistic, right for skewed values. Of ten exponential values the first covers
    the mean in 90 % of samples, the hull in 94 % (docs/statistics.md).
    """
    variances = [variance for variance, _, _ in parts]
    error = math.sqrt(sum(variances))
    quantile = float(special.stdtrit(welch_df(variances, [df for _, _, df in parts]), (1 + level) / 2))
    low = high = quantile
    skewness = sum(third for _, third, _ in parts) / error**3 if error > 0 else 0.0
    if abs(skewness) > 1e-6:
        low, high = (
            sign * (np.cbrt(1 + skewness * (sign * quantile - skewness / 6)) - 1) / (skewness / 3) for sign in (1, -1)
        )
    return Interval(estimate, estimate - max(low, quantile) * error, estimate + max(high, quantile) * error, level)


def welch_df(variances: Sequence[float], dfs: Sequence[int]) -> float:
    """Return Welch and Satterthwaite's degrees of freedom of a sum of the variances of means."""
    below = sum(variance**2 / df for variance, df in zip(variances, dfs, strict=True))
    return sum(variances) ** 2 / below if below > 0 else float(min(dfs))
