"""The power to detect correlation along the seeds, by a test that is not made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy.signal import lfilter
from scipy.special import ndtr, ndtri

_LEAST_RUNS = 3
_MANY_RUNS = 50  # from here on the mean of the sample autocorrelation is taken from its expansion
_DRAWS = 20_000


def autocorrelation_power(runs: Sequence[int], correlation: float, level: float = 0.05) -> float:
    """Return the power of the two-sided test of lag-1 autocorrelation, averaged over cells, against an AR(1) process.

    The average of the cells' autocorrelations is assumed to be normal. Its standard deviation is that under
    independence, (n - 2) / (n sqrt(n - 1)) for a cell of n (Moran 1948, Biometrika 35, 255-260).

    Args:
        runs: of each cell; cells of fewer than three say nothing.
        correlation: of successive runs.
        level: of the test, two-sided.
    """
    telling = [n for n in runs if n >= _LEAST_RUNS]
    if not telling:
        return 0.0
    shift = sum(_mean(n, correlation) + 1 / n for n in telling) / len(telling)
    deviation = math.sqrt(sum(((n - 2) / n) ** 2 / (n - 1) for n in telling)) / len(telling)
    critical = float(ndtri(1 - level / 2))
    return float(ndtr(shift / deviation - critical) + ndtr(-shift / deviation - critical))


@cache
def _mean(n: int, correlation: float) -> float:
    """Return the mean of the autocorrelation of n values of an AR(1) process about their own mean.

    Of many by its expansion (Marriott and Pope 1954, Biometrika 41, 390-402), of few by drawing them.
    """
    if n >= _MANY_RUNS:
        return correlation - (1 + 4 * correlation) / n
    noise = np.random.default_rng(n).standard_normal((_DRAWS, n))
    noise[:, 1:] *= math.sqrt(1 - correlation**2)
    x = lfilter([1.0], [1.0, -correlation], noise)
    x -= x.mean(axis=1, keepdims=True)
    return float(np.mean((x[:, 1:] * x[:, :-1]).sum(axis=1) / (x**2).sum(axis=1)))
