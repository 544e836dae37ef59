"""Pairs of cells: how far apart they are, how sure that is, and the verdict, by rules fixed before anyone looks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import comb
from statsmodels.stats.multitest import multipletests

from regulens.stats.estimates import median_interval
from regulens.stats.intervals import (
    Collapse,
    Interval,
    collapse_of,
    mover_difference,
    overall_interval,
    paired_interval,
    welch_interval,
    wilson,
)
from regulens.stats.samples import Sample
from regulens.stats.superiority import brunner_munzel_p, improvement_interval
from regulens.stats.ties import ROUNDING, constant, whole_steps

Direction = Literal["higher", "lower"]
Primary = Literal["mean", "trained", "median"]
Verdict = Literal["better", "worse", "equivalent", "undecided"]

Groups = Sequence[NDArray[np.float64]]
"""Values of one group, the differences of pairs, or of two."""

_RESAMPLES = 9999
_BATCHES = (9999, 909, 101, 11)  # divisors of it, so that batches draw no more
_VALUES_AT_ONCE = 2**22  # 32 MB
_CLOSE = 1e-9
_CLOSE_OF_STEPS = 1e-6


@dataclass(frozen=True)
class Design:
    """What is fixed before the runs are looked at.

    Attributes:
        direction: whether a higher or a lower response is better.
        rope: half-width of the region of practical equivalence, in the response's unit; 0 judges only the sign.
        primary: the estimand that decides: the mean of all runs, of those that trained, or the median.
        alpha: what the whole family may err by; 0.05 makes simultaneous 95 % intervals.
        paired: whether runs of one seed are a block, as where the seed decides the split.
        bounds: the least and the greatest possible response, (0, 1) of accuracies: no interval reaches beyond.
    """

    direction: Direction = "higher"
    rope: float = 0.0
    primary: Primary = "mean"
    alpha: float = 0.05
    paired: bool = False
    bounds: tuple[float, float] = (-math.inf, math.inf)

    @property
    def difference_bounds(self) -> tuple[float, float]:
        """The least and the greatest possible difference of two responses."""
        width = self.bounds[1] - self.bounds[0]
        return -width, width


@dataclass(frozen=True)
class Comparison:
    """Cell a against cell b; differences are a - b in the response's unit, whatever its direction.

    Attributes:
        runs: (n_a, n_b).
        difference: of the primary estimand, with its simultaneous interval: the verdict is made of it alone.
        unadjusted: the same with its own 95 % interval.
        trained: difference of the means among runs that trained, simultaneous; never decides but where it is primary.
        collapse: difference of the collapse rates, simultaneous; ``None`` where no run of the analysis collapsed.
        improvement: P(A > B), or P(A < B) where lower is better, ties half, with a 95 % interval: the probability that
            a run of a is better than one of b.
        effect_size: Hedges' g with the mean of the two variances; NaN where neither cell has any spread.
        p: of the studentised permutation test of equal means, NaN where ``p_reason`` says why there is none.
        p_holm: the same, adjusted over the family (Holm).
        p_brunner_munzel: of P(A > B) = 1/2 (Brunner and Munzel 2000); NaN where it is not defined.
        verdict: on a, by the response's direction.
        reason: why there is no verdict, or what keeps it open; empty if it is decided.
        p_reason: why there is no p; empty if there is one.
    """

    runs: tuple[int, int]
    difference: Interval
    unadjusted: Interval
    trained: Interval
    collapse: Interval | None
    improvement: Interval
    effect_size: float
    p: float
    p_holm: float
    p_brunner_munzel: float
    verdict: Verdict
    reason: str
    p_reason: str


def compare(
    pairs: Sequence[tuple[Sample, Sample]],
    design: Design,
    cells: Sequence[Sample],
    rng: np.random.Generator,
    *,
    family: int | None = None,
) -> list[Comparison]:
    """Compare the pairs of one family: all comparisons of one response that were declared beforehand.

    The intervals are Bonferroni's: each of m holds with 1 - alpha / m, so all hold together with 1 - alpha.

    Args:
        pairs: (a, b) each.
        design: what was declared.
        cells: all cells of the analysis, which tell whether runs collapse in it at all.
        rng: draws the permutations, where there are too many for all of them.
        family: how many comparisons were declared, if some of them cannot be made.
    """
    members = len(pairs) if family is None else family
    collapse = collapse_of(cells, design.direction == "higher")
    found = [_compare(a, b, design, collapse, members, rng) for a, b in pairs]
    tested = [number for number, each in enumerate(found) if not math.isnan(each.p)]
    if tested:
        untested = [1.0] * (members - len(tested))  # they count in the family, as what nothing was found in
        p_values = [found[number].p for number in tested] + untested
        adjusted = multipletests(p_values, method="holm")[1][: len(tested)]
        for number, p_holm in zip(tested, adjusted, strict=True):
            found[number] = replace(found[number], p_holm=float(p_holm))
    return found


def difference_interval(a: Sample, b: Sample, design: Design, collapse: Collapse | None, level: float) -> Interval:
    """Return the difference a - b of the primary estimand of two cells.

    Means of independent runs: Welch's interval, or where runs collapse MOVER over the two cells' ``overall_interval``.
    Where seeds are blocks, Student's over the pairs. Medians: MOVER over the two cells' intervals. The bounds are NaN
    where neither cell has any spread: nothing tells how far other runs would differ.
    """
    return _known_by_spread(_difference_interval(a, b, design, collapse, level), a.values, b.values)


def _difference_interval(a: Sample, b: Sample, design: Design, collapse: Collapse | None, level: float) -> Interval:
    if design.primary == "trained":
        return trained_interval(a, b, design.paired, level)
    if design.primary == "median":
        return mover_difference(median_interval(a.values, level), median_interval(b.values, level))
    if collapse is not None:
        return mover_difference(overall_interval(a, collapse, level), overall_interval(b, collapse, level))
    if design.paired:
        return paired_interval(*paired_values(a, b), level)
    return welch_interval(a.values, b.values, level)


def trained_interval(a: Sample, b: Sample, paired: bool, level: float) -> Interval:
    """Return the difference of the means among the runs that trained; NaN if in a cell none did.

    Its bounds are NaN where neither cell has any spread.
    """
    first, second = paired_values(a, b, trained=True) if paired else (a.trained, b.trained)
    if not (len(first) and len(second)):
        return Interval(math.nan, math.nan, math.nan, level)
    found = paired_interval(first, second, level) if paired else welch_interval(first, second, level)
    return _known_by_spread(found, first, second)


def _known_by_spread(interval: Interval, a: NDArray[np.float64], b: NDArray[np.float64]) -> Interval:
    return replace(interval, low=math.nan, high=math.nan) if constant(a) and constant(b) else interval


def paired_values(a: Sample, b: Sample, trained: bool = False) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the values of the seeds that both cells have (and trained with), in the order of the seeds.

    Raises:
        ValueError: if they have no seed in common, or one twice.
    """
    if any(len(np.unique(each.seeds)) < each.n for each in (a, b)):
        raise ValueError("a seed occurs twice in a cell: its runs cannot be paired")
    seeds, of_a, of_b = np.intersect1d(a.seeds, b.seeds, return_indices=True)
    if not len(seeds):
        raise ValueError("the two cells have no seed in common: their runs cannot be paired")
    kept = ~(a.collapsed[of_a] | b.collapsed[of_b]) if trained else np.ones(len(seeds), np.bool_)
    return a.values[of_a][kept], b.values[of_b][kept]


