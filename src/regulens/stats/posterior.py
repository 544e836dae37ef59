"""How probable a difference is beyond or within the region of practical equivalence: Bayesian, and exploratory.

No verdict rests on these numbers. The model is that of the intervals, ``(estimate - difference) / standard error`` is
Student's t, with a weak proper prior on the difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.polynomial.legendre import leggauss
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Values = NDArray[np.float64]

SHARE_OF_RANGE = 1 / 20
"""Scale of the prior of a bounded response, as a share of its range: 0.05 for accuracies."""
SCALES = (1 / 5, 5.0)
"""Times the prior's scale: the narrower and the wider prior of the sensitivity."""

_NODES, _WEIGHTS = leggauss(8)
_OFFSETS = np.concatenate([-(2.0 ** np.arange(16, -5, -1)), [0.0], 2.0 ** np.arange(-4, 17)])
"""Ends of the pieces of the integral, about the estimate in standard errors and about zero in prior scales."""
_AT_ONCE = 512


@dataclass(frozen=True)
class Prior:
    """Student's t distribution of a difference about zero, before the runs are seen.

    Attributes:
        scale: in the response's unit; infinite for a flat prior.
        df: degrees of freedom; 1 is a Cauchy distribution, infinite a normal one.
    """

    scale: float
    df: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"the scale of a prior must be above 0, got {self.scale}")
        if not self.df >= 1:
            raise ValueError(f"the degrees of freedom of a prior must be at least 1, got {self.df}")


class _Likelihood(NamedTuple):
    """Estimates, standard errors and degrees of freedom, (rows,) each."""

    estimate: Values
    error: Values
    df: Values


@dataclass(frozen=True, eq=False)
class PosteriorShares:
    """Posterior probabilities of a difference, arrays of one shape; NaN where nothing tells the spread.

    Attributes:
        better: that it is beyond the region of practical equivalence, on the better side.
        equivalent: that it is within the region; 0 where the region has no width.
        worse: that it is beyond the region, on the worse side.
    """

    better: Values
    equivalent: Values
    worse: Values

    @property
    def together(self) -> Values:
        """The three, (3, ...)."""
        return np.stack([self.better, self.equivalent, self.worse])


def weak_prior(bounds: tuple[float, float], cells: Sequence[Values]) -> Prior:
    """Return the weak prior of the differences of one response.

    A Cauchy distribution about zero. Of a response with two finite bounds its scale is a twentieth of the range: half
    of the differences of two accuracies are taken to be below 5 points, one in sixteen above 50 points. Of other
    responses it is the standard deviation of the difference of two single runs, from the spread within the cells, so
    that it holds as much information as one run of each (Kass and Wasserman 1995).

    Args:
        bounds: the least and the greatest possible response.
        cells: (n,) runs of each cell of the analysis.

    Raises:
        ValueError: if an unbounded response has no spread within any cell.
    """
    width = bounds[1] - bounds[0]
    if math.isfinite(width):
        return Prior(width * SHARE_OF_RANGE)
    several = [x for x in cells if len(x) > 1]
    squares, dfs = (sum(float(np.var(x)) * len(x) for x in several), sum(len(x) - 1 for x in several))
    if not squares > 0:
        raise ValueError("the runs of no cell differ: an unbounded response has no scale for a prior")
    return Prior(math.sqrt(2 * squares / dfs))


