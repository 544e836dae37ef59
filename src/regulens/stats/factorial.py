"""What the factors of a design do: simple effects, interactions, marginal means, main effects, shares of variance.

Every effect is a linear contrast of the means of independent cells. It is first named (``simple_effects`` and its
siblings: which cells, with which weights), then estimated, by one of two rules that the caller chooses for the whole
analysis: ``welch_estimator`` on the runs of each cell, or, where runs collapse, ``mover_estimator`` on the interval of
each cell's mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from regulens.stats.intervals import Interval, around, moments, welch_df

Level = bool | int | float | str
Levels = tuple[Level, ...]
TOO_FEW = "an interval needs two runs of every cell"


@dataclass(frozen=True)
class Contrast:
    """A linear contrast of cell means: its interval, Welch's two-sided p and degrees of freedom (NaN where none)."""

    interval: Interval
    p: float = math.nan
    df: float = math.nan


Estimator = Callable[[Mapping[Levels, float], float], Contrast]
"""(weight of each cell, level) -> the contrast of those cells."""


def contrast(values: Sequence[NDArray[np.float64]], weights: Sequence[float], level: float) -> Contrast:
    """Return the weighted sum of the means of independent cells whose variances may differ.

    The interval is that of ``intervals.welch_interval``, for any weights; p is from Student's t with Welch and
    Satterthwaite's degrees of freedom alone (Welch 1947; Satterthwaite 1946), NaN if no cell has any spread.

    Args:
        values: one (n_i,) array for each cell.
        weights: one for each cell.
        level: e.g. 0.95.

    Returns:
        With NaN bounds and p where a cell has fewer than two values, and a NaN estimate where one has none.
    """
    if not all(len(x) for x in values):
        return Contrast(Interval(math.nan, math.nan, math.nan, level))
    estimate = sum(w * float(np.mean(x)) for x, w in zip(values, weights, strict=True))
    if min(len(x) for x in values) < 2:
        return Contrast(Interval(estimate, math.nan, math.nan, level))
    parts = [moments(w * x, 1) for x, w in zip(values, weights, strict=True)]
    variances = [variance for variance, _, _ in parts]
    df = welch_df(variances, [freedom for _, _, freedom in parts])
    error = math.sqrt(sum(variances))
    p = 2 * float(stats.t.sf(abs(estimate) / error, df)) if error > 0 else math.nan
    return Contrast(around(estimate, parts, level), p, df)


def mover_contrast(intervals: Sequence[Interval], weights: Sequence[float]) -> Interval:
    """Return the weighted sum of independent estimates from their intervals of one level (MOVER).

    Each bound is recovered from the bounds of the parts on the side that the weight turns them to (Zou and Donner
    2008, Statistics in Medicine 27, 1693-1702), so that the asymmetry of each part is kept; p has no place in it.

    Raises:
        ValueError: if the levels differ.
    """
    levels = {interval.level for interval in intervals}
    if len(levels) != 1:
        raise ValueError(f"the intervals must have one level, got {sorted(levels)}")
    terms = [
        (w * x.estimate, w * (x.low if w > 0 else x.high), w * (x.high if w > 0 else x.low))
        for x, w in zip(intervals, weights, strict=True)
    ]
    estimate = sum(middle for middle, _, _ in terms)
    low = estimate - math.hypot(*(middle - low for middle, low, _ in terms))
    high = estimate + math.hypot(*(high - middle for middle, _, high in terms))
    return Interval(estimate, low, high, levels.pop())


def welch_estimator(values: Mapping[Levels, NDArray[np.float64]]) -> Estimator:
    """Return the rule that estimates from the (n,) values of each cell: of all its runs, or of those that trained."""

    def estimate(weights: Mapping[Levels, float], level: float) -> Contrast:
        return contrast([values[cell] for cell in weights], list(weights.values()), level)

    return estimate


def mover_estimator(interval_of: Callable[[Levels, float], Interval]) -> Estimator:
    """Return the rule that estimates from each cell's interval at a level, e.g. ``intervals.mixture_interval``."""

    def estimate(weights: Mapping[Levels, float], level: float) -> Contrast:
        return Contrast(mover_contrast([interval_of(cell, level) for cell in weights], list(weights.values())))

    return estimate


