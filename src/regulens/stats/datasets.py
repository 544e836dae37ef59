"""The effect of one level against another on several data sets: its mean over sets, its spread, and a new set.

Arrays in, numbers out. Responses of different sets have different scales, so runs are differenced within a set first;
what is pooled are these differences. Two models answer. In one each set counts the same, and the sets are the sample:
Student's intervals of k numbers, whatever the runs within a set are like. In the other, the usual random-effects model
of meta-analysis, a set counts by its precision: sharper where the precision of a set has nothing to do with its effect,
and wrong where it has, as near the ceiling of an accuracy, where effects and variances are both small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats
from statsmodels.stats.meta_analysis import combine_effects

from regulens.stats.cells import Cells
from regulens.stats.design import Design, Primary
from regulens.stats.estimate import StudentEstimate, student_sum
from regulens.stats.intervals import Interval
from regulens.stats.samples import Sample
from regulens.stats.ties import constant

FEW_SETS = 5
"""Below so many, what is said of other sets rests on the model alone."""


@dataclass(frozen=True)
class SetEffect:
    """The difference a - b on one data set.

    Attributes:
        difference: with a t interval of the runs alone; NaN bounds where they are too few, or have no spread.
        variance: of the difference, NaN where a cell has a single run.
    """

    difference: Interval
    variance: float


@dataclass(frozen=True)
class EqualWeights:
    """Each set counts the same.

    Attributes:
        mean: the mean effect over sets like these, Student's interval.
        new: Student's prediction interval for the difference that another set would show, with as many runs.
        sd: standard deviation of the sets' differences, their runs' noise included.
    """

    mean: Interval
    new: Interval
    sd: float


@dataclass(frozen=True, eq=False)
class RandomEffects:
    """Sets count by their precision: differences are normal about ``mean`` with variance spread² + variance of the set.

    Attributes:
        mean: weighted, with Hartung and Knapp's interval.
        new: t prediction interval for the true effect on another set; NaN bounds below three sets.
        spread: standard deviation of true effects between sets, with its Q-profile interval.
        weights: (sets,) with sum 1.
        q: Cochran's heterogeneity statistic, of k - 1 degrees of freedom.
    """

    mean: Interval
    new: Interval
    spread: Interval
    weights: NDArray[np.float64]
    q: float


def set_effect(a: Sample, b: Sample, primary: Primary, paired: bool, level: float = 0.95) -> SetEffect:
    """Return the difference of the primary estimand on one set, and its variance over runs.

    Means: Welch's variance, or that of the mean of pairs where seeds are blocks. Medians: that of Maritz and Jarrett
    (1978, JASA 73, 194-196). NaN for means among trained runs where in a cell none trained.
    """
    if primary == "median":
        parts = [(_variance_of_median(each.values), each.n - 1.0) for each in (a, b)]
        return _with_interval(float(np.median(a.values) - np.median(b.values)), parts, level)
    kept = (a, b) if primary == "trained" else (a.all_trained(), b.all_trained())
    found = Cells(dict(enumerate(kept)), Design(paired=paired)).trained({0: 1.0, 1: -1.0})
    runs = [each.trained for each in kept]
    if min(map(len, runs)) > 1 and all(map(constant, runs)):
        return _with_interval(found.value, [(0.0, sum(map(len, runs)) - 2.0)], level)
    return _with_interval(found.value, [(found.error**2, found.df)], level)


def _variance_of_median(x: NDArray[np.float64]) -> float:
    if len(x) < 2:
        return math.nan
    return 0.0 if constant(x) else float(stats.mstats.mjci(x, [0.5])[0]) ** 2


def _with_interval(estimate: float, parts: Sequence[tuple[float, float]], level: float) -> SetEffect:
    return SetEffect(student_sum(estimate, parts).interval(level), sum(variance for variance, _ in parts))


def equal_weights(differences: ArrayLike, level: float = 0.95) -> EqualWeights:
    """Return what (k,) differences, one of each set, say of sets like these, k being at least 2.

    The mean's interval is Student's. It holds its level if the differences are normal about one mean, however unequal
    their variances are (Ibragimov and Mueller 2010, Journal of Business & Economic Statistics 28, 453-468), and needs
    no variance within a set. The prediction interval is ``mean ± t sd sqrt(1 + 1 / k)``. NaN bounds where all sets have
    one difference.

    Raises:
        ValueError: if there are fewer than two.
    """
    y = _differences(differences)
    k, mean = len(y), float(np.mean(y))
    if constant(y):
        none = Interval(mean, math.nan, math.nan, level)
        return EqualWeights(none, none, 0.0)
    sd = float(y.std(ddof=1))
    of_mean, of_new = (StudentEstimate(mean, sd * math.sqrt(part), k - 1) for part in (1 / k, 1 + 1 / k))
    return EqualWeights(of_mean.interval(level), of_new.interval(level), sd)


def random_effects(differences: ArrayLike, variances: ArrayLike, level: float = 0.95) -> RandomEffects:
    """Pool (k,) differences with (k,) variances, taken as known, k being at least 2.

    The variance between sets is Paule and Mandel's (1982), the mean's interval Hartung and Knapp's (2001, Statistics in
    Medicine 20, 3875-3889) with k - 1 degrees of freedom, both by statsmodels. The prediction interval is
    ``mean ± t sqrt(spread² + se²)`` with k - 2 degrees of freedom (Higgins, Thompson and Spiegelhalter 2009, Journal of
    the Royal Statistical Society A 172, 137-159). The spread's interval is where the generalized Q statistic, which
    falls with the assumed spread, lies between its chi-squared quantiles (Viechtbauer 2007, Statistics in Medicine 26,
    37-52): both bounds are 0 where the differences are closer than the variances allow. Means and predictions have NaN
    bounds where all sets have one difference.

    Raises:
        ValueError: if there are fewer than two, or a variance is not above 0.
    """
    y, v = _differences(differences), np.asarray(variances, np.float64)
    if v.shape != y.shape or not (v > 0).all():
        raise ValueError(f"variances must be above 0, one of each set, got {v}")
    with np.errstate(divide="ignore"):  # of a share that is not used, where all differences are one
        found = combine_effects(y, v, method_re="pm", use_t=True, alpha=1 - level)
    mean, error = float(found.mean_effect_re), math.nan if constant(y) else math.sqrt(found.var_hksj_re)
    of_new = math.sqrt(found.tau2 + error**2) if len(y) > 2 else math.nan
    low, high = (
        math.sqrt(_variance_at(y, v, float(stats.chi2.ppf(share, len(y) - 1))))
        for share in ((1 + level) / 2, (1 - level) / 2)
    )
    return RandomEffects(
        mean=StudentEstimate(mean, error, len(y) - 1).interval(level),
        new=StudentEstimate(mean, of_new, len(y) - 2).interval(level),
        spread=Interval(math.sqrt(found.tau2), low, high, level),
        weights=np.asarray(found.weights_rel_re),
        q=generalized_q(y, v, 0.0),
    )


def generalized_q(differences: NDArray[np.float64], variances: NDArray[np.float64], between: float) -> float:
    """Return the weighted sum of squares about the weighted mean, the variance between sets being ``between``."""
    weights = 1 / (variances + between)
    return float(weights @ (differences - np.average(differences, weights=weights)) ** 2)


def _variance_at(y: NDArray[np.float64], v: NDArray[np.float64], wanted: float) -> float:
    """Return the variance between sets at which the generalized Q is as wanted, 0 where it is below that already."""
    if generalized_q(y, v, 0.0) <= wanted:
        return 0.0
    most = float(((y - y.mean()) ** 2).sum()) / wanted  # there Q is no more, its weights being below 1 / most
    share = optimize.brentq(lambda part: generalized_q(y, v, part * most) - wanted, 0, 1 + 1e-9, xtol=1e-14)
    return float(share) * most


def _differences(values: ArrayLike) -> NDArray[np.float64]:
    y = np.asarray(values, np.float64)
    if y.ndim != 1 or len(y) < 2 or not np.isfinite(y).all():
        raise ValueError(f"needs the finite differences of at least two sets, got {y}")
    return y
