"""The exact permutation test of equal means, for information: it assumes no distribution."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import comb

from regulens.stats.ties import whole_steps

Groups = Sequence[NDArray[np.float64]]
"""Values of one group, the differences of pairs, or of two."""

MOST = 9999
"""Arrangements up to which the test is made: of 7 and 7 runs, or 13 pairs; more would only be sampled."""
_CLOSE = 1e-9
_CLOSE_OF_STEPS = 1e-6


def permutation_p(a: NDArray[np.float64], b: NDArray[np.float64], paired: bool = False) -> float:
    """Return the two-sided p of the exact studentized permutation test of equal means (Janssen 1997).

    Arrangements that tie with the runs as they are count as far out as these, whatever rounding makes of them. Where
    pairs are given the signs of their differences are permuted.

    Args:
        a: (n,) values.
        b: (m,) values; of pairs as many, in the same order.
        paired: whether they are pairs.

    Returns:
        NaN below two values of each, and where there are more than ``MOST`` arrangements.
    """
    n, m = len(a), len(b)
    arrangements = 2.0 ** min(n, 1000) if paired else float(comb(n + m, n))
    if min(n, m) < 2 or arrangements > MOST:
        return math.nan
    pooled = np.concatenate([a, b])
    steps = whole_steps(pooled)
    rounding = float(np.finfo(np.float64).eps * np.abs(pooled).max()) if steps is None else 0.0
    one, other = np.split(pooled if steps is None else steps.astype(np.float64), [n])
    groups = (one - other,) if paired else (one, other)
    if paired:
        arranged: Groups = (_signs(n) * groups[0],)
    else:
        whole = np.concatenate(groups)
        first, second = _choices(n, m)
        arranged = whole[first], whole[second]
    return float(np.mean(_order_of_t(groups, rounding)(*arranged, axis=-1) >= 0))


@lru_cache(8)
def _signs(n: int) -> NDArray[np.float64]:
    """Return all signs of n differences, (2^n, n)."""
    return np.array(list(product((1.0, -1.0), repeat=n)))


@lru_cache(8)
def _choices(n: int, m: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return all choices of n of n + m places, (choices, n), and the places that each leaves, (choices, m)."""
    chosen = np.array(list(combinations(range(n + m), n)))
    left = np.ones((len(chosen), n + m), np.bool_)
    np.put_along_axis(left, chosen, values=False, axis=1)
    return chosen, np.nonzero(left)[1].reshape(-1, m)


def _order_of_t(groups: Groups, rounding: float) -> Callable[..., NDArray[np.float64]]:
    """Return the statistic of arrangements: 1, 0 or -1 where their ``|t|`` is above, as or below that of the groups.

    ``|t| = distance / error`` is compared as an angle, ``arctan(distance / error)``, which is defined for values
    without spread too. Values that are whole steps are exact, and angles that are close are compared as fractions of
    whole numbers. Other values are rounded, each by up to ``rounding``; distance and error then by less than four times
    that, and the angle by less than eight times that over their hypotenuse. Below 1e-9 of a radian angles tie in any
    case: of 9999 arrangements that do not tie, one comes so close in a hundred thousand tests.
    """
    observed, _ = _angle(groups, -1)

    def order(*arranged: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        angle, hypotenuse = _angle(arranged, axis)
        tolerance = _CLOSE_OF_STEPS if rounding == 0 else np.maximum(_CLOSE, 8 * rounding / hypotenuse)
        close = np.abs(angle - observed) <= tolerance
        found = np.where(close, 0.0, np.sign(angle - observed))
        if rounding == 0:
            found[close] = _exact_order([each[close] for each in arranged], groups)
        return found

    return order


def _angle(groups: Groups, axis: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ``arctan |t|``, of one group of values against zero or Welch's of two, and the hypotenuse."""
    means = [group.mean(axis=axis) for group in groups]
    distance = np.abs(means[0] - means[1]) if len(groups) == 2 else np.abs(means[0])
    error = np.sqrt(sum(group.var(axis=axis, ddof=1) / group.shape[axis] for group in groups))
    return np.arctan2(distance, error), np.maximum(np.hypot(distance, error), np.finfo(np.float64).tiny)


def _exact_order(arranged: Groups, groups: Groups) -> NDArray[np.float64]:
    """Return the sign of ``t^2`` of (arrangements, n) whole numbers less that of the groups, by whole numbers."""
    largest = max(int(np.abs(group).max()) for group in groups)
    kind = np.int64 if largest**2 * max(group.shape[-1] for group in groups) < 2**62 else np.object_
    distance, error = _whole_t_squared(arranged, kind)
    observed = _whole_t_squared([group[None] for group in groups], kind)
    return np.asarray(np.sign(distance * observed[1] - observed[0] * error), np.float64)


def _whole_t_squared(groups: Groups, kind: type[np.int64] | type[np.object_]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return numerator and denominator of ``t^2`` of (arrangements, n) whole numbers, whose squares are of a kind."""
    parts = []
    for group in groups:
        n = group.shape[-1]
        x: NDArray[Any] = group.astype(np.int64).astype(kind)
        total = x.sum(axis=-1).astype(np.object_)
        parts.append((total, n * (x * x).sum(axis=-1).astype(np.object_) - total**2, n))
    (total, scatter, n), *rest = parts
    if not rest:
        return total**2 * (n - 1), scatter
    ((other, other_scatter, m),) = rest
    distance = (m * total - n * other) ** 2 * ((n - 1) * (m - 1))
    return distance, m**2 * (m - 1) * scatter + n**2 * (n - 1) * other_scatter