@dataclass(frozen=True)
class Layout:
    """Which cells have runs.

    Attributes:
        factors: their names, in the order of a cell's levels.
        cells: the cells with at least one run; a factor's levels have the order in which they appear here.

    Raises:
        ValueError: if there is no cell, or one does not have a level of each factor.
    """

    factors: tuple[str, ...]
    cells: tuple[Levels, ...]

    def __post_init__(self) -> None:
        if not self.cells:
            raise ValueError("a layout must have at least one cell, got none")
        for cell in self.cells:
            if len(cell) != len(self.factors):
                raise ValueError(f"a cell must have a level of each of {self.factors}, got {cell}")

    def levels(self, factor: str) -> tuple[Level, ...]:
        """Return the levels of a factor."""
        place = self.factors.index(factor)
        return tuple(dict.fromkeys(cell[place] for cell in self.cells))

    def others(self, *factors: str) -> list[dict[str, Level]]:
        """Return every combination of the levels of the factors that are not named."""
        rest = [name for name in self.factors if name not in factors]
        return [dict(zip(rest, levels, strict=True)) for levels in product(*map(self.levels, rest))]


@dataclass(frozen=True)
class Effect:
    """A contrast of cells by name: level ``a`` of a factor against level ``b``.

    Attributes:
        factor: whose levels are compared.
        a: the level.
        b: the level it is compared with; None for a marginal mean, which is compared with nothing.
        where: the levels of other factors that are held; those not named are averaged over, unweighted.
        by: of an interaction (another factor, its level, the level this one is compared with), otherwise None.
        weights: of each cell; empty where a cell that it needs has no runs.
        reason: why it cannot be estimated, or None.
    """

    factor: str
    a: Level
    b: Level | None
    where: dict[str, Level]
    by: tuple[str, Level, Level] | None = None
    weights: dict[Levels, float] = field(default_factory=dict)
    reason: str | None = None


def simple_effects(layout: Layout, factor: str, control: Level) -> list[Effect]:
    """Return each level against the control within each combination of the other factors' levels."""
    return [
        _effect(layout, Effect(factor, a, control, where))
        for where in layout.others(factor)
        for a in _compared(layout, factor, control)
    ]


def interactions(layout: Layout, factor: str, control: Level) -> list[Effect]:
    """Return the differences of a factor's simple effects between two levels of one other factor.

    Of another factor with more than two levels, each is compared with its first. With more than two factors they are
    simple interactions: within each combination of the levels of the remaining ones.
    """
    return [
        _effect(layout, Effect(factor, a, control, where, (other, level, reference)))
        for other in layout.factors
        if other != factor
        for reference, *levels in [layout.levels(other)]
        for level in levels
        for where in layout.others(factor, other)
        for a in _compared(layout, factor, control)
    ]


def marginal_means(layout: Layout, factor: str) -> list[Effect]:
    """Return the mean at each level of a factor: the unweighted mean of its cells."""
    return [_effect(layout, Effect(factor, a, None, {})) for a in layout.levels(factor)]


def main_effects(layout: Layout, factor: str, control: Level) -> list[Effect]:
    """Return each level against the control, as a difference of marginal means."""
    return [_effect(layout, Effect(factor, a, control, {})) for a in _compared(layout, factor, control)]


@dataclass(frozen=True)
class Estimated:
    """An effect with its contrast.

    Attributes:
        effect: what was estimated.
        contrast: at the level asked for, unadjusted; None where a cell that it needs has no runs.
        simultaneous: the interval that covers together with those of the other effects of the family (Bonferroni).
        reason: why the contrast, or its interval, is not there; None where both are.
    """

    effect: Effect
    contrast: Contrast | None
    simultaneous: Interval | None
    reason: str | None

    @property
    def nonzero(self) -> bool:
        """Whether the simultaneous interval excludes zero; one that is not there does not."""
        return self.simultaneous is not None and (self.simultaneous.low > 0 or self.simultaneous.high < 0)


def estimate_effects(effects: Collection[Effect], estimator: Estimator, level: float) -> tuple[Estimated, ...]:
    """Estimate effects that are one family: m of them, also those without runs, so that m is fixed before the data."""
    adjusted = 1 - (1 - level) / max(1, len(effects))
    return tuple(_estimate(effect, estimator, level, adjusted) for effect in effects)


