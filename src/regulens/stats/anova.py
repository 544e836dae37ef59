"""The analysis of variance of a full factorial: which factors and interactions the runs' variance goes with."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from regulens.stats.contrasts import Levels
from regulens.stats.factorial import Layout, no_runs
from regulens.stats.ties import constant


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
            return no_runs(levels)
    if len(found) == 1:
        return "there is one cell only"
    if all(len(x) == 1 for x in found.values()):
        return "an analysis of variance needs two runs of a cell"
    if all(constant(x) for x in found.values()):
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
