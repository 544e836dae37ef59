"""Many simulated studies at once, by the arithmetic of ``regulens.stats`` written over arrays.

It is what makes thousands of studies affordable; a test holds it to the real functions, number by number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from regulens.stats import shape
from regulens.stats.cells import LEAST_RUNS, LEAST_RUNS_IF_UNEQUAL
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
    suspicion: Values
    """(studies,) both, of all cells together."""

    @property
    def suspect(self) -> Mask:
        """(studies,) whether the runs look so skewed that a few of them do not allow a verdict."""
        return (np.abs(self.suspicion) > shape.SUSPECT) & (np.abs(self.skewness).max(1) > shape._SIZE)


@dataclass(frozen=True, eq=False)
class Differences:
    """(studies, comparisons) each: of pairs of cells, as ``StudentEstimate``."""

    value: Values
    error: Values
    df: Values
    below: Values
    above: Values
    few: Mask
    """Fewer than any verdict needs."""
    doubted: Mask
    """Too few for runs that look so skewed, unless bounds further away, ``far_below`` and ``far_above``, decide."""
    runs: tuple[Values, Values]
    far_below: Values
    far_above: Values

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
        of_median, of_extremes, of_both, of_l = _scales(n)
        sign = (mean - median) / np.sqrt(variance) / of_median + (high + low - 2 * median) / (high - low) / of_extremes
        weights = np.where(telling, np.sqrt(np.sqrt(variance)), 0.0)
        length = np.sqrt((weights**2).sum(1))
        asymmetry = (weights * np.where(telling, sign / of_both, 0.0)).sum(1) / length
        suspicion = (weights * np.where(telling, _l_skewness(ordered, n) / of_l, 0.0)).sum(1) / length
        noise = np.where(telling, 6 * n * (n - 1) / ((n - 2) * (n + 1) * (n + 3)), 1.0)
        share = weights / noise / (weights / noise).sum(1, keepdims=True)
        own = np.where(telling, own, 0.0)
        pooled = np.nan_to_num((share * own).sum(1, keepdims=True))
        doubt = np.sqrt(np.nan_to_num((share**2 * noise).sum(1, keepdims=True)))
    asymmetry, suspicion = np.nan_to_num(asymmetry), np.nan_to_num(suspicion)
    feared = pooled + np.copysign(1.5 * doubt, pooled)
    corrected = np.where(telling, feared + n / (n + shape._OWN) * (own - pooled), feared)
    corrected = np.where(telling & (np.sign(corrected) != np.sign(pooled)), 0.0, corrected)
    skewness = np.where(np.abs(asymmetry)[:, None] > shape.EVIDENT, corrected, pooled)
    return Moments(n, mean, variance, skewness, asymmetry, suspicion)


def differences(found: Moments, pairs: Sequence[tuple[int, int]]) -> Differences:
    """Return the differences a - b of pairs of cells (``cells.Cells.trained``)."""
    a, b = np.array(pairs).T
    mean, variance, n, skewness = found.mean, found.variance, found.n, found.skewness
    with np.errstate(invalid="ignore", divide="ignore"):
        part = variance / n
        total = part[:, a] + part[:, b]
        df = total**2 / (part[:, a] ** 2 / (n[:, a] - 1) + part[:, b] ** 2 / (n[:, b] - 1))
        error = np.where(total > 0, np.sqrt(total), np.nan)
        third = skewness * variance**1.5 / n**2
        pull = (third[:, a] - third[:, b]) / error**3
        size = np.abs(pull) * (0.5 + 6.5 / (df + 1) + 1.9 * np.abs(pull))
        evident = np.abs(found.asymmetry)[:, None] > shape.EVIDENT
        full = np.exp(np.minimum(shape._FULL * size, np.log(shape._MOST)))
        factor = np.where(evident, full, np.exp(np.minimum(shape._MILD * size, np.log(shape._MOST_MILD))))
    runs = fewest, _ = np.minimum(n[:, a], n[:, b]), np.maximum(n[:, a], n[:, b])
    doubted = (fewest < shape.RUNS_IF_SUSPECT) & found.suspect[:, None]
    least = np.select([fewest >= runs for runs, _ in shape.DOUBT], [times for _, times in shape.DOUBT], 1.0)
    near, far = ((np.where(pull < 0, x, 1.0), np.where(pull < 0, 1.0, x)) for x in (factor, full))
    far = (np.maximum(least, far[0]), np.maximum(least, far[1]))
    return Differences(mean[:, a] - mean[:, b], error, df, *near, fewest < LEAST_RUNS, doubted, runs, *far)


def shifted(found: Differences, by: float) -> Differences:
    """Return the same differences with another truth."""
    return replace(found, value=found.value + by)


def verdicts(found: Differences, rope: float, alpha: float) -> NDArray[np.str_]:
    """Return (studies, comparisons) verdicts (``verdicts.judge``; a higher response is better)."""
    fewest, most = found.runs
    unequal = next(runs for least, runs in LEAST_RUNS_IF_UNEQUAL if alpha > least)
    few = found.few | ((most >= 1.5 * fewest) & (fewest < unequal))
    edge = edge_alpha(alpha, rope, found)
    below = np.where(found.doubted, found.far_below, found.below)
    used = replace(found, below=below, above=np.where(found.doubted, found.far_above, found.above))
    with np.errstate(invalid="ignore"):
        choices = {
            "too few runs": few,
            "better": used.lower(edge) > rope,
            "worse": used.upper(edge) < -rope,
            "equivalent": (used.lower(alpha) > -rope) & (used.upper(alpha) < rope),
            "better (size open)": used.lower(alpha / 2) > 0,
            "worse (size open)": used.upper(alpha / 2) < 0,
        }
    said = np.select(list(choices.values()), list(choices), "undecided")
    return np.where(found.doubted & (said == "undecided") & np.isfinite(found.error), "too few runs", said)


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


def _l_skewness(ordered: Values, n: Values) -> Values:
    place, n = np.arange(ordered.shape[-1]), n[..., None]
    there = np.where(place < n, ordered, 0.0)
    rank = place / (n - 1)
    second = (there * (2 * rank - 1)).sum(-1)
    return (there * (6 * rank * (place - 1) / (n - 2) - 6 * rank + 1)).sum(-1) / second


def _take(ordered: Values, place: Values) -> Values:
    return np.take_along_axis(ordered, np.maximum(place, 0).astype(np.int64)[..., None], -1)[..., 0]


def _scales(n: Values) -> tuple[Values, ...]:
    counts, place = np.unique(n, return_inverse=True)
    table = np.array([_scales_of(int(count)) for count in counts])[place.reshape(n.shape)]
    return tuple(np.moveaxis(table, -1, 0))


@cache
def _scales_of(n: int) -> tuple[float, float, float, float]:
    return shape._normal(n) if n > 2 else (1.0, 1.0, 1.0, 1.0)