@dataclass(frozen=True)
class FactorAnswers:
    """What one factor does, in the order in which it should be read; each tuple is a family of its own.

    Attributes:
        factor: whose effects these are.
        control: the level that the others are compared with.
        simple: its effects within each combination of the other factors.
        interactions: how these differ between the levels of each other factor.
        marginal: its marginal means.
        main: their differences from the control's.
        interacting: whether an interaction's simultaneous interval excludes zero, so that the main effects are means
            of different effects; None where no interaction has an interval.
    """

    factor: str
    control: Level
    simple: tuple[Estimated, ...]
    interactions: tuple[Estimated, ...]
    marginal: tuple[Estimated, ...]
    main: tuple[Estimated, ...]
    interacting: bool | None


def answer_factor(layout: Layout, factor: str, control: Level, estimator: Estimator, level: float) -> FactorAnswers:
    """Estimate everything that a factor of a layout does.

    Raises:
        ValueError: if the control is not a level of the factor.
    """
    between = estimate_effects(interactions(layout, factor, control), estimator, level)
    known = any(found.reason is None for found in between)
    return FactorAnswers(
        factor,
        control,
        estimate_effects(simple_effects(layout, factor, control), estimator, level),
        between,
        estimate_effects(marginal_means(layout, factor), estimator, level),
        estimate_effects(main_effects(layout, factor, control), estimator, level),
        any(found.nonzero for found in between) if known else None,
    )


@dataclass(frozen=True)
class Source:
    """A factor or an interaction in the analysis of variance.

    Attributes:
        factors: one, or those that interact.
        sum_of_squares: of type III.
        df: degrees of freedom.
        f: the classical F, for equal variances.
        p: of it.
        robust_f: the ANOVA-type statistic, for any variances; NaN where a cell has fewer than two runs.
        robust_p: of it.
        omega: the estimate of the share of the total variance, (SS - df MSE) / (SST + MSE), which may be negative.
    """

    factors: tuple[str, ...]
    sum_of_squares: float
    df: int
    f: float
    p: float
    robust_f: float
    robust_p: float
    omega: float

    @property
    def omega_squared(self) -> float:
        """``omega``, zero where it is negative."""
        return max(0.0, self.omega)


@dataclass(frozen=True)
class Anova:
    """The analysis of variance: factors, then interactions; empty for a reason."""

    sources: tuple[Source, ...]
    residual_ss: float
    residual_df: int
    reason: str | None = None


def analyse_variance(factors: Sequence[str], values: Mapping[Levels, NDArray[np.float64]]) -> Anova:
    """Return sums of squares, F, p and omega squared of every factor and interaction of a full layout.

    Sums of squares are of type III on sum-to-zero codes (statsmodels), whose hypotheses are those about unweighted
    marginal means, the ones estimated here, also with unequal n. Omega squared is a description of these cells and
    levels: Hays' formula, exact for equal n, assumes equal variances. The robust p does not: it is the ANOVA-type
    statistic of Brunner, Dette and Munk (1997, Journal of the American Statistical Association 92, 1494-1502), in one
    factor Brown and Forsythe's test with Mehrotra's degrees of freedom. With five runs a cell and standard deviations
    that differ up to eightfold it rejected 3 to 6 % of true hypotheses, the classical F up to 15 % and HC3 up to 8 %.

    Args:
        factors: their names, in the order of a cell's levels.
        values: (n,) of each cell; one without values counts as missing.

    Returns:
        Without sources, for a reason, where a cell is missing or the cells show no spread.
    """
    found = {cell: x for cell, x in values.items() if len(x)}
    reason = _no_anova(factors, found)
    if reason is not None:
        return Anova((), math.nan, 0, reason)
    layout = Layout(tuple(factors), tuple(found))
    varied = [factor for factor in factors if len(layout.levels(factor)) > 1]
    table = _type_three(layout, varied, found)
    total = float(np.concatenate(list(found.values())).var() * sum(map(len, found.values())))
    residual_ss, residual_df = table["Residual"]["sum_sq"], int(table["Residual"]["df"])
    error = residual_ss / residual_df
    sources = []
    for names in (names for size in range(1, len(varied) + 1) for names in combinations(varied, size)):
        row = table[":".join(_term(factors.index(name)) for name in names)]
        ss, df = row["sum_sq"], int(row["df"])
        omega = (ss - df * error) / (total + error)
        sources.append(Source(names, ss, df, row["F"], row["PR(>F)"], *_anova_type(layout, names, found), omega))
    return Anova(tuple(sources), residual_ss, residual_df)


