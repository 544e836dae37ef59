"""Descriptions of what the runs of a cell came to. Arrays in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from regulens.stats.intervals import Interval
from regulens.stats.ties import constant

RUNS_FOR_QUARTILES = 4
RUNS_FOR_SD = 5  # Bonett's trimming is not defined for fewer
_VALUES_AT_ONCE = 2**20  # 8 MB
UNSEEN_SHARE = 0.3  # of runs of another kind, which an interquartile mean must not miss


@dataclass(frozen=True)
class Summary:
    """Of n values: median, mean, sample standard deviation (NaN for n = 1), smallest and largest."""

    n: int
    median: float
    mean: float
    sd: float
    low: float
    high: float


def summarize(values: ArrayLike) -> Summary:
    """Describe (n,) values.

    Raises:
        ValueError: if there are none.
    """
    x = _vector(values)
    sd = float(x.std(ddof=1)) if len(x) > 1 else float("nan")
    return Summary(len(x), float(np.median(x)), float(x.mean()), sd, float(x.min()), float(x.max()))


def interquartile_mean(values: ArrayLike) -> NDArray[np.float64]:
    """Return the mean of the middle half of (..., n) values along the last axis, a scalar array for (n,) values.

    The measure that Agarwal et al. 2021 (NeurIPS, "Deep reinforcement learning at the edge of the statistical
    precipice") recommend. Each value stands for 1/n of the distribution and counts as far as that lies between the
    quartiles, so no n is rounded; for n a multiple of four it is ``scipy.stats.trim_mean(values, 0.25)``.

    Raises:
        ValueError: if n is less than 4.
    """
    x = np.asarray(values, np.float64)
    n = x.shape[-1] if x.ndim else 0
    if n < RUNS_FOR_QUARTILES:
        raise ValueError(f"an interquartile mean needs at least {RUNS_FOR_QUARTILES} values, got {n}")
    edges = np.clip(np.arange(n + 1) / n, 0.25, 0.75)
    return np.asarray(np.sort(x, axis=-1) @ (2 * np.diff(edges)))


def interquartile_mean_intervals(
    samples: Sequence[NDArray[np.float64]], level: float, rng: np.random.Generator, resamples: int = 10_000
) -> list[Interval]:
    """Return the interquartile means of samples of (n,) values with distribution-free intervals by simulation.

    Whatever the distribution, its distribution function at the ordered values is distributed as n ordered uniform
    numbers. Each draw of these says how far the gap between two neighbors lies between the quartiles; with every gap
    at its lower end it gives a lower bound of the interquartile mean, with every gap at its upper end an upper one,
    and the interval reaches from a low percentile of the former to a high one of the latter (nonparametric fiducial
    bounds, as Cui and Hannig 2019, Biometrika 106, 501-518, make them for survival functions). Intervals from a
    Winsorized variance, Tukey and McLaughlin's or a percentile-t bootstrap, break down where 25 to 40 % of the runs
    collapse and under heavy ties; this one does not, and is up to a fifth longer where they hold.

    NaN bounds where runs of a kind that make up 30 %, and so reach into the middle half, remain unseen with more than
    the probability of an error: below 9 values at 95 %.

    Args:
        samples: (n,) values each; those of one size share their draws.
        level: e.g. 0.95.
        rng: consumed.
        resamples: how many draws; a hundred over 1 - level are enough.

    Raises:
        ValueError: if n is less than 4.
    """
    by_size: dict[int, list[int]] = {}
    for place, x in enumerate(samples):
        by_size.setdefault(len(x), []).append(place)
    found: dict[int, Interval] = {}
    at_once = max(1, _VALUES_AT_ONCE // (2 * resamples))
    for places in by_size.values():
        for start in range(0, len(places), at_once):
            some = places[start : start + at_once]
            ordered = np.sort(np.stack([samples[place] for place in some]), axis=1)
            found |= zip(some, _interquartile_intervals(ordered, level, rng, resamples), strict=True)
    return [found[place] for place in range(len(samples))]


def _interquartile_intervals(
    ordered: NDArray[np.float64], level: float, rng: np.random.Generator, resamples: int
) -> list[Interval]:
    """Return the interval of each row of (samples, n) ordered values."""
    estimates, n = interquartile_mean(ordered), ordered.shape[1]
    if (1 - UNSEEN_SHARE) ** n > 1 - level:
        return [Interval(float(estimate), math.nan, math.nan, level) for estimate in estimates]
    lower_ends = np.concatenate([ordered[:, :1], ordered], axis=1)  # of the gaps, (samples, n + 1)
    upper_ends = np.concatenate([ordered, ordered[:, -1:]], axis=1)
    lower, upper = np.empty((2, len(ordered), resamples))
    at_once = max(1, _VALUES_AT_ONCE // n)
    for start in range(0, resamples, at_once):
        shares = _middle_shares(rng, min(at_once, resamples - start), n).T
        lower[:, start : start + at_once] = lower_ends @ shares
        upper[:, start : start + at_once] = upper_ends @ shares
    lows = np.minimum(np.quantile(lower, (1 - level) / 2, axis=1), estimates)
    highs = np.maximum(np.quantile(upper, (1 + level) / 2, axis=1), estimates)
    return [
        Interval(estimate, low, high, level)
        for estimate, low, high in zip(estimates.tolist(), lows.tolist(), highs.tolist(), strict=True)
    ]


def _middle_shares(rng: np.random.Generator, draws: int, n: int) -> NDArray[np.float64]:
    """Draw where n ordered values lie, and return the shares that the gaps have of the middle half, (draws, n + 1)."""
    at_values = np.clip(np.sort(rng.random((draws, n)), axis=1), 0.25, 0.75)
    return 2 * np.diff(at_values, axis=1, prepend=0.25, append=0.75)


def sd_interval(values: ArrayLike, level: float) -> Interval:
    """Return the sample standard deviation of (n,) values with Bonett's interval, robust to nonnormality.

    Bonett 2006, Computational Statistics & Data Analysis 50, 775-782. At 95 % it covers 95 % for normal values, about
    90 % at a skewness of 1.4, less under heavy tails. Runs of which some collapse are of two kinds, and no interval
    knows a kind not yet seen: give it those that trained. NaN bounds below 5 values, where the level is too high for
    so few (n no more than the normal quantile), and for values that are all the same; the estimate of a single value
    is NaN.
    """
    x = _vector(values)
    n, estimate = len(x), summarize(x).sd
    z = float(special.ndtri((1 + level) / 2))
    if n < RUNS_FOR_SD or n <= z or constant(x):
        return Interval(estimate, math.nan, math.nan, level)
    cut = int(n / (2 * math.sqrt(n - 4)))
    center = np.sort(x)[cut : n - cut].mean()  # trimmed
    kurtosis = n * np.sum((x - center) ** 4) / np.sum((x - x.mean()) ** 2) ** 2
    adjusted = n / (n - z)
    error = adjusted * math.sqrt((kurtosis - (n - 3) / n) / (n - 1))
    low, high = (math.sqrt(adjusted) * estimate * math.exp(sign * z * error / 2) for sign in (-1, 1))
    return Interval(estimate, low, high, level)


def median_interval(values: ArrayLike, level: float) -> Interval:
    """Return the median of (n,) values with the interval of interpolated order statistics.

    Hettmansperger and Sheather 1986, Statistics & Probability Letters 4, 75-79 (scipy). NaN bounds where even the
    smallest and the largest value do not hold the median with this probability: below 6 values at 95 %.

    Raises:
        ValueError: if the level is not between 0.5 and 1.
    """
    x = _vector(values)
    if not 0.5 <= level < 1:
        raise ValueError(f"level must be in [0.5, 1), got {level}")
    estimate = float(np.median(x))
    if not medians_bounded(len(x), level):
        return Interval(estimate, math.nan, math.nan, level)
    if 1 - level <= 0.5 ** (len(x) - 1) * (1 + 1e-9) + 1e-15:  # within rounding, where scipy looks for one more value
        return Interval(estimate, float(x.min()), float(x.max()), level)
    low, high = stats.mstats.median_cihs(x, alpha=1 - level)
    return Interval(estimate, float(low), float(high), level)


def medians_bounded(n: int, level: float) -> bool:
    """Tell whether the smallest and the largest of n values hold the median with a probability of the level."""
    return 1 - 0.5 ** (n - 1) >= level


def expected_best(values: ArrayLike, k: int, direction: Literal["higher", "lower"] = "higher") -> float:
    """Return the expected best of k runs from the (n,) runs at hand, without bias.

    The mean of the best over all subsets of k runs, a U-statistic (Tang et al. 2020, ACL, "Showing your work doesn't
    always work"); that of Dodge et al. 2019 (EMNLP) draws with replacement and is biased towards the worse.

    Raises:
        ValueError: if k is not between 1 and n: more runs than there are say nothing without a model of their tail.
    """
    return _expected_best(_best_first(values, direction), k)


def expected_best_curve(values: ArrayLike, direction: Literal["higher", "lower"] = "higher") -> NDArray[np.float64]:
    """Return the expected best of 1, 2, ..., n runs, (n,), from the (n,) runs at hand."""
    ordered = _best_first(values, direction)
    return np.array([_expected_best(ordered, k) for k in range(1, len(ordered) + 1)])


def _best_first(values: ArrayLike, direction: Literal["higher", "lower"]) -> NDArray[np.float64]:
    x = np.sort(_vector(values))
    return x[::-1].copy() if direction == "higher" else x


def _expected_best(ordered: NDArray[np.float64], k: int) -> float:
    """Return the expected best of k of (n,) runs, of which the first is the best."""
    n = len(ordered)
    if not 1 <= k <= n:
        raise ValueError(f"k must be between 1 and the number of runs {n}, got {k}")
    worse = np.arange(n - 1, k - 1, -1)  # runs below each run that can be the best of k, from the second best on
    ratios = (worse - k + 1) / worse  # of the shares of neighbors: C(worse - 1, k - 1) / C(worse, k - 1)
    share_best = k / n * np.cumprod(np.append(1.0, ratios))  # of subsets in which each run is the best, the best first
    return float(ordered[: len(share_best)] @ share_best)


def _vector(values: ArrayLike) -> NDArray[np.float64]:
    """Return (n,) values, at least one."""
    x: NDArray[np.float64] = np.asarray(values, np.float64)
    if x.ndim != 1 or len(x) == 0:
        raise ValueError(f"values must be a non-empty vector, got shape {x.shape}")
    return x
