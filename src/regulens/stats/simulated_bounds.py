"""Bounds of many estimates at once, by the rules of ``stats.estimate``, for studies that are simulated."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtri, stdtr, stdtrit

from regulens.stats.estimate import StudentEstimate
from regulens.stats.verdicts import edge_alpha

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_WIDTHS = np.concatenate([np.linspace(0.0, 6.0, 49), [1e6]])  # of the ROPE in standard errors


@dataclass(frozen=True, eq=False)
class Estimates(ABC):
    """Estimates of (studies,) simulated studies, as far as verdicts depend on them.

    Attributes:
        doubt: (studies,) factors of the distances of the bounds.
    """

    doubt: Floats

    @abstractmethod
    def above(self, edge: float, alpha: float) -> Flags:
        """Tell which lower bounds of one-sided error ``alpha`` lie above an edge."""

    @abstractmethod
    def below(self, edge: float, alpha: float) -> Flags:
        """Tell which upper bounds lie below an edge."""

    @abstractmethod
    def beyond(self, rope: float, alpha: float) -> Flags:
        """Tell which are shown to lie outside the region of practical equivalence (``verdicts.edge_alpha``)."""


@dataclass(frozen=True, eq=False)
class StudentEstimates(Estimates):
    """Student's bounds: (studies,) values, standard errors and degrees of freedom."""

    value: Floats
    error: Floats
    df: Floats

    def above(self, edge: float, alpha: float) -> Flags:
        """Tell which lower bounds lie above an edge, by Student's distribution."""
        return np.asarray(stdtr(self.df, (edge - self.value) / (self.error * self.doubt)) < alpha, np.bool_)

    def below(self, edge: float, alpha: float) -> Flags:
        """Tell which upper bounds lie below an edge, by Student's distribution."""
        return np.asarray(stdtr(self.df, (self.value - edge) / (self.error * self.doubt)) < alpha, np.bool_)

    def beyond(self, rope: float, alpha: float) -> Flags:
        """Tell which lie outside the region, by Student's distribution."""
        if rope == 0:
            return self.above(0.0, alpha / 2) | self.below(0.0, alpha / 2)
        width, distance = rope / self.error, (np.abs(self.value) - rope) / (self.error * self.doubt)
        error = stdtr(self.df, -distance)
        other = np.minimum(distance + 2 * width, stdtrit(self.df, 1 - alpha / 2) + width)
        sure = (error < alpha / 2) | ((error < alpha) & (error + stdtr(self.df, -other) < alpha))
        return np.asarray(sure, np.bool_)


@dataclass(frozen=True, eq=False)
class RecoveredEstimates(Estimates):
    """Bounds made by MOVER at any level (``contrasts.mover_contrast``) from those of (studies, cells) parts."""

    weights: Floats

    @abstractmethod
    def parts(self, alpha: float) -> tuple[Floats, Floats, Floats]:
        """Return (studies, cells) estimates and how far their bounds of one-sided error ``alpha`` lie below and above.

        NaN where there are none.
        """

    def bounds(self, alpha: float) -> tuple[Floats, Floats]:
        """Return (studies,) lower and upper bounds of the contrasts."""
        estimates, down, up = self.parts(alpha)
        turned = self.weights < 0
        down, up = np.where(turned, up, down), np.where(turned, down, up)
        low, high = (
            self.doubt * np.sqrt((side * self.weights) ** 2 @ np.ones(len(self.weights))) for side in (down, up)
        )
        estimate = estimates @ self.weights
        return estimate - low, estimate + high

    def above(self, edge: float, alpha: float) -> Flags:
        """Tell which lower bounds lie above an edge."""
        return np.asarray(self.bounds(alpha)[0] > edge, np.bool_)

    def below(self, edge: float, alpha: float) -> Flags:
        """Tell which upper bounds lie below an edge."""
        return np.asarray(self.bounds(alpha)[1] < edge, np.bool_)

    def beyond(self, rope: float, alpha: float) -> Flags:
        """Tell which lie outside the region, the edge's error interpolated."""
        if rope == 0:
            return self.above(0.0, alpha / 2) | self.below(0.0, alpha / 2)
        low, high = self.bounds(0.025)
        edges = np.interp(rope / ((high - low) / 4), _WIDTHS, _edge_alphas(alpha))
        part = (ndtri(edges) - ndtri(alpha / 2)) / (ndtri(alpha) - ndtri(alpha / 2))
        (low_half, high_half), (low_whole, high_whole) = self.bounds(alpha / 2), self.bounds(alpha)
        low, high = low_half + part * (low_whole - low_half), high_half + part * (high_whole - high_half)
        return (low > rope) | (high < -rope)


