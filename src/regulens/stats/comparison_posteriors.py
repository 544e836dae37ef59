"""The posterior shares beside the comparisons of an analysis: exploratory, and no part of any verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regulens.stats.analysis import Analysis, Level, NamedComparison
from regulens.stats.comparisons import Design, Direction, paired_values
from regulens.stats.intervals import moments, welch_df
from regulens.stats.posterior import Prior, posterior_shares, sensitivity, weak_prior
from regulens.stats.samples import Sample
from regulens.stats.ties import constant

FEWEST_RUNS = 3
"""Of each cell, or pairs: with two, Welch's t is far from the posterior, and the prior decides."""


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

    ``None`` where a comparison cannot be made, or its difference has no t interval: a median, a mean over runs of
    which some collapsed, cells without spread or with fewer than three runs.
    """
    samples = {frozenset(cell.levels.items()): cell.sample for cell in analysis.cells}
    rates_count = analysis.design.primary == "mean" and any(each.collapses for each in samples.values())
    found = [None if rates_count else _moments(each, samples, analysis.design) for each in analysis.comparisons]
    design = analysis.design
    prior = _prior(analysis)
    if prior is None:
        return [None] * len(found)
    known = [each for each in found if each is not None]
    results = iter(posteriors(known, design.rope, prior, direction=design.direction, limits=design.difference_bounds))
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


def moments_of(a: Sample, b: Sample, design: Design) -> Moments | None:
    """Return the difference of two cells' means with Welch's standard error, or Student's over pairs.

    ``None`` where these do not describe the primary estimand, or too few runs tell the spread.
    """
    if design.primary == "median" or (design.primary == "mean" and (a.collapses or b.collapses)):
        return None
    trained = design.primary == "trained"
    if design.paired:
        first, second = paired_values(a, b, trained)
        groups = [(first - second, 1)]
    else:
        groups = [(each.trained if trained else each.values, sign) for each, sign in ((a, 1), (b, -1))]
    if min(len(values) for values, _ in groups) < FEWEST_RUNS or all(constant(values) for values, _ in groups):
        return None
    variances, _, dfs = zip(*(moments(values, sign) for values, sign in groups), strict=True)
    estimate = sum(sign * float(np.mean(values)) for values, sign in groups)
    return Moments(estimate, math.sqrt(sum(variances)), welch_df(variances, dfs))


def _moments(
    named: NamedComparison, samples: Mapping[frozenset[tuple[str, Level]], Sample], design: Design
) -> Moments | None:
    """Return what the posterior of a comparison rests on: the only place that knows where it comes from."""
    if named.result is None:
        return None
    a, b = (samples[_key(named, level)] for level in (named.a, named.b))
    return moments_of(a, b, design)


def _key(named: NamedComparison, level: Level) -> frozenset[tuple[str, Level]]:
    return frozenset({**named.where, named.factor: level}.items())


def _prior(analysis: Analysis) -> Prior | None:
    """Return the prior of all comparisons of an analysis, ``None`` where nothing gives it a scale."""
    trained = analysis.design.primary == "trained"
    cells = [cell.sample.trained if trained else cell.sample.values for cell in analysis.cells]
    if not math.isfinite(analysis.design.bounds[1] - analysis.design.bounds[0]) and all(map(_without_spread, cells)):
        return None
    return weak_prior(analysis.design.bounds, cells)


def _without_spread(values: NDArray[np.float64]) -> bool:
    return len(values) < 2 or constant(values)
