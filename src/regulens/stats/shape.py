"""The shape of the runs of an analysis: how skewed they are, and what that does to the bounds of a mean.

A few runs of one cell cannot tell whether they are skewed; those of all cells together can, since what makes accuracies
skewed (a ceiling, a run now and then that goes wrong) acts on all of them. So the skewness is pooled over the cells,
and each mean, or contrast of means, keeps Student's bounds, stretched on the side to which skewness pulls. How far was
fitted once to the quantiles of Student's statistic of gamma and lognormal samples of 5 to 30 (``docs/statistics.md``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from regulens.stats.ties import constant

EVIDENT = 2.25
"""Standard deviations from symmetry beyond which skewness is taken to be there, and corrected in full."""
SUSPECT = 1.67
"""Beyond which too few runs are not judged: one in ten analyses of normal runs."""
RUNS_IF_SUSPECT = 12
"""Runs of each cell that a verdict needs where skewness is suspected."""
DOUBT = ((9, 1.5), (0, 2.5))
"""Of fewer runs: how many times as far away bounds must be, on both sides, for a verdict that holds all the same, by
the number of runs from which on that is enough (``benchmarks/calibration.py``)."""
_SIZE = 0.25  # sample skewness below which it does no harm, however sure
_MILD, _MOST_MILD = 1.2, 1.25  # how much of the correction, and the most of it, where skewness is not evident
_FULL, _MOST = 2.0, 3.5
_OWN = 20  # runs at which a cell's own skewness counts half
_DRAWS = 400_000


@dataclass(frozen=True, eq=False)
class Shape:
    """How skewed the runs of an analysis are.

    Attributes:
        asymmetry: of all cells together, in standard deviations of that of normal runs.
        suspicion: the same by a measure that tells skewness from fewer runs, but is misled by heavy tails.
        skewness: (cells,) sample skewness of each cell, mostly that of all cells, as the correction takes it.
    """

    asymmetry: float
    suspicion: float
    skewness: NDArray[np.float64]

    @property
    def evident(self) -> bool:
        """Whether the runs are so skewed that bounds are corrected in full."""
        return abs(self.asymmetry) > EVIDENT

    @property
    def suspect(self) -> bool:
        """Whether the runs look so skewed that a few of them do not allow a verdict."""
        return abs(self.suspicion) > SUSPECT and bool(np.abs(self.skewness).max(initial=0.0) > _SIZE)

    def doubt(self, runs: int) -> float:
        """Return how many times as far away bounds must be at least, where so few runs look skewed."""
        return next(factor for least, factor in DOUBT if runs >= least)

    def stretch(self, third: float, error: float, df: float, full: bool = False) -> tuple[float, float]:
        """Return the factors by which the lower and the upper bound of a sum of means move away from it.

        Args:
            third: third central moment of the sum, from ``skewness``.
            error: its standard error.
            df: degrees of freedom of that.
            full: whether to correct in full though skewness is not evident.
        """
        if not error > 0:
            return 1.0, 1.0
        pull = third / error**3
        size = abs(pull) * (0.5 + 6.5 / (df + 1) + 1.9 * abs(pull))
        part, most = (_FULL, _MOST) if self.evident or full else (_MILD, _MOST_MILD)
        factor = math.exp(min(part * size, math.log(most)))
        return (factor, 1.0) if pull < 0 else (1.0, factor)


def shape_of(groups: Sequence[NDArray[np.float64]]) -> Shape:
    """Pool the shape of (n_i,) values of each cell; cells of fewer than three runs, or without spread, say nothing.

    Asymmetry is told from the distance of mean and median and from the place of the median between the extremes, each
    in units of its standard deviation among normal runs: heavy symmetric tails (Student's t with 3 degrees of freedom)
    raise neither much. Suspicion is told from L-skewness (Hosking 1990, Journal of the Royal Statistical Society B 52,
    105-124). Cells count by the square root of their standard deviation: those that spread more decide more.
    """
    skewness = np.zeros(len(groups))
    telling = [number for number, x in enumerate(groups) if len(x) > 2 and not constant(x)]
    if not telling:
        return Shape(0.0, 0.0, skewness)
    kept = [groups[number] for number in telling]
    weights = np.sqrt([float(x.std(ddof=1)) for x in kept])
    signs = np.array([_signs(x) for x in kept])
    asymmetry, suspicion = (weights @ signs / math.sqrt(float(weights @ weights))).tolist()
    n = np.array([len(x) for x in kept], np.float64)
    own = np.array([_skewness(x) for x in kept])
    noise = 6 * n * (n - 1) / ((n - 2) * (n + 1) * (n + 3))  # variance of the skewness of normal samples
    share = weights / noise / float(np.sum(weights / noise))
    pooled, doubt = float(share @ own), math.sqrt(float(share**2 @ noise))
    if abs(asymmetry) <= EVIDENT:
        skewness[:] = pooled
        return Shape(asymmetry, suspicion, skewness)
    feared = pooled + math.copysign(1.5 * doubt, pooled)
    skewness[:] = feared
    corrected = feared + n / (n + _OWN) * (own - pooled)
    skewness[telling] = np.where(np.sign(corrected) == np.sign(pooled), corrected, 0.0)
    return Shape(asymmetry, suspicion, skewness)


def _skewness(x: NDArray[np.float64]) -> float:
    """Return the sample skewness G1 (Joanes and Gill 1998)."""
    n = len(x)
    centered = x - x.mean()
    g = float(np.mean(centered**3)) / math.pow(float(np.mean(centered**2)), 1.5)
    return g * math.sqrt(n * (n - 1)) / (n - 2)


def _signs(x: NDArray[np.float64]) -> tuple[float, float]:
    """Return asymmetry and suspicion of (n,) values, of standard deviation 1 each among normal values."""
    of_median, of_extremes, of_both, of_l = _normal(len(x))
    mean_median, extremes, l_skewness = (float(part[0]) for part in _parts(x[None]))
    return (mean_median / of_median + extremes / of_extremes) / of_both, l_skewness / of_l


@cache
def _normal(n: int) -> tuple[float, float, float, float]:
    """Return the standard deviations among samples of n normal values: of the parts, the first two and their sum."""
    first, second, third = _parts(np.random.default_rng(n).standard_normal((max(_DRAWS // n, 1000), n)))
    scales = float(first.std()), float(second.std())
    return *scales, float((first / scales[0] + second / scales[1]).std()), float(third.std())


def _parts(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return of (samples, n) values mean less median, how far the median is from the mid-range, and L-skewness."""
    ordered, n = np.sort(x, axis=1), x.shape[1]
    median, low, high = np.median(ordered, axis=1), ordered[:, 0], ordered[:, -1]
    rank = np.arange(n) / (n - 1)
    second = ordered @ (2 * rank - 1)
    third = ordered @ (6 * rank * (np.arange(n) - 1) / (n - 2) - 6 * rank + 1)
    return (x.mean(axis=1) - median) / x.std(axis=1, ddof=1), (high + low - 2 * median) / (high - low), third / second
