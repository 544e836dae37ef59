"""How often cells train: exact bounds of a difference of collapse rates, and the difference that would undo a verdict.

Collapses are few and near zero, where a score interval (Miettinen and Nurminen 1985, Statistics in Medicine 4, 213-226)
errs several times as often as it says, at any number of runs (docs/statistics.md). The bounds here are exact: both
counts are binomial, and a difference is excluded only if no pair of rates with it makes the counts likely enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from regulens.stats.intervals import Interval

Floats = NDArray[np.float64]
Counts = tuple[int, int, int, int]
"""Collapsed and all runs of a, collapsed and all runs of b."""

ORDER_ERROR = 0.01  # of the bounds that say which counts are more extreme: about that of one of three comparisons
UNLIKELY = 0.02  # share of the error that goes into leaving out rates that the counts themselves exclude
_NODES = 65  # pairs of rates at which one difference is tried, the middle one among them
_LEAST_P = 1e-15  # what the sums of probabilities are right to


@dataclass(frozen=True)
class RateDifference:
    """The difference of two collapse rates, a - b, with exact one-sided bounds.

    The bounds are Buehler's (1957, Journal of the American Statistical Association 52, 482-493): the lower one is the
    smallest difference at which some pair of rates gives counts as extreme as these, or more, a probability above
    ``alpha`` (unconditional, as in Chan and Zhang 1999, Biometrics 55, 1202-1209). Counts are ordered by the lower
    bound that MOVER makes of Jeffreys's intervals, the same order for every ``alpha``; and pairs of rates that a
    rectangle of Clopper and Pearson's intervals of confidence 1 - 0.02 ``alpha`` leaves out are not tried, the rest
    being held to 0.98 ``alpha`` (Berger and Boos 1994, Journal of the American Statistical Association 89, 1012-1016).

    Attributes:
        collapsed_a: how many runs of a collapsed.
        n_a: how many runs a has, at least 1.
        collapsed_b: how many runs of b collapsed.
        n_b: how many runs b has, at least 1.

    Raises:
        ValueError: if a count is negative or above its number of runs.
    """

    collapsed_a: int
    n_a: int
    collapsed_b: int
    n_b: int

    def __post_init__(self) -> None:
        for collapsed, n in ((self.collapsed_a, self.n_a), (self.collapsed_b, self.n_b)):
            if not 0 <= collapsed <= n or n < 1:
                raise ValueError(f"of at least one run between none and all collapse, got {collapsed} of {n}")

    def __neg__(self) -> RateDifference:
        return RateDifference(self.collapsed_b, self.n_b, self.collapsed_a, self.n_a)

    @property
    def value(self) -> float:
        """The rate of a minus that of b."""
        return self.collapsed_a / self.n_a - self.collapsed_b / self.n_b

    def lower(self, alpha: float) -> float:
        """Return the bound that a - b is below with a probability of at most ``alpha`` (0 to 0.5), in [-1, 1]."""
        if not 0 < alpha <= 0.5:
            raise ValueError(f"alpha must be in (0, 0.5], got {alpha}")
        return min(_lower(self._counts, alpha), self.value)

    def upper(self, alpha: float) -> float:
        """Return the bound that a - b is above with a probability of at most ``alpha`` (0 to 0.5), in [-1, 1]."""
        return -(-self).lower(alpha)

    def interval(self, level: float) -> Interval:
        """Return the difference with its two-sided interval: each side errs with (1 - ``level``) / 2."""
        alpha = (1 - level) / 2
        return Interval(self.value, self.lower(alpha), self.upper(alpha), level)

    def p_above(self, margin: float) -> float:
        """Return the one-sided p of a - b being at most ``margin``: the alpha whose lower bound is there."""
        return _p(self._counts, margin)

    def p_below(self, margin: float) -> float:
        """Return the one-sided p of a - b being at least ``margin``: the alpha whose upper bound is there."""
        return (-self).p_above(-margin)

    @property
    def p(self) -> float:
        """The two-sided p of equal rates: 1 - the level of the interval that has zero for a bound."""
        return min(1.0, 2 * min(self.p_above(0.0), self.p_below(0.0)))

    @property
    def _counts(self) -> Counts:
        return self.collapsed_a, self.n_a, self.collapsed_b, self.n_b


def rate_sensitivity(difference: float, trained_mean_a: float, rate_b: float, failed_value: float) -> float:
    """Return the difference of collapse rates, a - b, at which the overall means of a and b are equal.

    With collapsed runs at ``c`` the overall means ``c + (1 - p)(m - c)`` are equal where ``p_a - p_b = (1 - p_b)(m_a -
    m_b) / (m_a - c)``. It undoes a verdict among trained runs, and is to be read beside the interval of the difference
    of the rates. Let a be the cell that is better when it trains: the other has no rate that makes up for it.

    Args:
        difference: ``m_a - m_b``, of the means among trained runs.
        trained_mean_a: ``m_a``, in the response's unit.
        rate_b: ``p_b``, the collapse rate of b.
        failed_value: ``c``, what a run that fails to train has.

    Returns:
        The difference, NaN where no rate of a within 0 to 1 does it.
    """
    gain = trained_mean_a - failed_value
    if gain == 0:
        return math.nan
    needed = (1 - rate_b) * difference / gain
    return needed if 0 <= rate_b + needed <= 1 else math.nan


def equivalence_sensitivity(
    means: tuple[float, float], rates: tuple[float, float], failed: float, rope: float
) -> float:
    """Return the smallest difference of collapse rates, a - b, at which the means of all runs differ by the ROPE.

    The overall gains over a failed run are ``(1 - p) |m - c|``; either a or b may fail so much more often.

    Args:
        means: of the runs of a and b that trained.
        rates: at which a and b fail to train; that of the one that does not fail more often is kept.
        failed: the value of a run that fails to train, NaN where that is unknown.
        rope: half-width of the region of practical equivalence.

    Returns:
        The difference, NaN where no rate does it.
    """
    gains = abs(means[0] - failed), abs(means[1] - failed)
    found = []
    for sign, (one, other) in ((1, (0, 1)), (-1, (1, 0))):
        kept = 1 - rates[other]
        increase = (kept * (gains[one] - gains[other]) + rope) / gains[one] if gains[one] > 0 else math.nan
        found += [sign * increase] if 0 <= increase <= kept else []
    return min(found, key=abs, default=math.nan)


@lru_cache(maxsize=2**16)
def _lower(counts: Counts, alpha: float) -> float:
    """Return the smallest difference that is not excluded: ``_greatest_tail`` rises with the difference."""
    least, most = _possible(counts, alpha)

    def above(difference: float) -> float:
        return math.log(_greatest_tail(counts, difference, alpha)) - math.log((1 - UNLIKELY) * alpha)

    if above(least) >= 0:
        return least
    return float(optimize.brentq(above, least, most, xtol=1e-7))


@lru_cache(maxsize=2**14)
def _p(counts: Counts, difference: float) -> float:
    def above(log_alpha: float) -> float:
        alpha = math.exp(log_alpha)
        least, most = _possible(counts, alpha)
        if not least <= difference <= most:
            return 1.0 if difference > most else -1.0
        return math.log(_greatest_tail(counts, difference, alpha) / (1 - UNLIKELY)) - log_alpha

    if above(0.0) >= 0:
        return 1.0
    if above(math.log(_LEAST_P)) <= 0:
        return _LEAST_P
    return math.exp(optimize.brentq(above, math.log(_LEAST_P), 0.0, xtol=1e-7))


def _greatest_tail(counts: Counts, difference: float, alpha: float) -> float:
    """Return the largest probability, over pairs of rates with a difference, of counts as extreme as these or more."""
    _, n_a, _, n_b = counts
    (low_a, high_a), (low_b, high_b) = _rectangle(counts, alpha)
    low, high = max(low_b, low_a - difference), min(high_b, high_a - difference)
    steps = np.sin(np.linspace(0, math.pi / 2, _NODES)) ** 2  # closer at the ends, where a rate may be zero
    rates_b = low + max(high - low, 0.0) * steps
    rates_a = np.clip(rates_b + difference, 0, 1)
    first_b, pmf_b = _binomial(n_b, rates_b)
    first_a, pmf_a = _binomial(n_a, rates_a)
    needed = _boundary(counts)[first_b : first_b + pmf_b.shape[1]]
    tails_a = np.pad(np.cumsum(pmf_a[:, ::-1], axis=1)[:, ::-1], ((0, 0), (0, 1)))
    of_a = tails_a[:, np.clip(needed - first_a, 0, pmf_a.shape[1])]
    return float(np.einsum("ij,ij->i", of_a, pmf_b).max()) + _LEAST_P


def _binomial(n: int, rates: Floats) -> tuple[int, Floats]:
    """Return the first count that is not out of reach of all (k,) rates, and the probabilities from it on, (k, counts).

    Out of reach is what Bernstein's inequality holds to be rarer than ``_LEAST_P``.
    """
    low, high = float(rates.min()), float(rates.max())
    rarity = -math.log(_LEAST_P)
    variance = n * max(low * (1 - low), high * (1 - high), 0.25 if low < 0.5 < high else 0.0)
    reach = rarity / 3 + math.sqrt((rarity / 3) ** 2 + 2 * rarity * variance)
    first, last = max(0, math.floor(n * low - reach)), min(n, math.ceil(n * high + reach))
    counts = np.arange(first, last + 1)
    inside = np.clip(rates, 1e-300, 1 - 2.0**-53)[:, None]
    logs = _log_choices(n)[first : last + 1] + counts * np.log(inside) + (n - counts) * np.log1p(-inside)
    return first, np.exp(logs)


@lru_cache(maxsize=256)
def _log_choices(n: int) -> Floats:
    counts = np.arange(n + 1)
    return np.asarray(special.gammaln(n + 1) - special.gammaln(counts + 1) - special.gammaln(n - counts + 1))


@lru_cache(maxsize=2**12)
def _boundary(counts: Counts) -> NDArray[np.int64]:
    """Return, for 0 to ``n_b`` collapses of b, the fewest of a that are as extreme as the counts; n_a + 1 for none."""
    collapsed_a, n_a, collapsed_b, n_b = counts
    rates_a, below_a = np.arange(n_a + 1) / n_a, _jeffreys_distances(n_a)
    rates_b, above_b = np.arange(n_b + 1) / n_b, _jeffreys_distances(n_b)[::-1]

    def bound(a: NDArray[np.int64] | int, b: NDArray[np.int64] | int) -> Floats:
        return np.asarray(rates_a[a] - rates_b[b] - np.hypot(below_a[a], above_b[b]))

    every_b = np.arange(n_b + 1)
    extreme = bound(collapsed_a, collapsed_b) - 1e-12
    fewer, enough = np.full(n_b + 1, -1), np.full(n_b + 1, n_a + 1)
    while (enough - fewer > 1).any():  # the bound rises with the collapses of a and falls with those of b
        middle = np.clip((fewer + enough) // 2, 0, n_a)
        reached = bound(middle, every_b) >= extreme
        fewer, enough = np.where(reached, fewer, middle), np.where(reached, middle, enough)
    return enough


@lru_cache(maxsize=256)
def _jeffreys_distances(n: int) -> Floats:
    """Return by how much Jeffreys's lower bound of error ``ORDER_ERROR`` lies below the rate of 0 to n collapses."""
    counts = np.arange(n + 1)
    lower = special.betaincinv(counts + 0.5, n - counts + 0.5, ORDER_ERROR)
    return np.asarray(counts / n - np.where(counts > 0, lower, 0.0))


def _possible(counts: Counts, alpha: float) -> tuple[float, float]:
    """Return the smallest and the largest difference of the rates that the counts do not exclude by themselves."""
    (low_a, high_a), (low_b, high_b) = _rectangle(counts, alpha)
    return low_a - high_b, high_a - low_b


@lru_cache(maxsize=2**12)
def _rectangle(counts: Counts, alpha: float) -> tuple[tuple[float, float], tuple[float, float]]:
    collapsed_a, n_a, collapsed_b, n_b = counts
    error = UNLIKELY * alpha / 4  # two rates, two sides
    return _clopper_pearson(collapsed_a, n_a, error), _clopper_pearson(collapsed_b, n_b, error)


def _clopper_pearson(count: int, n: int, error: float) -> tuple[float, float]:
    """Return exact bounds of a rate, each of an error (as statsmodels's method "beta", a hundred times as fast)."""
    low = float(special.betaincinv(count, n - count + 1, error)) if count else 0.0
    high = float(special.betainccinv(count + 1, n - count, error)) if count < n else 1.0
    return low, high
