"""Pairs of cells: how far apart they are, how sure that is, and the verdict, by rules fixed before anyone looks."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from regulens.stats.cells import LEAST_RUNS, Cells, TooFew
from regulens.stats.estimate import Estimate, IntervalEstimate
from regulens.stats.intervals import Interval
from regulens.stats.permutation import permutation_p
from regulens.stats.ranks import adjusted_by_holm
from regulens.stats.rates import RateDifference, equivalence_sensitivity, rate_sensitivity
from regulens.stats.samples import Sample
from regulens.stats.superiority import brunner_munzel_p, improvement_interval
from regulens.stats.ties import constant
from regulens.stats.verdicts import Direction, Verdict, judge

Key = TypeVar("Key", bound=Hashable)

NO_SPREAD = "neither cell has any spread, so nothing tells how far other runs would differ"


@dataclass(frozen=True, eq=False)
class Answer:
    """One of the answers that a comparison gives.

    Attributes:
        runs: of both cells, as many as it rests on.
        estimate: of the difference a - b.
        interval: at the simultaneous level.
        verdict: on a; None where the answer is exploratory and has none.
    """

    runs: tuple[int, int]
    estimate: Estimate
    interval: Interval
    verdict: Verdict | None


@dataclass(frozen=True)
class Sensitivity:
    """What difference in collapse rates would undo a verdict on the runs that trained.

    Attributes:
        difference: of the rates, a less b, at which the means of all runs are equal, or no longer within the region of
            practical equivalence; NaN where no difference of rates makes them so, or the value of a
            collapsed run is unknown.
        seen: collapsed runs and all runs, of a and of b.
        interval: of the difference of the rates, at the simultaneous level.
    """

    difference: float
    seen: tuple[tuple[int, int], tuple[int, int]]
    interval: Interval


@dataclass(frozen=True, eq=False)
class Comparison:
    """Cell a against cell b; differences are a - b.

    Attributes:
        runs: the numbers of runs of both.
        difference: of the primary estimand, with the simultaneous interval.
        unadjusted: the same with its own 95 % interval.
        estimate: the same with bounds at any level.
        verdict: on a, by the response's direction.
        above_zero: of an equivalent pair, whether a is shown to be better (1) or worse (-1) all the same, else 0.
        trained: when it trains: the means of the runs that trained.
        rate: how often it fails to train: the collapse rates; None where collapse is not looked for.
        overall: the means of all runs, collapses among them, cell by cell.
        sensitivity: of a decided verdict on runs that trained; None elsewhere.
        improvement: the probability that a run of a is better than a run of b, with its own 95 % interval; a run that
            diverged is worse than any that did not (Lachin 1999, Controlled Clinical Trials 20, 408-422).
        effect_size: Hedges' g of the runs that trained, oriented as the difference.
        p: two-sided, of no difference of the primary estimand: the bounds inverted.
        p_holm: adjusted over the family.
        p_permutation: of the exact permutation test of all runs (of equal means), NaN where runs are many.
        p_brunner_munzel: two-sided, of no tendency to be better; NaN where no run of one cell lies among the other's.
        reason: why there is no verdict, or what keeps it open; empty if it is decided.
        more: runs of each cell that are missing for a verdict, 0 if there are enough.
    """

    runs: tuple[int, int]
    difference: Interval
    unadjusted: Interval
    estimate: Estimate
    verdict: Verdict
    above_zero: int
    trained: Answer
    rate: Answer | None
    overall: Answer
    sensitivity: Sensitivity | None
    improvement: Interval
    effect_size: float
    p: float
    p_holm: float
    p_permutation: float
    p_brunner_munzel: float
    reason: str
    more: int = 0

    @property
    def mixed(self) -> bool:
        """Whether the answers contradict each other: better when it trains, but shown to train less often; or worse."""
        if self.rate is None or self.rate.verdict is None:
            return False
        against = {"better": "worse", "worse": "better"}.get(self.verdict.partition(" ")[0])
        return against is not None and self.rate.verdict.startswith(against)

    @property
    def word(self) -> str:
        """The verdict as tables print it: the token, marked where it is only half of the story."""
        if self.mixed:
            return f"mixed: {self.verdict}"
        side = "above" if self.difference.estimate > 0 else "below"
        return f"equivalent, {side} zero" if self.above_zero else self.verdict


def compare(pairs: Sequence[tuple[Key, Key]], cells: Cells[Key], family: int | None = None) -> list[Comparison]:
    """Compare the pairs of one family: all comparisons of one response that were declared beforehand.

    Each comparison has two answers where collapse is looked for: how good when it trains (or the declared estimand),
    and how often it trains. All of the family hold together: each of m errs by at most alpha / m (Bonferroni).

    Args:
        pairs: (a, b) each.
        cells: all cells of the analysis.
        family: how many comparisons were declared, if some of them cannot be made.
    """
    members = len(pairs) if family is None else family
    compared = [_compare(a, b, cells, cells.design.alpha_of_one(members)) for a, b in pairs]
    of_rates = [each.rate.estimate.p for each in compared if each.rate is not None]
    tested = [number for number, each in enumerate(compared) if not math.isnan(each.p)]
    if tested:
        untested = [1.0] * (cells.design.answers * members - len(tested) - len(of_rates))
        p_values = [*(compared[number].p for number in tested), *of_rates, *untested]
        adjusted = adjusted_by_holm(p_values)
        for number, p_holm in zip(tested, adjusted, strict=False):
            compared[number] = replace(compared[number], p_holm=float(p_holm))
    return compared


def _compare(a: Key, b: Key, cells: Cells[Key], alpha: float) -> Comparison:
    design, level, weights = cells.design, 1 - alpha, {a: 1.0, b: -1.0}
    first, second = cells.samples[a], cells.samples[b]
    estimate, trained = cells.primary(weights), cells.trained(weights)
    few = cells.too_few(weights, alpha)
    verdict = _verdict(estimate, few, cells, (a, b), alpha)
    filled = first.filled(cells.diverged_value), second.filled(cells.diverged_value)
    rate = _rate(first, second, design.rope_rate, alpha) if design.rates else None
    is_trained, is_mean = design.primary == "trained", design.primary == "mean"
    overall = cells.overall(weights)
    trained_runs = len(first.trained), len(second.trained)
    return Comparison(
        runs=(first.n, second.n),
        difference=estimate.interval(level),
        unadjusted=estimate.interval(0.95),
        estimate=estimate,
        verdict=verdict,
        above_zero=_sign(few.doubted if few and few.doubted else estimate, alpha, design.direction)
        if verdict == "equivalent"
        else 0,
        trained=Answer(trained_runs, trained, trained.interval(level), verdict if is_trained else None),
        rate=rate,
        overall=Answer((first.n, second.n), overall, overall.interval(level), verdict if is_mean else None),
        sensitivity=_sensitivity(first, second, cells, verdict, rate)
        if is_trained and rate is not None and verdict not in {"undecided", "too few runs"}
        else None,
        improvement=_improvement(first, second, design.direction),
        effect_size=hedges_g(first.trained, second.trained),
        p=estimate.p,
        p_holm=math.nan,
        p_permutation=_permutation(a, b, cells),
        p_brunner_munzel=brunner_munzel_p(*filled) if not np.isnan(np.concatenate(filled)).any() else math.nan,
        reason=few.reason
        if few and verdict == "too few runs"
        else _why_open(verdict, estimate, cells, (first, second)),
        more=few.more if few and verdict == "too few runs" else 0,
    )


def _verdict(estimate: Estimate, few: TooFew | None, cells: Cells[Key], pair: tuple[Key, Key], alpha: float) -> Verdict:
    if few is not None and few.doubted is None:
        return "too few runs"
    if estimate.known and math.isnan(estimate.lower(alpha / 2)):
        return "too few runs"
    doubted = few.doubted if few is not None and few.doubted is not None else estimate
    verdict = judge(doubted, cells.design.rope, alpha, cells.design.direction, cells.rounding(pair))
    return "too few runs" if few is not None and verdict == "undecided" and estimate.known else verdict


def _sign(estimate: Estimate, alpha: float, direction: Direction) -> int:
    """Return 1 where an estimate is shown to be better than zero, -1 where worse, 0 elsewhere."""
    side = 1 if direction == "higher" else -1
    return side * (int(estimate.lower(alpha / 2) > 0) - int(estimate.upper(alpha / 2) < 0))


def _rate(a: Sample, b: Sample, rope: float, alpha: float) -> Answer:
    """Answer how often runs fail to train: fewer failures are better."""
    exact = RateDifference(a.collapses, a.n, b.collapses, b.n)
    difference = IntervalEstimate(exact.value, exact.interval, (-1.0, 1.0), exact.p)
    verdict: Verdict = "too few runs" if min(a.n, b.n) < LEAST_RUNS else judge(difference, rope, alpha, "lower")
    return Answer((a.n, b.n), difference, difference.interval(1 - alpha), verdict)


def _sensitivity(a: Sample, b: Sample, cells: Cells[Key], verdict: Verdict, rate: Answer) -> Sensitivity:
    """Return the difference of collapse rates at which the means of all runs are equal, or no longer equivalent."""
    failed = math.nan if cells.collapse is None else cells.collapse.mean
    if verdict == "equivalent":
        means, rates = (float(a.trained.mean()), float(b.trained.mean())), (a.collapses / a.n, b.collapses / b.n)
        undone = equivalence_sensitivity(means, rates, failed, cells.design.rope)
    else:
        undone = -_undoing(b, a, failed) if verdict.startswith("worse") else _undoing(a, b, failed)
    return Sensitivity(undone, ((a.collapses, a.n), (b.collapses, b.n)), rate.interval)


def _undoing(better: Sample, other: Sample, failed: float) -> float:
    """Return the difference of rates that takes from the better when it trains what it is better by."""
    mean = float(better.trained.mean())
    return rate_sensitivity(mean - float(other.trained.mean()), mean, other.collapses / other.n, failed)


def _improvement(a: Sample, b: Sample, direction: Direction) -> Interval:
    """Return P(better) of a over b: the worst rank is that of runs without a value."""
    sign = 1.0 if direction == "higher" else -1.0
    known = np.concatenate([each.values[~each.diverged] for each in (a, b)])
    worst = (sign * known).min() - 1.0 if len(known) else 0.0
    first, second = (np.where(each.diverged, worst, sign * each.values) for each in (a, b))
    return improvement_interval(first, second, 0.95)


def _permutation(a: Key, b: Key, cells: Cells[Key]) -> float:
    first, second = cells.samples[a], cells.samples[b]
    if first.diverged.any() or second.diverged.any():
        return math.nan
    if not cells.design.paired:
        return permutation_p(first.values, second.values)
    seeds, of_a, of_b = np.intersect1d(first.seeds, second.seeds, return_indices=True)
    return permutation_p(first.values[of_a], second.values[of_b], paired=True) if len(seeds) else math.nan


def _why_open(verdict: Verdict, estimate: Estimate, cells: Cells[Key], pair: tuple[Sample, Sample]) -> str:
    if verdict in {"better", "worse", "equivalent"}:
        return ""
    if verdict == "too few runs":
        return "there are too few runs for an interval at this level"
    if not estimate.known:
        every = np.concatenate([each.values[~each.diverged] for each in pair])
        if cells.design.primary != "trained" and any(np.isnan(x.filled(cells.diverged_value)).any() for x in pair):
            return "some runs diverged, and the value to count them with is unknown"
        spread = all(constant(each.trained) for each in pair if len(each.trained))
        return NO_SPREAD if spread and len(every) else "there are too few runs for an interval"
    if verdict != "undecided":
        return "the interval excludes zero and extends on both sides of the edge of the equivalence margin"
    return "the interval extends beyond the equivalence margin" if cells.design.rope else "the interval includes zero"


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
