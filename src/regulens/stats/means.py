"""Intervals of a mean, and of the difference of two, for values that stand alone: no cells of one analysis."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regulens.stats.cells import Cells
from regulens.stats.design import Design
from regulens.stats.intervals import Interval
from regulens.stats.samples import sample


def mean_interval(values: NDArray[np.float64], level: float) -> Interval:
    """Return the mean of (n,) values with Student's interval, stretched where they are skewed (``shape``).

    NaN bounds for a single value, and where nothing varies.
    """
    return Cells({"": sample(values)}, Design()).trained({"": 1.0}).interval(level)


def difference_interval(
    a: NDArray[np.float64], b: NDArray[np.float64], level: float, limits: tuple[float, float]
) -> Interval:
    """Return the difference of two means with Welch's interval, stretched where the values are skewed (``shape``).

    NaN bounds for single values, and where nothing varies.

    Args:
        a: (n,) values.
        b: (m,) values.
        level: e.g. 0.95.
        limits: the least and the greatest possible value.
    """
    cells = Cells({"a": sample(a), "b": sample(b)}, Design(bounds=limits))
    return cells.trained({"a": 1.0, "b": -1.0}).interval(level)
