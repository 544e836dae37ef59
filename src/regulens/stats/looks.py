"""How a growing study spends its error: the share of alpha at each look, so that all of them together err by alpha.

A study that is looked at, extended and looked at again is a group-sequential one. Its estimates at n and at N seeds
correlate by sqrt(n / N), whatever was found, so that the same false verdict is often made twice and counts once; the
critical values follow from the joint distribution (Armitage, McPherson and Rowe 1969, Journal of the Royal Statistical
Society A 132, 235-244) and an error-spending rule (Lan and DeMets 1983, Biometrika 70, 659-663), which needs neither
the number of looks nor their sizes beforehand. They are used as levels of Student's and of any other bounds (Jennison
and Turnbull 2000, Group Sequential Methods, section 4.4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri, roots_legendre

from regulens.stats.cells import LEAST_RUNS

FIRST = 0.6
"""The part of alpha spent by the first look at a study that declared none."""
LATER = 0.95
"""Spent by the second look, or the last declared one; half of what is left is spent by each one after it."""
GROWTH = 1.5
"""Declared looks have spent in proportion to this power of their seeds (Kim and DeMets 1987, Biometrika 74, 149)."""
LIMIT_OF_OLD = 1.1
"""Spent in all by a study that had spent everything at its first look, as studies of earlier versions did."""
_NODES, _FAR = 161, -8.5
_EXACT = 1e-6

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Taken:
    """A look that was taken: at how many seeds, and the share of alpha at which its intervals were made.

    The shares of several looks may add up to more than 1: what they spend together is less than their sum (``spent``).
    """

    seeds: int
    share: float


def spent(looks: Sequence[Taken], tail: float) -> float:
    """Return which part of alpha some looks have spent together.

    Args:
        looks: in order of increasing seeds; those at too few runs for any verdict spend nothing.
        tail: the one-sided error of the smallest statement of the family over all looks.
    """
    counted = [look for look in looks if look.seeds >= LEAST_RUNS]
    total = crossing(tuple(look.seeds for look in counted), tuple(tail * look.share for look in counted))
    return float(total) / tail


def allowed(seeds: int, looks: Sequence[Taken], declared: Sequence[int], tail: float) -> float:
    """Return which part of alpha may be spent by the end of a look at so many seeds, all before it included.

    Args:
        seeds: of the look that is to be taken.
        looks: taken before.
        declared: numbers of seeds to look at, increasing, named before the first of them was taken.
        tail: as in ``spent``.
    """
    counted = [look for look in looks if look.seeds >= LEAST_RUNS]
    before = spent(counted, tail)
    if declared and seeds <= declared[-1] and before < LATER - _EXACT:
        undeclared = [look for look in counted if look.seeds < declared[0]]
        base, start = spent(undeclared, tail), undeclared[-1].seeds if undeclared else 0
        return float(base + (LATER - base) * ((seeds - start) / (declared[-1] - start)) ** GROWTH)
    if not counted:
        return FIRST
    if len(counted) == 1 and before < LATER - _EXACT:
        return LATER
    limit = 1.0 if before < 1 - _EXACT else LIMIT_OF_OLD
    return before + max(limit - before, 0.0) / 2


def share_at(seeds: int, looks: Sequence[Taken], declared: Sequence[int], tail: float) -> float:
    """Return the share of alpha at which the intervals of a look are made.

    With it, the statement of one-sided error ``tail`` errs at any of the looks with a probability of ``tail`` times
    what is ``allowed``, statements of larger errors with less than theirs.

    Args:
        seeds: of the look, more than of those taken.
        looks: taken before, in order.
        declared: as in ``allowed``.
        tail: as in ``spent``.

    Raises:
        ValueError: if a look was taken at as many seeds or more.
    """
    if looks and seeds <= looks[-1].seeds:
        raise ValueError(f"a look after one at {looks[-1].seeds} seeds must be at more, got {seeds}")
    counted = tuple(look for look in looks if look.seeds >= LEAST_RUNS)
    most = allowed(seeds, counted, declared, tail)
    return _solve((*(look.seeds for look in counted), seeds), tuple(look.share for look in counted), most, tail)


def declared_share(seeds: int, declared: Sequence[int], tail: float) -> float:
    """Return the share of alpha of the look at so many seeds, where all declared looks were taken, or a later one.

    Args:
        seeds: at least 1; with fewer than a declared look has, the study is on its way to that look.
        declared: increasing numbers of seeds.
        tail: as in ``spent``.
    """
    taken: list[Taken] = []
    for size in (*declared, *([seeds] if seeds > declared[-1] else [])):
        taken.append(Taken(size, share_at(size, taken, declared, tail)))
        if size >= seeds:
            break
    return taken[-1].share


@cache
def _solve(seeds: tuple[int, ...], shares: tuple[float, ...], most: float, tail: float) -> float:
    if not shares:
        return most
    before = [tail * share for share in shares]

    def excess(log_share: float) -> float:
        return crossing(seeds, (*before, tail * math.exp(log_share))) / tail - most

    least = math.log(1e-9)
    return math.exp(brentq(excess, least, math.log(most), xtol=1e-7)) if excess(least) < 0 < most else 0.0


@cache
def crossing(seeds: tuple[int, ...], tails: tuple[float, ...]) -> float:
    """Return the probability that a standardized mean of zero expectation exceeds its critical value at any look.

    By recursive numerical integration of the density of those that did not exceed it before.

    Args:
        seeds: at each look, increasing.
        tails: the probability of exceeding each critical value by itself.
    """
    total = 0.0
    kept, density = np.zeros(1), np.ones(1)
    for number, tail in enumerate(tails):
        critical = -float(ndtri(tail))
        correlation = math.sqrt(seeds[number - 1] / seeds[number]) if number else 0.0
        spread = math.sqrt(1 - correlation**2)
        total += float(density @ ndtr((correlation * kept - critical) / spread))
        nodes, weights = _nodes(critical)
        distance = (nodes[:, None] - correlation * kept) / spread
        density = np.exp(-(distance**2) / 2) @ density / (spread * math.sqrt(2 * math.pi)) * weights
        kept = nodes
    return total


@cache
def _legendre() -> tuple[Floats, Floats]:
    return roots_legendre(_NODES)


def _nodes(critical: float) -> tuple[Floats, Floats]:
    """Return nodes and weights of an integral up to a critical value (Gauss and Legendre)."""
    x, weights = _legendre()
    half = (critical - _FAR) / 2
    return _FAR + half * (x + 1), weights * half
