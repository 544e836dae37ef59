"""How many seeds a decision needs, and how often one may look on the way."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import stdtrit
from statsmodels.stats.proportion import proportion_confint

from regulens.stats.intervals import wilson
from regulens.stats.samples import Sample

Rule = Literal["verdict", "greater"]
Floats = NDArray[np.float64]

POWER = 0.8
PILOT_CONFIDENCE = 0.8  # of upper bounds from a pilot: Browne 1995, Statistics in Medicine 14, 1933-1940
LATER_SHARE = 0.1  # of alpha, kept for looks that were not declared


def decided(low: Floats, high: Floats, rope: float, rule: Rule = "verdict") -> NDArray[np.bool_]:
    """Tell which intervals leave nothing open; bounds that are NaN decide nothing.

    By the rule ``verdict``: wholly beyond the region of practical equivalence, or wholly inside it. By the rule
    ``greater``, of a claim that the difference is above the region: wholly above its upper edge, or wholly below.
    """
    if rule == "greater":
        return (low > rope) | (high < rope)
    return (low > rope) | (high < -rope) | ((low > -rope) & (high < rope))


@dataclass(frozen=True)
class CellModel:
    """What the runs of a cell are taken to be: normal where they train, all of one value where they collapse.

    Attributes:
        sd: of the runs that train, in the response's unit.
        collapse_rate: in [0, 1).
        rise: by how much the mean of the runs that train is above the value of collapsed ones, negative where lower is
            better; None where collapse plays no part in the analysis.

    Raises:
        ValueError: for a negative sd, a rate outside [0, 1), or a rate above zero without a rise.
    """

    sd: float
    collapse_rate: float = 0.0
    rise: float | None = None

    def __post_init__(self) -> None:
        if not self.sd >= 0:
            raise ValueError(f"sd must not be negative, got {self.sd}")
        if not 0 <= self.collapse_rate < 1:
            raise ValueError(f"collapse_rate must be in [0, 1), got {self.collapse_rate}")
        if self.rise is None and self.collapse_rate > 0:
            raise ValueError(f"a collapse_rate of {self.collapse_rate} needs a rise")


@dataclass(frozen=True)
class SeedsNeeded:
    """The seeds each cell needs for a decision with 80 % probability, as a range; None is more than ``max_seeds``."""

    low: int | None
    high: int | None
    max_seeds: int


@dataclass(frozen=True)
class Question:
    """What shall be decided: a contrast of cells, with the rule that the analysis will judge it by.

    Attributes:
        effect: its true value, in the response's unit: sum of weight times mean over all runs of a cell.
        rope: half-width of the region of practical equivalence.
        weights: one for each cell: (1, -1) of a difference, (1,) of the differences of pairs.
        level: of the family.
        comparisons: how many the family has; each is made at 1 - (1 - level) / comparisons.
        rule: what counts as decided, see ``decided``.
    """

    effect: float
    rope: float
    weights: tuple[float, ...] = (1.0, -1.0)
    level: float = 0.95
    comparisons: int = 1
    rule: Rule = "verdict"


def seeds_needed(
    question: Question, cells: Sequence[CellModel], rng: np.random.Generator, max_seeds: int = 200, studies: int = 2000
) -> SeedsNeeded:
    """Simulate how many seeds each cell needs for a decision with 80 % probability.

    ``studies`` studies of ``max_seeds`` seeds are drawn once; a smaller study is the beginning of a larger one, so that
    the share of decided studies hardly jumps from one number of seeds to the next. The intervals are those of the
    analysis. Where collapse plays a part every interval carries it, also in a simulated study that shows none, since
    other cells of the analysis will. The range is what the number of simulated studies leaves open: the first number
    of seeds at which the upper, and the lower, 95 % bound of the share reaches 80 %.

    Args:
        question: what shall be decided.
        cells: one for each of the question's weights. The mean of the first is set so that the effect is as asked.
        rng: consumed.
        max_seeds: at least 2.
        studies: how many are simulated.

    Raises:
        ValueError: if the cells are not as many as the weights, or collapse plays a part in some of them only.
    """
    if len(cells) != len(question.weights):
        raise ValueError(f"there must be a cell for each of {len(question.weights)} weights, got {len(cells)}")
    if len({cell.rise is None for cell in cells}) > 1:
        raise ValueError(f"all cells must have a rise, or none, got {[cell.rise for cell in cells]}")
    runs = _simulate(question, cells, rng, max_seeds, studies)

    def share(seeds: int) -> float:
        low, high = _intervals(runs, question, seeds)
        return float(np.mean(decided(low, high, question.rope, question.rule)))

    margin = 1.96 * math.sqrt(POWER * (1 - POWER) / studies)
    return SeedsNeeded(
        _first(lambda seeds: share(seeds) >= POWER - margin, max_seeds),
        _first(lambda seeds: share(seeds) >= POWER + margin, max_seeds),
        max_seeds,
    )


def seeds_needed_from_pilot(
    question: Question,
    pilots: Sequence[Sample],
    rng: np.random.Generator,
    *,
    collapsed_mean: float | None = None,
    max_seeds: int = 200,
    studies: int = 2000,
) -> SeedsNeeded:
    """Simulate the seeds needed from runs of the cells: the low end as they are, the high end at upper bounds.

    The upper bounds are one-sided of 80 %: of the standard deviation by the chi-squared distribution, so for runs that
    are about normal where they train, and of the collapse rate by Wilson's.

    Args:
        question: what shall be decided.
        pilots: runs of each cell, at least two of which trained.
        rng: consumed.
        collapsed_mean: of the collapsed runs of the analysis; None where there are none, as in ``collapse_of``.
        max_seeds: at least 2.
        studies: how many are simulated for each end.

    Raises:
        ValueError: if fewer than two runs of a pilot trained.
    """
    bounds = [_models(pilot, collapsed_mean) for pilot in pilots]
    low, high = (seeds_needed(question, cells, rng, max_seeds, studies) for cells in zip(*bounds, strict=True))
    return SeedsNeeded(low.low, high.high, max_seeds)


def least_difference(seeds: int, comparisons: int, *, paired: bool = False, level: float = 0.95) -> float:
    """Return how many standard deviations two means must be apart for their interval to exclude zero.

    Of normal runs whose spread turns out as it is, the same in both cells: Welch's interval at the level of one of so
    many comparisons; where seeds are blocks in standard deviations of the differences of pairs. Infinite for one seed.
    """
    if seeds < 2:
        return math.inf
    df, means = (seeds - 1, 1) if paired else (2 * (seeds - 1), 2)
    return float(stats.t.ppf(1 - (1 - level) / comparisons / 2, df)) * math.sqrt(means / seeds)


def undecidable(estimate: float, half_width: float, rope: float, rule: Rule = "verdict") -> bool:
    """Tell whether a contrast sits on an edge at this cost: undecided even if the estimate is right.

    Args:
        estimate: of the contrast.
        half_width: of its interval with as many seeds as are allowed.
        rope: half-width of the region of practical equivalence; 0 makes zero the only edge.
        rule: what counts as decided.
    """
    low, high = np.array([estimate - half_width]), np.array([estimate + half_width])
    return not bool(decided(low, high, rope, rule)[0])


@dataclass(frozen=True)
class Looks:
    """Looks at a growing study, declared before the first, and what each may err by.

    Alpha is divided among the looks (Bonferroni), so that the intervals of all of them hold together and one may stop
    by any rule at any of them. Boundaries from the joint distribution of the looks, such as Pocock's or O'Brien and
    Fleming's, would gain a little, but intervals of five runs or of collapse rates do not have that distribution. The
    shares are proportional to the numbers of seeds. Simulated with looks at 5, 10, 20 and 29 seeds and one, six or
    twenty comparisons, this took up to two seeds more than equal shares (one with six comparisons), and left up to
    eleven in a hundred fewer comparisons undecided at the last look.

    A tenth of alpha is kept for looks that were not declared: the first of them gets half of it, the next half of what
    is left, so that a study may be extended any number of times. A study of a single look keeps nothing, since it is
    an ordinary study with intervals at ``level``; its extensions come on top, see ``worst_alpha``.

    Attributes:
        seeds: at which numbers of seeds, increasing, at least one.
        level: of the family over all looks.

    Raises:
        ValueError: if the numbers do not increase or the first is below 2.
    """

    seeds: tuple[int, ...]
    level: float = 0.95

    def __post_init__(self) -> None:
        if not self.seeds or self.seeds[0] < 2 or list(self.seeds) != sorted(set(self.seeds)):
            raise ValueError(f"looks must be increasing numbers of seeds from 2 on, got {self.seeds}")

    def level_at(self, look: int) -> float:
        """Return the family's level at a look, counted from 0; those beyond the declared ones are its extensions."""
        return 1 - (1 - self.level) * self._share(look)

    @property
    def worst_alpha(self) -> float:
        """The probability of any error at any look, extensions included, is at most this."""
        return (1 - self.level) * (1 if len(self.seeds) > 1 else 1 + LATER_SHARE)

    def _share(self, look: int) -> float:
        if look < 0:
            raise ValueError(f"looks are counted from 0, got {look}")
        if look >= len(self.seeds):
            return LATER_SHARE * 0.5 ** (look - len(self.seeds) + 1)
        if len(self.seeds) == 1:
            return 1.0
        return (1 - LATER_SHARE) * self.seeds[look] / sum(self.seeds)


