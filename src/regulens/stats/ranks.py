"""Levels ranked on several data sets: average ranks, Friedman's test, and which pairs signed ranks tell apart."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from regulens.stats.ties import ROUNDING, joined

ALPHA = 0.05
"""Pairs with an adjusted p of up to this differ significantly."""


@dataclass(frozen=True)
class PairRanks:
    """Wilcoxon's signed-rank test of two levels, given by their places: p, and p adjusted over all pairs (Holm)."""

    a: int
    b: int
    p: float
    p_holm: float


@dataclass(frozen=True, eq=False)
class Ranks:
    """Levels ranked within each set, 1 being the best, ties sharing their mean rank.

    Attributes:
        ranks: (sets, levels).
        average: (levels,) over sets.
        friedman: chi-squared statistic of equal ranks, NaN for two levels.
        friedman_p: of it, by its approximate distribution.
        pairs: all of them.
        cliques: neighbors in the order of average ranks, two or more each, of which no pair differs significantly.
    """

    ranks: NDArray[np.float64]
    average: NDArray[np.float64]
    friedman: float
    friedman_p: float
    pairs: tuple[PairRanks, ...]
    cliques: tuple[tuple[int, ...], ...]

    @property
    def smallest_p(self) -> float:
        """The least adjusted p that so many sets and pairs allow: where all sets agree on a pair."""
        return min(1.0, len(self.pairs) * 2.0 ** (1 - len(self.ranks)))


def rank_levels(values: ArrayLike, higher: bool = True, alpha: float = ALPHA) -> Ranks:
    """Rank (sets, levels) values within each set and test which levels differ.

    Friedman's test asks whether any do (scipy, with ties). Pairs are tested by the signed ranks of their differences,
    not by average ranks, which would make a pair depend on the other levels (Benavoli, Corani and Mangili 2016, Journal
    of Machine Learning Research 17(5), 1-10), and adjusted by Holm. Differences of zero are split evenly (Demsar 2006,
    Journal of Machine Learning Research 7, 1-30); p is exact up to 50 sets, with ties up to 13.

    Args:
        values: finite; what is equal but for rounding is equal.
        higher: whether higher values are better.
        alpha: pairs with an adjusted p of up to this differ significantly.

    Raises:
        ValueError: if there are fewer than two sets or two levels.
    """
    x = np.asarray(values, np.float64)
    if x.ndim != 2 or min(x.shape) < 2 or not np.isfinite(x).all():
        raise ValueError(f"needs finite values of at least two sets and two levels, got shape {x.shape}")
    x = np.array(joined(list(x)))
    ranks = stats.rankdata(-x if higher else x, axis=1)
    average = ranks.mean(axis=0)
    places = list(itertools.combinations(range(x.shape[1]), 2))
    p = [signed_rank_p(x[:, a] - x[:, b], float(np.abs(x).max())) for a, b in places]
    holm = adjusted_by_holm(p).tolist()
    statistic, friedman_p = _friedman(ranks)
    pairs = tuple(PairRanks(a, b, *each) for (a, b), *each in zip(places, p, holm, strict=True))
    return Ranks(ranks, average, statistic, friedman_p, pairs, cliques(average, pairs, alpha))


def adjusted_by_holm(p: ArrayLike) -> NDArray[np.float64]:
    """Return (m,) p values adjusted by Holm (1979); that of statsmodels collects garbage, up to 0.7 s."""
    values = np.asarray(p, np.float64)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(np.arange(len(values), 0, -1) * values[order]), 1.0)
    return adjusted


def signed_rank_p(differences: NDArray[np.float64], largest: float) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test of (sets,) differences of values up to ``largest``.

    Differences that are equal but for the rounding of such values tie, or are zero.
    """
    sizes = np.where(np.abs(differences) <= ROUNDING * largest, 0.0, np.abs(differences))
    sizes = np.asarray(joined([sizes])[0])
    if not sizes.any():
        return 1.0
    return float(stats.wilcoxon(np.sign(differences) * sizes, zero_method="zsplit").pvalue)


def _friedman(ranks: NDArray[np.float64]) -> tuple[float, float]:
    if ranks.shape[1] < 3:
        return math.nan, math.nan
    if (ranks == ranks[0, 0]).all():
        return 0.0, 1.0
    found = stats.friedmanchisquare(*ranks.T)
    return float(found.statistic), float(found.pvalue)


def cliques(average: NDArray[np.float64], pairs: tuple[PairRanks, ...], alpha: float) -> tuple[tuple[int, ...], ...]:
    """Return the longest runs of neighbors, by average rank, of which no pair has an adjusted p of up to alpha."""
    apart = {frozenset((each.a, each.b)) for each in pairs if each.p_holm <= alpha}
    order = np.argsort(average, kind="stable").tolist()
    found: list[tuple[int, ...]] = []
    end = 0
    for start in range(len(order)):
        reach = start + 1
        while reach < len(order) and all(frozenset((order[reach], each)) not in apart for each in order[start:reach]):
            reach += 1
        if reach - start > 1 and reach > end:
            found.append(tuple(order[start:reach]))
        end = max(end, reach)
    return tuple(found)