def _type_three(
    layout: Layout, varied: Collection[str], values: Mapping[Levels, NDArray[np.float64]]
) -> dict[str, dict[str, float]]:
    """Return the rows of statsmodels' table of type III; factors and levels go by number."""
    rows = [
        (*(layout.levels(factor).index(level) for factor, level in zip(layout.factors, cell, strict=True)), y)
        for cell, x in values.items()
        for y in x
    ]
    frame = pd.DataFrame(rows, columns=[*(f"f{place}" for place in range(len(layout.factors))), "y"])
    formula = "y ~ " + " * ".join(_term(layout.factors.index(factor)) for factor in varied)
    table: dict[str, dict[str, float]] = anova_lm(ols(formula, frame).fit(), typ=3).to_dict("index")
    return table


def _term(place: int) -> str:
    """Return how the formula names a factor, in sum-to-zero codes."""
    return f"C(f{place}, Sum)"


def _no_anova(factors: Sequence[str], found: Mapping[Levels, NDArray[np.float64]]) -> str | None:
    """Return why there is no analysis of variance of these cells, or None."""
    if not found:
        return "no runs"
    layout = Layout(tuple(factors), tuple(found))
    for levels in layout.others():
        if tuple(levels.values()) not in found:
            return _no_runs(levels)
    if len(found) == 1:
        return "there is one cell only"
    if all(len(x) == 1 for x in found.values()):
        return "an analysis of variance needs two runs of a cell"
    if all(np.ptp(x) == 0 for x in found.values()):
        return "the runs of each cell are equal to each other"
    return None


def _anova_type(
    layout: Layout, factors: Collection[str], values: Mapping[Levels, NDArray[np.float64]]
) -> tuple[float, float]:
    """Return the ANOVA-type F and its p for the hypothesis that the unweighted effects of ``factors`` are zero."""
    cells = list(product(*map(layout.levels, layout.factors)))
    n = np.array([len(values[cell]) for cell in cells])
    if n.min() < 2:
        return math.nan, math.nan
    means = np.array([values[cell].mean() for cell in cells])
    variances = np.array([values[cell].var(ddof=1) for cell in cells]) / n
    projection = np.ones((1, 1))
    for factor in layout.factors:
        k = len(layout.levels(factor))
        average = np.full((k, k), 1 / k)
        projection = np.kron(projection, np.eye(k) - average if factor in factors else average)
    scatter = projection * variances  # projection @ diag(variances)
    trace, own = float(np.trace(scatter)), np.diag(projection)
    if trace == 0:
        return math.nan, math.nan
    f = float(means @ projection @ means) / trace
    df = trace**2 / float(np.trace(scatter @ scatter))
    return f, float(stats.f.sf(f, df, trace**2 / float(np.sum((own * variances) ** 2 / (n - 1)))))


def _compared(layout: Layout, factor: str, control: Level) -> list[Level]:
    """Return the levels other than the control."""
    levels = layout.levels(factor)
    if control not in levels:
        raise ValueError(f"the control must be a level of {factor}, got {control!r}")
    return [level for level in levels if level != control]


def _effect(layout: Layout, effect: Effect) -> Effect:
    """Complete a named effect by the weights of its cells, or the reason why one is missing."""
    signs: list[tuple[dict[str, Level], float]] = [({effect.factor: effect.a}, 1.0)]
    if effect.b is not None:
        signs.append(({effect.factor: effect.b}, -1.0))
    if effect.by is not None:
        other, level, reference = effect.by
        signs = [
            ({**at, other: to}, sign * turn) for to, turn in ((level, 1.0), (reference, -1.0)) for at, sign in signs
        ]
    weights: dict[Levels, float] = {}
    for at, sign in signs:
        held = {**effect.where, **at}
        averaged = layout.others(*held)
        for rest in averaged:
            levels = {name: (held | rest)[name] for name in layout.factors}
            if tuple(levels.values()) not in layout.cells:
                return replace(effect, reason=_no_runs(levels))
            weights[tuple(levels.values())] = sign / len(averaged)
    return replace(effect, weights=weights)


def _estimate(effect: Effect, estimator: Estimator, level: float, adjusted: float) -> Estimated:
    """Estimate one effect at the level and at the adjusted one."""
    if effect.reason is not None:
        return Estimated(effect, None, None, effect.reason)
    found = estimator(effect.weights, level)
    reason = TOO_FEW if math.isnan(found.interval.low) else None
    return Estimated(effect, found, estimator(effect.weights, adjusted).interval, reason)


def _no_runs(levels: Mapping[str, Level]) -> str:
    """Return the reason that names a missing cell."""
    return "no runs with " + ", ".join(f"{factor} {level}" for factor, level in levels.items())