@dataclass(frozen=True, eq=False)
class _Runs:
    """Running sums over the seeds of simulated studies, each (studies, seeds, cells).

    Attributes:
        trained: number of runs that trained.
        powers: sums of their deviations from ``centres``, of the squares and of the cubes of these.
        centres: (cells,) true means of the runs that train, above the value of collapsed ones.
        best: (studies, seeds) the run so far, of any cell, that is furthest above the value of collapsed ones, or
            furthest below it where most runs that train are.
        collapse: whether the intervals carry collapse.
    """

    trained: Floats
    powers: tuple[Floats, Floats, Floats]
    centres: Floats
    best: Floats
    collapse: bool


def _simulate(
    question: Question, cells: Sequence[CellModel], rng: np.random.Generator, max_seeds: int, studies: int
) -> _Runs:
    sd = np.array([cell.sd for cell in cells])
    kept = 1 - np.array([cell.collapse_rate for cell in cells])
    centres = np.array([cell.rise or 0.0 for cell in cells])
    weights = np.array(question.weights)
    others = float(weights[1:] @ (kept * centres)[1:])
    centres[0] = (question.effect - others) / (weights[0] * kept[0])
    shape = (studies, max_seeds, len(cells))
    deviations = rng.normal(size=shape) * sd
    trained = rng.random(shape) < kept
    side = -1.0 if centres.sum() < 0 else 1.0
    best = side * np.maximum.accumulate(np.where(trained, side * (centres + deviations), 0.0).max(axis=2), axis=1)
    deviations = np.where(trained, deviations, 0.0)
    first, second, third = (np.cumsum(deviations**power, axis=1) for power in (1, 2, 3))
    count = np.cumsum(trained, axis=1, dtype=np.float64)
    return _Runs(count, (first, second, third), centres, best, cells[0].rise is not None)


