"""Confidence intervals of a rate, of the mean over all runs of a cell, and of differences by MOVER.

Where runs collapse, a cell's mean is a mixture, ``trained - rate * (trained - collapsed)``, and so is its interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from statsmodels.stats.proportion import proportion_confint

from regulens.stats.samples import Sample


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


@lru_cache(4096)
def wilson(count: int, n: int, level: float) -> Interval:
    """Return a rate with Wilson's score interval (Wilson 1927; statsmodels)."""
    low, high = proportion_confint(count, n, alpha=1 - level, method="wilson")
    return Interval(count / n, float(low), float(high), level)


@dataclass(frozen=True)
class Collapse:
    """What the runs of a whole analysis say of collapse: the mean of collapsed runs, and the best run's value."""

    mean: float
    best: float


def overall_interval(cell: Sample, trained: Interval, collapse: Collapse) -> Interval:
    """Return the mean over all runs of a cell, with an interval that carries the rate of collapse as well.

    The mean is ``c + (1 - p)(m - c)``: ``m`` the mean among runs that trained, ``p`` the collapse rate (Wilson), ``c``
    the mean of collapsed runs, whose own spread is that of guessing and is left out. Its bounds come from those of
    ``m`` and ``p`` by MOVER for a product (Donner and Zou 2012, Statistical Methods in Medical Research 21, 347-359).
    A cell without a collapse does not have the rate zero: its interval reaches down to what Wilson's bound allows.
    Where fewer than two runs trained, the best run of the analysis stands for how well they might have.

    Args:
        cell: its runs, each with a value.
        trained: the mean of its runs that trained, with the interval of the level asked for.
        collapse: of the whole analysis.
    """
    level_of_trained = float(np.mean(cell.trained)) if len(cell.trained) else collapse.best
    if collapse.mean > level_of_trained:  # as with losses, or a gap: the product below wants a gain above zero
        mirrored = Sample(-cell.values, cell.collapsed, cell.seeds)
        return -overall_interval(mirrored, -trained, Collapse(-collapse.mean, -collapse.best))
    estimate, level = float(np.mean(cell.values)), trained.level
    rate = wilson(cell.collapses, cell.n, level)
    kept = Interval(1 - rate.estimate, 1 - rate.high, 1 - rate.low, level)
    if math.isnan(trained.low):
        most = collapse.best - collapse.mean
        gain = Interval(most, 0.0, most, level)
    else:
        c = collapse.mean
        gain = Interval(trained.estimate - c, trained.low - c, trained.high - c, level)
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


def welch_df(variances: Sequence[float], dfs: Sequence[float]) -> float:
    """Return Welch and Satterthwaite's degrees of freedom of a sum of the variances of means."""
    below = sum(variance**2 / df for variance, df in zip(variances, dfs, strict=True))
    return sum(variances) ** 2 / below if below > 0 else float(min(dfs))
