"""P(A > B): the probability that a run of one cell is better than a run of another, ties counted half.

Everything here is made of *placements*: the share of the other cell's runs that a run is better than. Their variances
are those of DeLong, DeLong and Clarke-Pearson (1988, Biometrics 44, 837-845) and of Brunner and Munzel (2000,
Biometrical Journal 42, 17-25), for any spreads and numbers of runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from regulens.stats.intervals import Interval
from regulens.stats.ties import constant

_BOUND = 1e-12  # how exact a bound is


@dataclass(frozen=True)
class _Placed:
    """P(A > B), the variance of its estimate from the runs of each cell, and their degrees of freedom."""

    share: float
    variances: tuple[float, float]
    dfs: tuple[int, int]

    @property
    def variance(self) -> float:
        return sum(self.variances)


def improvement_interval(a: NDArray[np.float64], b: NDArray[np.float64], level: float) -> Interval:
    """Return P(A > B), ties counted half, with an interval for any spreads and numbers of runs.

    The estimate p is the Mann-Whitney statistic over n m. With DeLong's variance V it is as sure as the share of
    successes in ``p (1 - p) / V`` independent trials, and gets that share's interval: Clopper and Pearson's with mid-p
    (Lancaster 1961, Journal of the American Statistical Association 56, 223-234), as Korn and Graubard (1998, Survey
    Methodology 24, 193-201) do for shares in complex samples. So few trials as the smaller cell has runs are the
    extreme, where its spread is much larger than the other's: V is at most ``p (1 - p) / min(n, m)`` (Birnbaum and
    Klose 1957, Annals of Mathematical Statistics 28, 933-945). Where the runs hardly overlap, V is made of few pairs or
    of none; so it is shrunk to the extreme by one run of the smaller cell: with r = min(n, m), the trials are
    ``(p (1 - p) + 1 / r) / (V + 1 / r^2)``. Under complete separation they are r, and the interval of 95 % reaches from
    0.05^(1/r) to 1.

    NaN bounds where either cell has a single run, whose spread is unknown.

    Args:
        a: (n,) values.
        b: (m,) values.
        level: e.g. 0.95.
    """
    if min(len(a), len(b)) < 2:
        return Interval(_placed_share(a, b), math.nan, math.nan, level)
    placed, fewest = _placed(a, b), min(len(a), len(b))
    share = placed.share
    trials = (share * (1 - share) + 1 / fewest) / (placed.variance + 1 / fewest**2)
    low, high = _lower_bound(share, trials, level), 1 - _lower_bound(1 - share, trials, level)
    return Interval(share, low, high, level)


def brunner_munzel_p(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the two-sided p of Brunner and Munzel's test of P(A > B) = 1/2 (2000, Biometrical Journal 42, 17-25).

    That of ``scipy.stats.brunnermunzel``; NaN for single values and separated samples.
    """
    if min(len(a), len(b)) < 2 or constant(a, b):
        return math.nan
    placed = _placed(a, b)
    if placed.variance == 0:
        return math.nan
    below = sum(variance**2 / df for variance, df in zip(placed.variances, placed.dfs, strict=True))
    t = abs(placed.share - 0.5) / math.sqrt(placed.variance)
    return 2 * float(special.stdtr(placed.variance**2 / below, -t))


def _placed(a: NDArray[np.float64], b: NDArray[np.float64]) -> _Placed:
    of_a, of_b = _twice_below(a, b) / (2 * len(b)), _twice_below(b, a) / (2 * len(a))
    variances = tuple(float(each.var(ddof=1)) / len(each) for each in (of_a, of_b))
    return _Placed(_placed_share(a, b), (variances[0], variances[1]), (len(a) - 1, len(b) - 1))


def _placed_share(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(_twice_below(a, b).sum()) / (2 * len(a) * len(b))


def _twice_below(values: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return (n,) twice how many of the others are below each value, ties counted half."""
    ordered = np.sort(others)
    return np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")


def _lower_bound(share: float, trials: float, level: float) -> float:
    """Return the lower bound of the probability of success, with mid-p, of a share of so many trials, whole or not."""
    successes, failures = share * trials, (1 - share) * trials
    if successes == 0:
        return 0.0
    if failures == 0:
        return float((1 - level) ** (1 / trials))

    def beyond(probability: float) -> float:
        as_many = special.betainc(successes, failures + 1, probability)
        more = special.betainc(successes + 1, failures, probability)
        return float(as_many + more) / 2 - (1 - level) / 2

    return float(optimize.brentq(beyond, 0, 1, xtol=_BOUND))