def judge(difference: Interval, rope: float, direction: Direction = "higher", rounding: float = 0.0) -> Verdict:
    """Return the verdict of an interval of a - b: it depends on nothing else.

    Wholly beyond the region of practical equivalence: better or worse; wholly inside: equivalent; otherwise undecided.
    A bound on an edge, from which it is not further than ``rounding``, is on neither side.
    """
    oriented = difference if direction == "higher" else -difference
    if oriented.low > rope + rounding:
        return "better"
    if oriented.high < -rope - rounding:
        return "worse"
    inside = oriented.low > -rope + rounding and oriented.high < rope - rounding
    return "equivalent" if inside else "undecided"


def _compare(  # noqa: PLR0917  # what a comparison depends on
    a: Sample, b: Sample, design: Design, collapse: Collapse | None, family: int, rng: np.random.Generator
) -> Comparison:
    level = 1 - design.alpha / family
    bounds = design.difference_bounds
    without_spread = constant(a.values) and constant(b.values)
    difference = difference_interval(a, b, design, collapse, level).within(bounds)
    unadjusted = difference_interval(a, b, design, collapse, 0.95).within(bounds)
    trained = trained_interval(a, b, design.paired, level).within(bounds)
    rounding = ROUNDING * float(np.median(np.abs(np.concatenate([a.values, b.values]))))
    verdict = judge(difference, design.rope, design.direction, rounding)
    p_reason = _why_no_p(a, b, design, family)
    rates = [wilson(each.collapses, each.n, level) for each in (a, b)]
    sign = 1 if design.direction == "higher" else -1
    return Comparison(
        runs=(a.n, b.n),
        difference=difference,
        unadjusted=unadjusted,
        trained=trained,
        collapse=None if collapse is None else mover_difference(*rates),
        improvement=improvement_interval(sign * a.values, sign * b.values, 0.95),
        effect_size=hedges_g(a.values, b.values),
        p=math.nan if p_reason else permutation_p(a, b, design.paired, rng),
        p_holm=math.nan,
        p_brunner_munzel=brunner_munzel_p(a.values, b.values),
        verdict=verdict,
        reason="neither cell has any spread, so nothing tells how far other runs would differ"
        if without_spread and min(a.n, b.n) > 1
        else _why_undecided(verdict, difference, trained, collapse, design),
        p_reason=p_reason,
    )


