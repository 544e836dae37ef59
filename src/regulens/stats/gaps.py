"""Partial collapses: runs that learned something, and then far less than the others."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LOST = 0.2  # share of what training gains that a flagged run has lost at least
GAP = 5.0  # gap times the number of runs beyond it, in reaches of the others
MOST = 0.5  # share of the trained runs that may lie beyond the gap
GAP_ALONE, MOST_ALONE = 15.0, 0.4  # the same where the value of a failed run is unknown
LEAST_ALONE = 28  # trained runs of the analysis below which none is flagged there


def gap_flags(
    values: Sequence[NDArray[np.float64]],
    collapsed: Sequence[NDArray[np.bool_]],
    failed_value: float | None,
    higher: bool = True,
) -> list[NDArray[np.bool_]]:
    """Flag trained runs that a gap separates from the others: they may have collapsed in part.

    A flag changes nothing of what counts as trained; it is there to be counted and looked at. Of each trained run its
    distance below the upper quartile of its cell is taken, and over all cells the runs are sorted by it. Those beyond
    the gap nearest to the others that fulfills the following are flagged:

    - the gap times the number of runs beyond it is at least 5 times the reach, the distance of the last run before it:
      gaps in a tail shrink as one over the number of runs beyond them (Rényi 1953, Acta Mathematica Hungarica 4,
      191-231); and the gap itself is at least as long as the reach;
    - each run beyond it has lost a fifth or more of what training gains, upper quartile minus ``failed_value``;
    - at most half of the trained runs lie beyond it.

    Where ``failed_value`` is unknown the 5 are 15, the half is 40 %, and 28 trained runs are needed. A cell is its own
    measure: where three quarters of its runs collapsed in part, none is flagged.

    Args:
        values: for each cell the (n,) response of its runs.
        collapsed: for each cell (n,) which of them count as collapsed; these are never flagged.
        failed_value: the response of a run that learned nothing, e.g. the accuracy of guessing.
        higher: whether more is better.

    Returns:
        For each cell (n,) which runs are flagged.

    Raises:
        ValueError: if the shapes differ or the value of a trained run is not finite.
    """
    sign = 1 if higher else -1
    trained = [sign * x[~lost] for x, lost in zip(values, collapsed, strict=True)]
    every = np.concatenate(trained)
    if not np.isfinite(every).all():
        raise ValueError("the values of trained runs must be finite")
    levels = np.concatenate([np.full(len(x), _upper_quartile(x)) for x in trained])
    distances = levels - every
    if failed_value is not None:
        gains = levels - sign * failed_value
        beyond = _beyond_gap(distances, (gains > 0) & (distances >= LOST * gains), GAP, MOST)
    elif len(every) >= LEAST_ALONE and np.median(distances) > 0:
        beyond = _beyond_gap(distances, distances > 0, GAP_ALONE, MOST_ALONE)
    else:
        beyond = np.zeros(len(every), np.bool_)
    flags = np.zeros(sum(map(len, values)), np.bool_)
    flags[~np.concatenate(collapsed)] = beyond
    return np.split(flags, np.cumsum([len(x) for x in values])[:-1])


def _upper_quartile(values: NDArray[np.float64]) -> float:
    """Return the value that a quarter of the others are above, at most: up to three quarters may lie far below it."""
    return float(np.sort(values)[math.ceil(0.75 * len(values)) - 1]) if len(values) else math.nan


def _beyond_gap(
    distances: NDArray[np.float64], far: NDArray[np.bool_], factor: float, most: float
) -> NDArray[np.bool_]:
    """Return which of (n,) distances lie beyond a gap behind which all are ``far``, and a share of ``most``."""
    order = np.argsort(distances)
    ordered, n = distances[order], len(distances)
    for beyond in range(math.floor(most * n), 0, -1):
        first = n - beyond
        reach = max(ordered[first - 1], 0.0)
        gap = ordered[first] - reach
        if far[order[first:]].all() and gap >= reach and gap * beyond >= factor * reach:
            return np.isin(np.arange(n), order[first:])
    return np.zeros(n, np.bool_)