def _intervals(runs: _Runs, question: Question, seeds: int) -> tuple[Floats, Floats]:
    """Return the (studies,) bounds of the contrast with so many seeds, as the analysis would find them."""
    level = 1 - (1 - question.level) / question.comparisons
    n = runs.trained[:, seeds - 1]
    weights = np.array(question.weights)
    count = np.maximum(n, 2)  # cells with fewer are seen to below
    first, second, third = (power[:, seeds - 1] / count for power in runs.powers)
    variances = (second - first**2) / (count - 1)
    thirds = (third - 3 * first * second + 2 * first**3) / count**2
    means = runs.centres + first
    if not runs.collapse:
        below, above = _margins(weights**2 * variances, weights**3 * thirds, count - 1, level)
        return means @ weights - below, means @ weights + above
    below, above = _margins(variances[..., None], thirds[..., None], count[..., None] - 1, level)
    alone, best = n < 2, runs.best[:, seeds - 1, None]
    kept, fewest, most = n / seeds, *(1 - bound for bound in _wilson(seeds - n, seeds, level))
    gain = np.where(alone, best, means)
    low, high = np.where(alone, np.maximum(gain, 0.0), below), np.where(alone, np.maximum(-gain, 0.0), above)
    mirrored = gain < 0  # more collapses then move a mean up
    down = np.hypot(gain * np.where(mirrored, most - kept, kept - fewest), kept * low) * np.abs(weights)
    up = np.hypot(gain * np.where(mirrored, kept - fewest, most - kept), kept * high) * np.abs(weights)
    turned = weights < 0
    estimate = (n * runs.centres + runs.powers[0][:, seeds - 1]) / seeds @ weights
    down, up = np.where(turned, up, down), np.where(turned, down, up)
    return estimate - np.sqrt(np.sum(down**2, axis=1)), estimate + np.sqrt(np.sum(up**2, axis=1))


