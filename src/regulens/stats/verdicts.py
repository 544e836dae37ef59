"""What an estimate of a difference says of it: one of seven words, by a rule fixed before anyone looks."""

from __future__ import annotations

from typing import Literal

from scipy.optimize import brentq
from scipy.special import stdtr, stdtrit

from regulens.stats.estimate import Estimate, negative

Direction = Literal["higher", "lower"]
Verdict = Literal[
    "better", "worse", "equivalent", "better (size open)", "worse (size open)", "undecided", "too few runs"
]
"""In the order in which they are looked for, the last first."""

DECIDED: frozenset[Verdict] = frozenset(("better", "worse", "equivalent"))
"""What more runs are not needed for."""
OPEN: frozenset[Verdict] = frozenset(("undecided", "too few runs"))
"""Nothing is shown, not even a direction."""


def judge(
    difference: Estimate, rope: float, alpha: float, direction: Direction = "higher", rounding: float = 0.0
) -> Verdict:
    """Return the verdict on a difference a - b; false ones have a probability of at most ``alpha``.

    The line is parted into worse, equivalent and better, of which one alone is true, so each may be tested at
    ``alpha`` without a correction for the others (Goeman, Solari and Stijnen 2010, Statistics in Medicine 29,
    3117-3126): ``equivalent`` by one-sided bounds of error alpha, ``better`` and ``worse`` beyond the region of
    practical equivalence by bounds of error ``edge_alpha``, their direction alone (``size open``, and all where the
    region has no width) by bounds of error alpha / 2 each.

    Args:
        difference: a - b.
        rope: half-width of the region of practical equivalence.
        alpha: of this one verdict: the family's, divided by its members.
        direction: whether a higher or a lower response is better.
        rounding: a bound that is no further from an edge than this is on neither side of it.
    """
    oriented = difference if direction == "higher" else negative(difference)
    if not oriented.known:
        return "undecided"
    edge = edge_alpha(alpha, rope, oriented)
    if oriented.lower(edge) > rope + rounding:
        return "better"
    if oriented.upper(edge) < -rope - rounding:
        return "worse"
    if oriented.lower(alpha) > -rope + rounding and oriented.upper(alpha) < rope - rounding:
        return "equivalent"
    if oriented.lower(alpha / 2) > rounding:
        return "better (size open)"
    return "worse (size open)" if oriented.upper(alpha / 2) < -rounding else "undecided"


def edge_alpha(alpha: float, rope: float, difference: Estimate) -> float:
    """Return the one-sided error of the bound that must lie beyond the edge of the region of practical equivalence.

    At a true difference of just ``rope`` there are two ways to err: ``better``, and beyond the other side ``worse``, or
    below zero ``worse (size open)``. Their probabilities add up to alpha where the critical value c solves
    ``P(T < -c) + P(T < -min(c + 2 r, c_0 + r)) = alpha``, r being the region in standard errors and c_0 the critical
    value at zero. With a wide region that is the one-sided value of alpha, without any the two-sided one.
    """
    error, df = difference.error, difference.df
    if rope == 0 or not error > 0:
        return alpha / 2
    width = rope / error
    at_zero = float(stdtrit(df, 1 - alpha / 2)) + width

    def excess(one_sided: float) -> float:
        other = min(float(stdtrit(df, 1 - one_sided)) + 2 * width, at_zero)
        return one_sided + float(stdtr(df, -other)) - alpha

    return (
        float(brentq(excess, alpha / 2, alpha, xtol=1e-9))
        if excess(alpha) > 0 > excess(alpha / 2)
        else (alpha if excess(alpha) <= 0 else alpha / 2)
    )
