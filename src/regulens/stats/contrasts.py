"""Linear contrasts of the means of independent cells, and the two rules by which an analysis estimates them.

``welch_estimator`` goes by the runs of each cell; where runs collapse, ``mover_estimator`` by the interval of each
cell's mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from regulens.stats.intervals import Interval, around, moments, welch_df
from regulens.stats.ties import cancelled

Level = bool | int | float | str
Levels = tuple[Level, ...]


@dataclass(frozen=True)
class Contrast:
    """A linear contrast of cell means: its interval, Welch's two-sided p and degrees of freedom (NaN where none)."""

    interval: Interval
    p: float = math.nan
    df: float = math.nan


Estimator = Callable[[Mapping[Levels, float], float], Contrast]
"""(weight of each cell, level) -> the contrast of those cells."""


def contrast(values: Sequence[NDArray[np.float64]], weights: Sequence[float], level: float) -> Contrast:
    """Return the weighted sum of the means of independent cells whose variances may differ.

    The interval is that of ``intervals.welch_interval``, for any weights; p is from Student's t with Welch and
    Satterthwaite's degrees of freedom alone (Welch 1947; Satterthwaite 1946), NaN if no cell has any spread.

    Args:
        values: one (n_i,) array for each cell.
        weights: one for each cell.
        level: e.g. 0.95.

    Returns:
        With NaN bounds and p where a cell has fewer than two values, and a NaN estimate where one has none.
    """
    if not all(len(x) for x in values):
        return Contrast(Interval(math.nan, math.nan, math.nan, level))
    means = [w * float(np.mean(x)) for x, w in zip(values, weights, strict=True)]
    estimate = cancelled(sum(means), means)
    if min(len(x) for x in values) < 2:
        return Contrast(Interval(estimate, math.nan, math.nan, level))
    parts = [moments(w * x, 1) for x, w in zip(values, weights, strict=True)]
    variances = [variance for variance, _, _ in parts]
    df = welch_df(variances, [freedom for _, _, freedom in parts])
    error = math.sqrt(sum(variances))
    p = 2 * float(special.stdtr(df, -abs(estimate) / error)) if error > 0 else math.nan
    return Contrast(around(estimate, parts, level), p, df)


def mover_contrast(intervals: Sequence[Interval], weights: Sequence[float]) -> Interval:
    """Return the weighted sum of independent estimates from their intervals of one level (MOVER).

    Each bound is recovered from the bounds of the parts on the side that the weight turns them to (Zou and Donner
    2008, Statistics in Medicine 27, 1693-1702), so that the asymmetry of each part is kept; p has no place in it.

    Raises:
        ValueError: if the levels differ.
    """
    levels = {interval.level for interval in intervals}
    if len(levels) != 1:
        raise ValueError(f"the intervals must have one level, got {sorted(levels)}")
    terms = [
        (w * x.estimate, w * (x.low if w > 0 else x.high), w * (x.high if w > 0 else x.low))
        for x, w in zip(intervals, weights, strict=True)
    ]
    middles = [middle for middle, _, _ in terms]
    estimate = cancelled(sum(middles), middles)
    low = estimate - math.hypot(*(middle - low for middle, low, _ in terms))
    high = estimate + math.hypot(*(high - middle for middle, _, high in terms))
    return Interval(estimate, low, high, levels.pop())


def welch_estimator(values: Mapping[Levels, NDArray[np.float64]]) -> Estimator:
    """Return the rule that estimates from the (n,) values of each cell: of all its runs, or of those that trained."""

    def estimate(weights: Mapping[Levels, float], level: float) -> Contrast:
        return contrast([values[cell] for cell in weights], list(weights.values()), level)

    return estimate


def mover_estimator(interval_of: Callable[[Levels, float], Interval]) -> Estimator:
    """Return the rule that estimates from each cell's interval at a level, e.g. ``intervals.mixture_interval``."""

    def estimate(weights: Mapping[Levels, float], level: float) -> Contrast:
        return Contrast(mover_contrast([interval_of(cell, level) for cell in weights], list(weights.values())))

    return estimate
