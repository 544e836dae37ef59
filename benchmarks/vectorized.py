"""Many simulated studies at once, by the arithmetic of ``regulens.stats`` written over arrays.

It is what makes thousands of studies affordable; a test holds it to the real functions, number by number.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from regulens.stats import shape
from regulens.stats.cells import LEAST_RUNS
from regulens.stats.ties import ROUNDING

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Moments:
    """(studies, cells) each: of the runs that trained. Skewness as the correction takes it."""

    n: Values
    mean: Values
    variance: Values
    skewness: Values
    asymmetry: Values
    """(studies,): of all cells together."""

    @property
    def suspect(self) -> Mask:
        """(studies,) whether the runs look so skewed that a few of them do not allow a verdict."""
        return (np.abs(self.asymmetry) > shape.SUSPECT) & (np.abs(self.skewness).max(1) > shape._SIZE)


@dataclass(frozen=True, eq=False)
class Differences:
    """(studies, comparisons) each: of the cells after the first against the first, as ``StudentEstimate``."""

    value: Values
    error: Values
    df: Values
    below: Values
    above: Values
    few: Mask

    def lower(self, alpha: float | Values) -> Values:
        """Return the lower bounds."""
        return self.value - stdtrit(self.df, 1 - alpha) * self.error * self.below

    def upper(self, alpha: float | Values) -> Values:
        """Return the upper bounds."""
        return self.value + stdtrit(self.df, 1 - alpha) * self.error * self.above


def moments(values: Values, trained: Mask) -> Moments:
    """Return the moments of (studies, cells, runs) values, those that did not train left out (``shape.shape_of``)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        n = trained.sum(-1).astype(np.float64)
        x = np.where(trained, values, 0.0)
        mean = x.sum(-1) / n
        centered = np.where(trained, values - mean[..., None], 0.0)
        squares = (centered**2).sum(-1)
        ordered = np.sort(np.where(trained, values, np.inf), axis=-1)
        low, high = ordered[..., 0], _take(ordered, n - 1)
        same = ~(high - low > ROUNDING * np.maximum(np.abs(low), np.abs(high)))
        variance = np.where(same & (n > 1), 0.0, np.where(n > 1, squares / (n - 1), np.nan))
        telling = (n > 2) & ~same
        own = (centered**3).sum(-1) / n / (squares / n) ** 1.5 * np.sqrt(n * (n - 1)) / (n - 2)
        median = (_take(ordered, (n - 1) // 2) + _take(ordered, n // 2)) / 2
        of_median, of_extremes, of_both = _scales(n)
        sign = (mean - median) / np.sqrt(variance) / of_median + (high + low - 2 * median) / (high - low) / of_extremes
        weights = np.where(telling, np.sqrt(np.sqrt(variance)), 0.0)
        asymmetry = (weights * np.where(telling, sign / of_both, 0.0)).sum(1) / np.sqrt((weights**2).sum(1))
        noise = np.where(telling, 6 * n * (n - 1) / ((n - 2) * (n + 1) * (n + 3)), 1.0)
        share = weights / noise / (weights / noise).sum(1, keepdims=True)
        own = np.where(telling, own, 0.0)
        pooled = np.nan_to_num((share * own).sum(1, keepdims=True))
        doubt = np.sqrt(np.nan_to_num((share**2 * noise).sum(1, keepdims=True)))
    asymmetry = np.nan_to_num(asymmetry)
    feared = pooled + np.copysign(1.5 * doubt, pooled)
    corrected = np.where(telling, feared + n / (n + shape._OWN) * (own - pooled), feared)
    corrected = np.where(telling & (np.sign(corrected) != np.sign(pooled)), 0.0, corrected)
    skewness = np.where(np.abs(asymmetry)[:, None] > shape.EVIDENT, corrected, pooled)
    return Moments(n, mean, variance, skewness, asymmetry)


def differences(found: Moments) -> Differences:
    """Return each cell after the first, less the first (``cells.Cells.trained``)."""
    mean, variance, n, skewness = found.mean, found.variance, found.n, found.skewness
    with np.errstate(invalid="ignore", divide="ignore"):
        part = variance / n
        total = part[:, 1:] + part[:, :1]
        df = total**2 / (part[:, 1:] ** 2 / (n[:, 1:] - 1) + part[:, :1] ** 2 / (n[:, :1] - 1))
        error = np.where(total > 0, np.sqrt(total), np.nan)
        third = skewness * variance**1.5 / n**2
        pull = (third[:, 1:] - third[:, :1]) / error**3
        size = np.abs(pull) * (0.5 + 6.5 / (df + 1) + 1.9 * np.abs(pull))
        evident = np.abs(found.asymmetry)[:, None] > shape.EVIDENT
        part_of_it, most = np.where(evident, shape._FULL, shape._MILD), np.where(evident, shape._MOST, shape._MOST_MILD)
        factor = np.exp(np.minimum(part_of_it * size, np.log(most)))
    fewest = np.minimum(n[:, 1:], n[:, :1])
    few = (fewest < LEAST_RUNS) | ((fewest < shape.RUNS_IF_SUSPECT) & found.suspect[:, None])
    below, above = np.where(pull < 0, factor, 1.0), np.where(pull < 0, 1.0, factor)
    return Differences(mean[:, 1:] - mean[:, :1], error, df, below, above, few)


def verdicts(found: Differences, rope: float, alpha: float) -> NDArray[np.str_]:
    """Return (studies, comparisons) verdicts (``verdicts.judge``; a higher response is better)."""
    edge = edge_alpha(alpha, rope, found)
    with np.errstate(invalid="ignore"):
        choices = {
            "too few runs": found.few,
            "better": found.lower(edge) > rope,
            "worse": found.upper(edge) < -rope,
            "equivalent": (found.lower(alpha) > -rope) & (found.upper(alpha) < rope),
            "better (size open)": found.lower(alpha / 2) > 0,
            "worse (size open)": found.upper(alpha / 2) < 0,
        }
    return np.select(list(choices.values()), list(choices), "undecided")


def edge_alpha(alpha: float, rope: float, found: Differences) -> Values:
    """Return the one-sided error of the bound beyond the edge, by bisection (``verdicts.edge_alpha``)."""
    if rope == 0:
        return np.full(found.error.shape, alpha / 2)
    width, df = rope / found.error, found.df
    at_zero = stdtrit(df, 1 - alpha / 2) + width
    low, high = np.full(width.shape, alpha / 2), np.full(width.shape, alpha)
    for _ in range(30):
        middle = (low + high) / 2
        below = middle + stdtr(df, -np.minimum(stdtrit(df, 1 - middle) + 2 * width, at_zero)) < alpha
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def _take(ordered: Values, place: Values) -> Values:
    return np.take_along_axis(ordered, np.maximum(place, 0).astype(np.int64)[..., None], -1)[..., 0]


def _scales(n: Values) -> tuple[Values, Values, Values]:
    counts, place = np.unique(n, return_inverse=True)
    table = np.array([_scales_of(int(count)) for count in counts])[place.reshape(n.shape)]
    return table[..., 0], table[..., 1], table[..., 2]


@cache
def _scales_of(n: int) -> tuple[float, float, float]:
    return shape._normal(n) if n > 2 else (1.0, 1.0, 1.0)