def posterior_shares(
    estimate: ArrayLike,
    standard_error: ArrayLike,
    df: ArrayLike,
    rope: float,
    prior: Prior,
    *,
    direction: Literal["higher", "lower"] = "higher",
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> PosteriorShares:
    """Return the posterior probabilities that differences are better, equivalent or worse.

    The likelihood is ``t_df((estimate - difference) / standard_error)``. Under a flat prior the shares are those of
    that t distribution: exact for one mean and for pairs; for two cells Welch's t stands for the distribution of
    Behrens and Fisher, whose tails at a few runs are heavier (docs/statistics.md says by how much). Under any other
    prior they are integrals by Gauss and Legendre's rule over pieces that double in length from the estimate
    and from zero: accurate to about 1e-8, the same each time.

    Args:
        estimate: differences a - b in the response's unit, any shape.
        standard_error: of each; where it is 0 or not finite, the shares are NaN.
        df: degrees of freedom of each standard error (infinite: it is known).
        rope: half-width of the region of practical equivalence, 0 for none.
        prior: of the difference.
        direction: whether a higher or a lower response is better.
        limits: the least and the greatest possible difference.

    Raises:
        ValueError: if the region's width is negative, or the limits are not in order.
    """
    if not rope >= 0:
        raise ValueError(f"rope must be at least 0, got {rope}")
    if not limits[0] < limits[1]:
        raise ValueError(f"limits must be in order, got {limits}")
    triple = np.broadcast_arrays(*(np.asarray(each, np.float64) for each in (estimate, standard_error, df)))
    given = _Likelihood(*(each.ravel() for each in triple))
    known = np.isfinite(given.estimate) & np.isfinite(given.error) & (given.error > 0) & (given.df > 0)
    below, above = np.full((2, known.size), math.nan)
    outside = _flat if math.isinf(prior.scale) else _integrated
    for start in range(0, int(known.sum()), _AT_ONCE):
        rows = np.flatnonzero(known)[start : start + _AT_ONCE]
        below[rows], above[rows] = outside(_Likelihood(*(each[rows] for each in given)), rope, prior, limits)
    within = np.clip(1 - below - above, 0, 1) if rope > 0 else np.where(known, 0.0, math.nan)
    better, worse = (above, below) if direction == "higher" else (below, above)
    return PosteriorShares(*(each.reshape(triple[0].shape) for each in (better, within, worse)))


def correlated_posterior(
    differences: ArrayLike,
    test_fraction: float,
    rope: float,
    prior: Prior,
    *,
    direction: Literal["higher", "lower"] = "higher",
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> PosteriorShares:
    """Return the posterior shares of the mean of differences from resplits of one data set.

    The correlated Bayesian t-test (Corani and Benavoli 2015, Machine Learning 100, 285-327): the differences of two
    splits correlate by ``rho = n_test / (n_test + n_train)``, as their images overlap, so the squared standard error
    is ``(1/J + rho / (1 - rho)) * variance``, which is Nadeau and Bengio's, with J - 1 degrees of freedom. With an
    infinite ``prior.scale`` it is their test; more splits never make it surer than ``rho / (1 - rho)`` allows.

    Args:
        differences: (..., J) one a - b per split; where a split has several seeds, their mean.
        test_fraction: images that a difference is measured on, as a share of these and of those trained on.
        rope: half-width of the region of practical equivalence.
        prior: of the mean difference.
        direction: whether a higher or a lower response is better.
        limits: the least and the greatest possible difference.

    Raises:
        ValueError: if there are fewer than two splits, or the fraction is not between 0 and 1.
    """
    x = np.asarray(differences, np.float64)
    splits = x.shape[-1] if x.ndim else 0
    if splits < 2:
        raise ValueError(f"differences of at least two splits are needed, got shape {x.shape}")
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must be between 0 and 1, got {test_fraction}")
    error = np.std(x, axis=-1, ddof=1) * math.sqrt(1 / splits + test_fraction / (1 - test_fraction))
    return posterior_shares(np.mean(x, axis=-1), error, splits - 1, rope, prior, direction=direction, limits=limits)


def sensitivity(
    estimate: ArrayLike,
    standard_error: ArrayLike,
    df: ArrayLike,
    rope: float,
    prior: Prior,
    *,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> Values:
    """Return by how much any of the three shares changes, at most, under priors five times narrower and wider."""
    stated, *others = (
        posterior_shares(
            estimate, standard_error, df, rope, replace(prior, scale=prior.scale * factor), limits=limits
        ).together
        for factor in (1.0, *SCALES)
    )
    changes: Values = np.max([np.abs(other - stated).max(axis=0) for other in others], axis=0)
    return changes


def _flat(given: _Likelihood, rope: float, _: Prior, limits: tuple[float, float]) -> tuple[Values, Values]:
    """Return the shares below and above the region under a flat prior between the limits, (rows,) each."""
    cuts = np.clip([limits[0], -rope, rope, limits[1]], *limits)[:, None]
    z, kind = (cuts - given.estimate) / given.error, stats.t(given.df)
    masses = np.where(z[:-1] + z[1:] < 0, np.diff(kind.cdf(z), axis=0), -np.diff(kind.sf(z), axis=0))
    total = masses.sum(axis=0)
    return masses[0] / total, masses[2] / total


def _integrated(given: _Likelihood, rope: float, prior: Prior, limits: tuple[float, float]) -> tuple[Values, Values]:
    """Return the shares below and above the region by quadrature, (rows,) each."""
    d, se, df = (each[:, None] for each in given)
    fixed = np.concatenate([prior.scale * _OFFSETS, [-rope, rope]])
    ends = np.concatenate([d + se * _OFFSETS, np.broadcast_to(fixed, (len(d), len(fixed)))], axis=1)
    ends = np.sort(np.clip(ends, *limits), axis=1)
    half, middle = np.diff(ends, axis=1) / 2, (ends[:, 1:] + ends[:, :-1]) / 2
    at = middle[..., None] + half[..., None] * _NODES
    z = (at - d[..., None]) / se[..., None]
    log_density: Values = _log_t(z, df[..., None]) + _log_t(at / prior.scale, np.asarray(prior.df))
    density = np.exp(log_density - log_density.max(axis=(1, 2), keepdims=True))
    masses = half * (density @ _WEIGHTS)
    below, above = ((masses * side).sum(axis=1) for side in (middle < -rope, middle > rope))
    total = masses.sum(axis=1)
    return below / total, above / total


def _log_t(z: Values, df: Values) -> Values:
    """Return the logarithm of Student's density but for a constant, with the normal density at infinite df."""
    finite = np.where(np.isinf(df), 1.0, df)
    found: Values = np.where(np.isinf(df), -(z**2) / 2, -(finite + 1) / 2 * np.log1p(z**2 / finite))
    return found
