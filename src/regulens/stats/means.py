"""The interval of a mean of values that are no cell of an analysis."""

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
