"""Runs of one level on several data sets taken together: the interquartile mean, and the share above each threshold.

Sets are fixed and count the same, whatever the number of their runs: all is about new runs on these sets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.proportion import proportion_confint

from regulens.stats.estimate import student_sum
from regulens.stats.intervals import Interval

Runs = Sequence[NDArray[np.float64]]
"""The values of one level's runs on each set, (n,) each."""


@dataclass(frozen=True, eq=False)
class Profile:
    """The share of runs that are better than each threshold, all (thresholds,), with pointwise bounds."""

    thresholds: NDArray[np.float64]
    share: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    level: float


def interquartile_mean_of_sets(runs: Runs, level: float = 0.95) -> Interval:
    """Return the mean of the middle half of all runs of all sets (Agarwal et al. 2021, NeurIPS).

    With the same number of runs on every set, a multiple of four in all, this is rliable's ``aggregate_iqm``. Otherwise
    the two runs at the quartiles count in part, where rliable rounds.

    The interval is not rliable's stratified bootstrap, whose percentiles cover too little with few runs. To first order
    the interquartile mean is a sum over sets of means of runs that are moved to the nearer quartile (its influence
    function: Huber 1981, Robust Statistics, section 3.3), and the interval is Student's for that sum, with Welch and
    Satterthwaite's degrees of freedom. NaN bounds where a set has a single run.

    Raises:
        ValueError: if there are fewer than four runs.
    """
    middle = _middle(runs)
    parts = [(_variance(part), len(part) - 1.0) for part in middle.parts]
    return student_sum(middle.estimate, parts).interval(level)


def interquartile_gain_of_sets(runs: Runs, control: Runs, level: float = 0.95) -> Interval:
    """Return the interquartile mean of the runs of all sets minus the control's mean on their set.

    All sets are then on one scale: that of differences within a set. The interval is as that of
    ``interquartile_mean_of_sets``, and has the variance of the control's means in it: what moves a set's runs alike
    moves the interquartile mean by twice the share of them that lies between the quartiles.

    Raises:
        ValueError: if there are fewer than four runs.
    """
    middle = _middle([x - np.mean(of_control) for x, of_control in zip(runs, control, strict=True)])
    parts = [(_variance(part), len(part) - 1.0) for part in middle.parts]
    parts += [(share**2 * _variance(x), len(x) - 1.0) for share, x in zip(middle.shares, control, strict=True)]
    return student_sum(middle.estimate, parts).interval(level)


def performance_profile(
    runs: Runs, thresholds: NDArray[np.float64], higher: bool = True, level: float = 0.95
) -> Profile:
    """Return the share of runs above each threshold (below, where lower is better), each set counting the same.

    Agarwal et al. 2021. The pointwise bounds are Wilson's for one binomial share of all runs, so they have width where
    all or no runs are above. Sets whose shares differ make a sum that varies less than that one share (Hoeffding 1956,
    Annals of Mathematical Statistics 27, 713-721), so the bounds are then wider than needed. Where sets have unequal
    numbers of runs, the number is that of equal ones with the same variance.
    """
    sign = 1 if higher else -1
    share = np.mean([(sign * x[:, None] > sign * thresholds).mean(axis=0) for x in runs], axis=0)
    count = len(runs) ** 2 / sum(1 / len(x) for x in runs)
    low, high = proportion_confint(share * count, count, 1 - level, "wilson")
    return Profile(thresholds, share, np.asarray(low), np.asarray(high), level)


@dataclass(frozen=True, eq=False)
class _Middle:
    """An interquartile mean, to first order the sum over sets of the means of ``parts``.

    ``shares`` are by how much it moves where a set's runs all move by one.
    """

    estimate: float
    parts: list[NDArray[np.float64]]
    shares: list[float]


def _middle(runs: Runs) -> _Middle:
    values = np.concatenate(runs)
    if len(values) < 4:
        raise ValueError(f"an interquartile mean needs at least 4 runs, got {len(values)}")
    weights = np.concatenate([np.full(len(x), 1 / len(x) / len(runs)) for x in runs])
    order = np.argsort(values, kind="stable")
    ends = np.concatenate([[0.0], np.cumsum(weights[order])])
    estimate = float(values[order] @ (2 * np.diff(np.clip(ends / ends[-1], 0.25, 0.75))))
    low, high = np.interp([0.25, 0.75], (ends[1:] + ends[:-1]) / 2, values[order])
    parts = [2 * np.clip(x, low, high) / len(runs) for x in runs]
    shares = [2 * float(np.mean((x >= low) & (x <= high))) / len(runs) for x in runs]
    return _Middle(estimate, parts, shares)


def _variance(x: NDArray[np.float64]) -> float:
    return float(np.var(x, ddof=1)) / len(x) if len(x) > 1 else math.nan
