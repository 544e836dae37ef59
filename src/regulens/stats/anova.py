"""The analysis of variance of a full factorial: which factors and interactions the runs' variance goes with."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special

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


def analyse_variance(
    factors: Sequence[str], values: Mapping[Levels, NDArray[np.float64]], blocks: bool = False
) -> Anova:
    """Return sums of squares, F, p and omega squared of every factor and interaction of a full layout.

    Sums of squares are of type III on sum-to-zero codes, whose hypotheses are those about unweighted marginal means,
    the ones estimated here, also with unequal n: of contrasts C of the cells' means m and their numbers of runs n,
    ``(C m)' (C diag(1 / n) C')^-1 (C m)`` (Searle 1987, Linear Models for Unbalanced Data). Omega squared is a
    description of these cells and levels: Hays' formula, exact for equal n, assumes equal variances. The robust p does
    not: it is the ANOVA-type statistic of Brunner, Dette and Munk (1997, Journal of the American Statistical
    Association 92, 1494-1502), in one factor Brown and Forsythe's test with Mehrotra's degrees of freedom. With five
    runs a cell and standard deviations that differ up to eightfold it rejected 3 to 6 % of true hypotheses, the
    classical F up to 15 % and HC3 up to 8 %.

    Args:
        factors: their names, in the order of a cell's levels.
        values: (n,) of each cell; one without values counts as missing.
        blocks: whether the values of all cells belong to the same blocks, in one order, such as splits: then what the
            blocks share is no part of the residual, and the robust p is that of repeated measures, with Geisser and
            Greenhouse's (1958) degrees of freedom.

    Returns:
        Without sources, for a reason, where a cell is missing or the cells show no spread.
    """
    found = {cell: x for cell, x in values.items() if len(x)}
    reason = _no_anova(factors, found)
    if reason is not None:
        return Anova((), math.nan, 0, reason)
    layout = Layout(tuple(factors), tuple(found))
    varied = [factor for factor in factors if len(layout.levels(factor)) > 1]
    runs = [found[cell] for cell in product(*map(layout.levels, layout.factors))]
    residual_ss, residual_df = _residual_in_blocks(runs) if blocks else _residual(runs)
    every = np.concatenate(runs)
    total, error = float(every.var()) * len(every), residual_ss / residual_df
    sources = []
    for names in (names for size in range(1, len(varied) + 1) for names in combinations(varied, size)):
        contrasts = _contrasts(layout, names)
        ss, df = _sum_of_squares(contrasts, runs), len(contrasts)
        f = ss / df / error
        p = float(special.fdtrc(df, residual_df, f))
        omega = (ss - df * error) / (total + error)
        sources.append(Source(names, ss, df, f, p, *(_repeated if blocks else _anova_type)(contrasts, runs), omega))
    return Anova(tuple(sources), residual_ss, residual_df)


def _contrasts(layout: Layout, factors: Collection[str]) -> NDArray[np.float64]:
    """Return (df, cells) orthonormal contrasts of the cells that span the unweighted effects of ``factors``."""
    sizes = {factor: len(layout.levels(factor)) for factor in layout.factors}
    parts = [
        linalg.helmert(k) if factor in factors else np.full((1, k), 1 / math.sqrt(k)) for factor, k in sizes.items()
    ]
    return np.asarray(reduce(np.kron, parts))


def _residual(runs: Sequence[NDArray[np.float64]]) -> tuple[float, int]:
    """Return the sum of squares within the cells and its degrees of freedom."""
    return sum(float(np.sum((x - x.mean()) ** 2)) for x in runs), sum(len(x) - 1 for x in runs)


def _residual_in_blocks(runs: Sequence[NDArray[np.float64]]) -> tuple[float, int]:
    """Return what cells and blocks leave, and its degrees of freedom."""
    table = np.array(runs)
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    return float(np.sum(rest**2)), (len(table) - 1) * (table.shape[1] - 1)


def _repeated(contrasts: NDArray[np.float64], runs: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Return the ANOVA-type F of repeated measures and its p (Brunner, Domhof and Langer 2002, chapter 5)."""
    table = np.array(runs)
    covariance = contrasts @ np.atleast_2d(np.cov(table)) @ contrasts.T / table.shape[1]
    trace = float(np.trace(covariance))
    if trace == 0:
        return math.nan, math.nan
    f = float(np.sum((contrasts @ _centered_means(runs)) ** 2)) / trace
    df = trace**2 / float(np.sum(covariance**2))
    return f, float(special.fdtrc(df, df * (table.shape[1] - 1), f))


def _sum_of_squares(contrasts: NDArray[np.float64], runs: Sequence[NDArray[np.float64]]) -> float:
    """Return the sum of squares of type III of (df, cells) contrasts."""
    estimates = contrasts @ _centered_means(runs)
    covariance = (contrasts / [len(x) for x in runs]) @ contrasts.T
    return float(estimates @ linalg.solve(covariance, estimates, assume_a="pos"))


def _centered_means(runs: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    means = np.array([x.mean() for x in runs])
    return np.asarray(means - means.mean())


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


def _anova_type(contrasts: NDArray[np.float64], runs: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Return the ANOVA-type F and its p for the hypothesis that (df, cells) orthonormal contrasts are zero."""
    n = np.array([len(x) for x in runs])
    if n.min() < 2:
        return math.nan, math.nan
    variances = np.array([x.var(ddof=1) for x in runs]) / n
    covariance, own = (contrasts * variances) @ contrasts.T, np.sum(contrasts**2, axis=0)
    trace = float(np.trace(covariance))
    if trace == 0:
        return math.nan, math.nan
    f = float(np.sum((contrasts @ _centered_means(runs)) ** 2)) / trace
    df = trace**2 / float(np.sum(covariance**2))
    return f, float(special.fdtrc(df, trace**2 / float(np.sum((own * variances) ** 2 / (n - 1))), f))