def _wilson(counts: Floats, n: int, level: float) -> tuple[Floats, Floats]:
    """Return upper and lower bound of many rates (``intervals.wilson``), those that occur being few."""
    low, high = proportion_confint(np.arange(n + 1), n, alpha=1 - level, method="wilson")
    index = counts.astype(np.int64)
    return high[index], low[index]


def _margins(variances: Floats, thirds: Floats, dfs: Floats, level: float) -> tuple[Floats, Floats]:
    """Return how far the interval of a sum of means (last axis) reaches down and up: ``intervals`` for many at once."""
    variances = np.maximum(variances, 0.0)
    total = variances.sum(axis=-1)
    error = np.sqrt(total)
    spread = error > 0
    below = np.sum(variances**2 / dfs, axis=-1)
    df = np.where(spread, total**2 / np.where(spread, below, 1.0), dfs.min(axis=-1))
    quantile: Floats = stdtrit(df, (1 + level) / 2)
    skewness = np.where(spread, thirds.sum(axis=-1) / np.where(spread, error, 1.0) ** 3, 0.0)
    skewed = np.abs(skewness) > 1e-6
    divisor = np.where(skewed, skewness, 1.0)
    margins = []
    for sign in (1, -1):
        hall = sign * (np.cbrt(1 + skewness * (sign * quantile - skewness / 6)) - 1) / (divisor / 3)
        margins.append(np.where(skewed, np.maximum(hall, quantile), quantile) * error)
    return margins[0], margins[1]


def _models(pilot: Sample, collapsed_mean: float | None) -> tuple[CellModel, CellModel]:
    """Return what the runs of a cell may be like: as they are in the pilot, and at the upper bounds."""
    trained = pilot.values if collapsed_mean is None else pilot.trained
    df = len(trained) - 1
    if df < 1:
        raise ValueError(f"a pilot needs two runs of each cell that trained, got {len(trained)}")
    sd = float(trained.std(ddof=1))
    upper_sd = sd * math.sqrt(df / float(stats.chi2.ppf(1 - PILOT_CONFIDENCE, df)))
    if collapsed_mean is None:
        return CellModel(sd), CellModel(upper_sd)
    rate = wilson(pilot.collapses, pilot.n, 2 * PILOT_CONFIDENCE - 1)
    rise = float(trained.mean()) - collapsed_mean
    return CellModel(sd, rate.estimate, rise), CellModel(upper_sd, rate.high, rise)


def _first(enough: Callable[[int], bool], max_seeds: int) -> int | None:
    """Return the smallest number of seeds that is enough, given that more of them are as well; None beyond the most."""
    if not enough(max_seeds):
        return None
    return 2 + bisect_left(range(2, max_seeds), True, key=enough)
