"""An estimate with its uncertainty: a bound at any error rate, a two-sided interval, and p."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from scipy.optimize import brentq
from scipy.special import stdtr, stdtrit

from regulens.stats.intervals import Interval, welch_df

_LEAST_P = 1e-15


class Estimate(ABC):
    """What is known of one number: everything that a verdict on it may depend on."""

    value: float

    @abstractmethod
    def lower(self, alpha: float) -> float:
        """Return the lower confidence bound of one-sided error ``alpha``, NaN where there is none."""

    @abstractmethod
    def upper(self, alpha: float) -> float:
        """Return the upper confidence bound of one-sided error ``alpha``, NaN where there is none."""

    @property
    @abstractmethod
    def error(self) -> float:
        """The standard error, or a substitute for it."""

    @property
    @abstractmethod
    def df(self) -> float:
        """Its degrees of freedom, infinite where the error is assumed to be known."""

    @property
    @abstractmethod
    def p(self) -> float:
        """The two-sided p of zero, from the bounds inverted: both exclude zero at ``p / 2`` each."""

    def interval(self, level: float) -> Interval:
        """Return the two-sided interval with equal tails."""
        tail = (1 - level) / 2
        return Interval(self.value, self.lower(tail), self.upper(tail), level)

    @abstractmethod
    def stretched(self, factor: float) -> Estimate:
        """Return the estimate with bounds at least so many times as far from it as symmetric ones, on both sides."""

    @property
    def known(self) -> bool:
        """Whether there are bounds at all."""
        return not math.isnan(self.lower(0.25))


@dataclass(frozen=True)
class StudentEstimate(Estimate):
    """A sum of means with Student's bounds, stretched on the side to which skewness pulls.

    Attributes:
        value: the estimate.
        standard_error: NaN where there are too few runs; 0 where nothing varies, which leaves no bounds.
        freedom: degrees of freedom of the standard error.
        stretch: factors of the distance of the lower and of the upper bound (``shape.Shape.stretch``).
        limits: what the quantity can be: no bound lies beyond.
    """

    value: float
    standard_error: float
    freedom: float
    stretch: tuple[float, float] = (1.0, 1.0)
    limits: tuple[float, float] = (-math.inf, math.inf)

    def lower(self, alpha: float) -> float:
        """Return the lower confidence bound of one-sided error ``alpha``: Student's, stretched."""
        return self._within(self.value - self._distance(alpha) * self.stretch[0])

    def upper(self, alpha: float) -> float:
        """Return the upper confidence bound of one-sided error ``alpha``: Student's, stretched."""
        return self._within(self.value + self._distance(alpha) * self.stretch[1])

    @property
    def error(self) -> float:
        """The standard error."""
        return self.standard_error

    @property
    def df(self) -> float:
        """Its degrees of freedom."""
        return self.freedom

    @property
    def p(self) -> float:
        """The two-sided p of zero, by Student's distribution."""
        if not self.standard_error > 0:
            return math.nan
        side = self.stretch[0] if self.value > 0 else self.stretch[1]
        return min(1.0, 2 * float(stdtr(self.freedom, -abs(self.value) / (self.standard_error * side))))

    def stretched(self, factor: float) -> StudentEstimate:
        """Return the estimate with both stretches at least ``factor``."""
        low, high = self.stretch
        return replace(self, stretch=(max(factor, low), max(factor, high)))

    def _distance(self, alpha: float) -> float:
        return float(stdtrit(self.freedom, 1 - alpha)) * self.standard_error if self.standard_error > 0 else math.nan

    def _within(self, bound: float) -> float:
        return min(max(bound, self.limits[0]), self.limits[1]) if not math.isnan(bound) else bound


def student_sum(
    value: float, parts: Sequence[tuple[float, float]], limits: tuple[float, float] = (-math.inf, math.inf)
) -> StudentEstimate:
    """Return the estimate whose variance is a sum of parts, with Welch and Satterthwaite's degrees of freedom.

    Args:
        value: the estimate.
        parts: (variance, degrees of freedom) each; a part may be negative, as of a component that is counted twice.
        limits: what the quantity can be.

    Returns:
        Without bounds where the variance is unknown, or not above zero.
    """
    variance = sum(part for part, _ in parts)
    if not variance > 0:
        return StudentEstimate(value, math.nan, math.nan, limits=limits)
    df = welch_df([part for part, _ in parts], [freedom for _, freedom in parts])
    return StudentEstimate(value, math.sqrt(variance), df, limits=limits)


@dataclass(frozen=True, eq=False)
class IntervalEstimate(Estimate):
    """An estimate whose two-sided intervals are made by a rule of their own, such as MOVER.

    Attributes:
        value: the estimate.
        rule: level -> interval.
        limits: what the quantity can be.
        exact_p: two-sided, where it is had otherwise than by inverting the rule.
    """

    value: float
    rule: Callable[[float], Interval]
    limits: tuple[float, float] = (-math.inf, math.inf)
    exact_p: float | None = None

    def lower(self, alpha: float) -> float:
        """Return the lower bound that the rule has at a two-sided level of ``1 - 2 alpha``."""
        return self.rule(1 - 2 * alpha).within(self.limits).low

    def upper(self, alpha: float) -> float:
        """Return the upper bound that the rule has at a two-sided level of ``1 - 2 alpha``."""
        return self.rule(1 - 2 * alpha).within(self.limits).high

    @property
    def error(self) -> float:
        """A quarter of the 95 % interval, about the standard error where the estimate is about normal."""
        found = self.rule(0.95)
        return (found.high - found.low) / 4

    @property
    def df(self) -> float:
        """Infinite: the rule has none."""
        return math.inf

    @property
    def p(self) -> float:
        """The two-sided p of zero: exact where it is given, else the rule inverted."""
        if self.exact_p is not None or not self.known:
            return math.nan if self.exact_p is None else self.exact_p

        def beyond(exponent: float) -> float:
            found = self.rule(1 - 10**exponent)
            bound = found.low if self.value > 0 else -found.high
            if math.isnan(bound):
                return -1e9  # without a bound nothing is excluded
            return bound if bound > 0 else bound - abs(self.value)  # nor by one that is zero, as of tied values

        most, least = -1e-9, math.log10(_LEAST_P)
        if self.value == 0 or beyond(most) <= 0:
            return 1.0
        return 10.0 ** brentq(beyond, least, most, xtol=1e-4) if beyond(least) <= 0 else _LEAST_P

    def stretched(self, factor: float) -> IntervalEstimate:
        """Return the estimate with bounds ``factor`` times as far away."""

        def rule(level: float) -> Interval:
            found = self.rule(level)
            low, high = (self.value + factor * (bound - self.value) for bound in (found.low, found.high))
            return Interval(self.value, low, high, level)

        return replace(self, rule=rule)


def negative(estimate: Estimate) -> Estimate:
    """Return the estimate of the same quantity with its sign turned."""
    if isinstance(estimate, StudentEstimate):
        low, high = estimate.limits
        return StudentEstimate(
            -estimate.value, estimate.standard_error, estimate.freedom, estimate.stretch[::-1], (-high, -low)
        )
    return IntervalEstimate(-estimate.value, lambda level: -Interval(estimate.value, *_ends(estimate, level), level))


def _ends(estimate: Estimate, level: float) -> tuple[float, float]:
    return estimate.lower((1 - level) / 2), estimate.upper((1 - level) / 2)