@cache
def _edge_alphas(alpha: float) -> Floats:
    """Return the errors of bounds beyond the region for each of ``_WIDTHS``, of estimates with a known error."""
    known = StudentEstimate(0.0, 1.0, math.inf)
    return np.array([edge_alpha(alpha, float(width), known) for width in _WIDTHS])


@dataclass(frozen=True, eq=False)
class MixtureEstimates(RecoveredEstimates):
    """Contrasts of means of all runs, each the product of the share that trained and what these gain.

    Attributes:
        kept: (studies, cells) shares.
        seeds: of every cell.
        gain: (studies, cells) above the value of collapsed runs.
        error: of the gains.
        df: degrees of freedom of these.
    """

    kept: Floats
    seeds: int
    gain: Floats
    error: Floats
    df: Floats

    def parts(self, alpha: float) -> tuple[Floats, Floats, Floats]:
        """Return (studies, cells) estimates and how far their bounds lie below and above."""
        distance = self.kept * stdtrit(self.df, 1 - alpha) * self.error
        fewest, most = _wilson(self.kept, self.seeds, alpha)
        mirrored = self.gain < 0  # more collapses then move a mean up
        down = np.hypot(self.gain * np.where(mirrored, most - self.kept, self.kept - fewest), distance)
        up = np.hypot(self.gain * np.where(mirrored, self.kept - fewest, most - self.kept), distance)
        return self.kept * self.gain, down, up


def _wilson(rate: Floats, n: int, alpha: float) -> tuple[Floats, Floats]:
    """Return the bounds of rates of one-sided error ``alpha`` (``intervals.wilson`` for many at once)."""
    z = -float(ndtri(alpha))
    middle, scale = rate + z**2 / (2 * n), 1 + z**2 / n
    half = z * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    return (middle - half) / scale, (middle + half) / scale


@dataclass(frozen=True, eq=False)
class MedianEstimates(RecoveredEstimates):
    """Contrasts of medians.

    Attributes:
        values: (studies, seeds, cells) sorted, such that the contrast of the true medians is the effect.
    """

    values: Floats

    def parts(self, alpha: float) -> tuple[Floats, Floats, Floats]:
        """Return (studies, cells) estimates and how far their bounds lie below and above."""
        middle = np.median(self.values, axis=1)
        if 0.5 ** (self.values.shape[1] - 1) > 2 * alpha:  # even the extremes do not hold the median
            return middle, np.full_like(middle, math.nan), np.full_like(middle, math.nan)
        low, high = _median_bounds(self.values, alpha)
        return middle, middle - low, high - middle


def _median_bounds(ordered: Floats, alpha: float) -> tuple[Floats, Floats]:
    """Return (studies, cells) bounds of medians (``scipy.stats.mstats.median_cihs`` for many at once)."""
    n = ordered.shape[1]
    rank = max(1, int(stats.binom.ppf(alpha, n, 0.5)))
    holds = stats.binom.cdf(n - rank, n, 0.5) - stats.binom.cdf(rank - 1, n, 0.5)
    if holds < 1 - 2 * alpha:
        rank -= 1
        holds = stats.binom.cdf(n - rank, n, 0.5) - stats.binom.cdf(rank - 1, n, 0.5)
    holds_next = stats.binom.cdf(n - rank - 1, n, 0.5) - stats.binom.cdf(rank, n, 0.5)
    share = (holds - 1 + 2 * alpha) / (holds - holds_next)
    weight = (n - rank) * share / (rank + (n - 2 * rank) * share)
    low = weight * ordered[:, rank] + (1 - weight) * ordered[:, rank - 1]
    high = weight * ordered[:, n - rank - 1] + (1 - weight) * ordered[:, n - rank]
    return low, high
