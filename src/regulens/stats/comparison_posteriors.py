"""The posterior shares beside the comparisons of an analysis: exploratory, and no part of any verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regulens.stats.analysis import Analysis, NamedComparison
from regulens.stats.cells import LEAST_RUNS
from regulens.stats.estimate import StudentEstimate
from regulens.stats.posterior import Prior, posterior_shares, sensitivity, weak_prior
from regulens.stats.ties import constant
from regulens.stats.verdicts import Direction


@dataclass(frozen=True)
class Moments:
    """A difference a - b in the response's unit, its standard error, and the degrees of freedom of that."""

    estimate: float
    standard_error: float
    df: float


@dataclass(frozen=True)
class Posterior:
    """Posterior probabilities that a is better than, equivalent to or worse than b, under a weak prior.

    Attributes:
        better: beyond the region of practical equivalence, on the better side.
        equivalent: within it; 0 where the region has no width.
        worse: beyond it, on the worse side.
        change: the most that any of the three changes by, under priors five times narrower and wider.
        prior: the stated one.
    """

    better: float
    equivalent: float
    worse: float
    change: float
    prior: Prior


def comparison_posteriors(analysis: Analysis) -> list[Posterior | None]:
    """Return the posterior beside each comparison of an analysis, in their order.

    ``None`` where a comparison cannot be made, or its difference has no t interval: a median, a mean of all runs where
    collapse is looked for, cells without spread or with fewer than three runs.
    """
    found = [_moments(each) for each in analysis.comparisons]
    design = analysis.design
    prior = _prior(analysis)
    if prior is None:
        return [None] * len(found)
    width = design.bounds[1] - design.bounds[0]
    known = [each for each in found if each is not None]
    results = iter(posteriors(known, design.rope, prior, direction=design.direction, limits=(-width, width)))
    return [None if each is None else next(results) for each in found]


def posteriors(
    differences: Sequence[Moments],
    rope: float,
    prior: Prior,
    *,
    direction: Direction = "higher",
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> list[Posterior]:
    """Return the posterior of each difference, with its sensitivity to the prior (see ``posterior_shares``)."""
    if not differences:
        return []
    estimate, error, df = np.array([[each.estimate, each.standard_error, each.df] for each in differences]).T
    shares = posterior_shares(estimate, error, df, rope, prior, direction=direction, limits=limits)
    changes = sensitivity(estimate, error, df, rope, prior, limits=limits)
    numbers = np.column_stack([shares.together.T, changes]).tolist()
    return [Posterior(better, within, worse, change, prior) for better, within, worse, change in numbers]


def _moments(named: NamedComparison) -> Moments | None:
    """Return what the posterior of a comparison rests on: the estimate that its verdict rests on."""
    if named.result is None or min(named.result.trained.runs) < LEAST_RUNS:
        return None
    found = named.result.estimate
    if not isinstance(found, StudentEstimate) or not found.standard_error > 0:
        return None
    return Moments(found.value, found.standard_error, found.freedom)


def _prior(analysis: Analysis) -> Prior | None:
    """Return the prior of all comparisons of an analysis, ``None`` where nothing gives it a scale."""
    trained = analysis.design.primary == "trained"
    cells = [x.trained if trained else x.values[~x.diverged] for x in (cell.sample for cell in analysis.cells)]
    if not math.isfinite(analysis.design.bounds[1] - analysis.design.bounds[0]) and all(map(_without_spread, cells)):
        return None
    return weak_prior(analysis.design.bounds, cells)


def _without_spread(values: NDArray[np.float64]) -> bool:
    return len(values) < 2 or constant(values)
