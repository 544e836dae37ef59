"""Means over pairs of runs, such as of their similarities: a run is in many pairs, and runs are the replicates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from regulens.stats.intervals import Interval, welch_df


@dataclass(frozen=True)
class PairMean:
    """The mean over the pairs of runs of two cells, or over the pairs within one.

    Attributes:
        mean: with its interval, cut off at what is possible of similarities from -1 to 1; NaN where there is no pair,
            or no interval.
        runs: how many runs of each cell it is made of; twice the same number within a cell.
        left_out: how many runs of each have no similarity, not even to themselves (NaN: a dead layer).
    """

    mean: Interval
    runs: tuple[int, int]
    left_out: tuple[int, int]


def within_mean(similarity: ArrayLike, level: float = 0.95) -> PairMean:
    """Return the mean over the n (n - 1) / 2 pairs of the runs of one cell.

    Its interval is Student's with n - 1 degrees of freedom and the jackknife's standard error over runs: each run is
    left out with all its pairs (Arvesen 1969, Annals of Mathematical Statistics 40, 2076-2100). It is never too small
    on average (Efron and Stein 1981, Annals of Statistics 9, 586-596). NaN bounds below 3 runs.

    Args:
        similarity: (n, n), symmetric. A run whose similarities are all NaN, that to itself included, is left out; the
            diagonal is read for nothing else.
        level: e.g. 0.95.

    Raises:
        ValueError: if the matrix is not square and symmetric, or a single pair is NaN.
    """
    every = np.array(similarity, np.float64)
    kept, n, lost = _within(every)
    mean = float(_mean_of_pairs(kept)) if n > 1 else math.nan
    interval = _jackknife(mean, [_without_each(kept)] if n > 2 else [], level).within((-1.0, 1.0))
    return PairMean(interval, (n, n), (lost, lost))


def between_mean(similarity: ArrayLike, level: float = 0.95) -> PairMean:
    """Return the mean over the n m pairs of the runs of two cells.

    Its interval is Student's with the jackknife's standard error over the runs of both cells and Welch and
    Satterthwaite's degrees of freedom. NaN bounds if either has fewer than 2 runs.

    Args:
        similarity: (n, m). A run whose similarities are all NaN is left out.
        level: e.g. 0.95.

    Raises:
        ValueError: if the array is not a matrix, or a single pair is NaN.
    """
    kept, lost = _between(np.array(similarity, np.float64))
    n, m = kept.shape
    mean = float(kept.mean()) if n and m else math.nan
    parts = [_without_rows(kept), _without_rows(kept.T)] if min(n, m) > 1 else []
    return PairMean(_jackknife(mean, parts, level).within((-1.0, 1.0)), (n, m), lost)


def within_less_between(similarity: ArrayLike, cells: ArrayLike, level: float = 0.95) -> PairMean:
    """Return how much more alike two runs of one cell are than two of different cells.

    The mean of the two cells' ``within_mean`` less their ``between_mean``: half the squared maximum mean discrepancy
    with the similarity as the kernel, unbiased (Gretton et al. 2012, JMLR 13, 723-773): zero on average if the cells'
    runs have one distribution. Its interval is the jackknife's over runs; where there is no difference it covers zero
    more often than the level says. NaN bounds if either has fewer than 3 runs.

    Args:
        similarity: (n, n), symmetric, of the runs of both cells. A run whose similarities are all NaN is left out.
        cells: (n,), which of the two cells each run belongs to.
        level: e.g. 0.95.

    Raises:
        ValueError: if there are not two cells, the matrix is not square and symmetric, or a single pair is NaN.
    """
    labels = np.asarray(cells)
    names = np.unique(labels)
    every = np.array(similarity, np.float64)
    if len(names) != 2 or every.shape != (len(labels), len(labels)):
        raise ValueError(f"needs two cells and their square matrix, got {len(names)} cells and shape {every.shape}")
    known = ~np.isnan(every).all(axis=1)
    kept, _, _ = _within(every)
    first, second = (labels[known] == name for name in names)
    a, b, cross = (kept[np.ix_(*part)] for part in ((first, first), (second, second), (first, second)))
    n, m = cross.shape
    lost = tuple(int((labels == name).sum()) - count for name, count in zip(names, (n, m), strict=True))
    mean, parts = math.nan, []
    if min(n, m) > 1:
        mean = (_mean_of_pairs(a) + _mean_of_pairs(b)) / 2 - float(cross.mean())
    if min(n, m) > 2:
        parts = [(_without_each(a) + _mean_of_pairs(b)) / 2 - _without_rows(cross)]
        parts += [(_without_each(b) + _mean_of_pairs(a)) / 2 - _without_rows(cross.T)]
    return PairMean(_jackknife(mean, parts, level).within((-2.0, 2.0)), (n, m), (lost[0], lost[1]))


def _within(every: NDArray[np.float64]) -> tuple[NDArray[np.float64], int, int]:
    """Return the matrix of the runs that have similarities, zeros on its diagonal; their number, and of the others."""
    if every.ndim != 2 or not np.allclose(every, every.T, equal_nan=True):
        raise ValueError(f"similarity must be a symmetric matrix, got shape {every.shape}")
    known = ~np.isnan(every).all(axis=1)
    kept = every[np.ix_(known, known)]
    np.fill_diagonal(kept, 0.0)
    _refuse_nan(kept)
    return kept, len(kept), int((~known).sum())


def _between(every: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[int, int]]:
    if every.ndim != 2:
        raise ValueError(f"similarity must be a matrix, got shape {every.shape}")
    rows, columns = ~np.isnan(every).all(axis=1), ~np.isnan(every).all(axis=0)
    kept = every[np.ix_(rows, columns)]
    _refuse_nan(kept)
    return kept, (int((~rows).sum()), int((~columns).sum()))


def _refuse_nan(kept: NDArray[np.float64]) -> None:
    if np.isnan(kept).any():
        row, column = np.argwhere(np.isnan(kept))[0]
        raise ValueError(f"the similarity of runs {row} and {column} is NaN, but each has others that are not")


def _mean_of_pairs(kept: NDArray[np.float64]) -> float:
    return float(kept.sum()) / (len(kept) * (len(kept) - 1))


def _without_each(kept: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n,) means over the pairs within a cell, one run left out of each."""
    n = len(kept)
    return np.asarray((kept.sum() - 2 * kept.sum(axis=1)) / ((n - 1) * (n - 2)))


def _without_rows(kept: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n,) means over the pairs between cells, one run of the first left out of each."""
    rows = kept.mean(axis=1)
    return np.asarray((rows.sum() - rows) / (len(rows) - 1))


def _jackknife(mean: float, left_out: Sequence[NDArray[np.float64]], level: float) -> Interval:
    """Return Student's interval from the estimates without each run of each cell; NaN bounds without any."""
    if not left_out:
        return Interval(mean, math.nan, math.nan, level)
    variances = [(len(each) - 1) ** 2 / len(each) * float(each.var(ddof=1)) for each in left_out]
    df = welch_df(variances, [len(each) - 1 for each in left_out])
    half = float(stats.t.ppf((1 + level) / 2, df)) * math.sqrt(sum(variances))
    return Interval(mean, mean - half, mean + half, level)