def _why_undecided(
    verdict: Verdict, difference: Interval, trained: Interval, collapse: Collapse | None, design: Design
) -> str:
    if verdict != "undecided":
        return ""
    if math.isnan(difference.low):
        least = "six or more for medians" if design.primary == "median" else "two of each"
        return f"too few runs for an interval: {least} are needed"
    among = judge(trained, design.rope, design.direction)
    if design.primary == "mean" and collapse is not None and among != "undecided":
        return f"{among} among the non-collapsed runs, but so few runs leave the collapse rates open"
    return "the interval extends beyond the equivalence margin" if design.rope else "the interval includes zero"


def _why_no_p(a: Sample, b: Sample, design: Design, family: int) -> str:
    """Say why no p is given: there are so few runs that none could be significant after adjustment."""
    if min(a.n, b.n) < 2:
        return "a single run has no spread and allows no test"
    pairs = len(paired_values(a, b)[0]) if design.paired else 0
    smallest = smallest_adjusted_p((pairs, pairs) if design.paired else (a.n, b.n), design.paired, family)
    if smallest <= design.alpha:
        return ""
    runs = f"{pairs} pairs" if design.paired else f"{a.n} and {b.n} runs"
    comparisons = "one comparison" if family == 1 else f"{family} comparisons"
    return f"with {runs} and {comparisons}, no adjusted p can be below {smallest:.2g}"


def smallest_adjusted_p(runs: tuple[int, int], paired: bool, family: int) -> float:
    """Return the least p that the permutation test can have of two cells with so many runs, adjusted over a family."""
    n, m = runs
    arrangements = 2.0 ** min(n, 1000) if paired else float(comb(n + m, n))  # 2^1024 is no float
    return min(1.0, family * (2 if paired or n == m else 1) / arrangements)


def permutation_p(a: Sample, b: Sample, paired: bool, rng: np.random.Generator) -> float:
    """Return the two-sided p of the studentised permutation test of equal means (Janssen 1997; scipy).

    All arrangements where there are at most 9999, otherwise so many at random. Where seeds are blocks the signs of the
    differences are permuted. Arrangements that tie with the runs as they are count as far out as these, whatever
    rounding makes of them; and it makes no difference which cell is called a.
    """
    first, second = paired_values(a, b) if paired else _in_one_order(a.values, b.values)
    pooled = np.concatenate([first, second])
    steps = whole_steps(pooled)
    rounding = float(np.finfo(np.float64).eps * np.abs(pooled).max()) if steps is None else 0.0
    one, other = np.split(pooled if steps is None else steps.astype(np.float64), [len(first)])
    groups = (one - other,) if paired else (one, other)
    result = stats.permutation_test(
        groups,
        _order_of_t(groups, rounding),
        permutation_type="samples" if paired else "independent",
        vectorized=True,
        n_resamples=_RESAMPLES,
        batch=next(size for size in _BATCHES if size * len(pooled) <= _VALUES_AT_ONCE or size == _BATCHES[-1]),
        alternative="greater",
        rng=rng,
    )
    return float(result.pvalue)


def _in_one_order(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both, the higher first, so that arrangements drawn at random are the same whichever is named first."""
    return (a, b) if (float(np.mean(a)), sorted(a)) >= (float(np.mean(b)), sorted(b)) else (b, a)


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


def hedges_g(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the difference of the means in units of the root mean variance, corrected for bias (Hedges 1981).

    The variances are averaged, not pooled, so that unequal ones and unequal numbers of runs do no harm
    (Bonett 2008); NaN for single values or no spread.
    """
    if min(len(a), len(b)) < 2 or (constant(a) and constant(b)):
        return math.nan
    spread = math.sqrt((float(np.var(a, ddof=1)) + float(np.var(b, ddof=1))) / 2)
    df = len(a) + len(b) - 2
    return float(np.mean(a) - np.mean(b)) / spread * (1 - 3 / (4 * df - 1))
