"""Claims: statements fixed beforehand, each made of parts that must all hold, judged as a family of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from regulens.stats.intervals import Interval

Relation = Literal["greater", "equal"]
ClaimVerdict = Literal["supported", "refuted", "undecided"]


@dataclass(frozen=True, eq=False)
class Part:
    """One difference that a claim is made of.

    Attributes:
        text: what is compared with what, and where.
        interval: the difference, oriented so that the claim wants it positive, at a given level.
        rope: half-width of the region of practical equivalence, in the difference's unit.
        relation: whether the claim wants it ``greater`` than the region, or inside it (``equal``).
        rounding: a bound that is no further than this from an edge is on neither side of it.
    """

    text: str
    interval: Callable[[float], Interval]
    rope: float
    relation: Relation = "greater"
    rounding: float = 0.0


@dataclass(frozen=True)
class JudgedPart:
    """A part with its interval at the level that supports, and what it says by itself."""

    text: str
    interval: Interval
    verdict: ClaimVerdict


@dataclass(frozen=True)
class JudgedClaim:
    """A claim's verdict and the parts behind it."""

    verdict: ClaimVerdict
    parts: tuple[JudgedPart, ...]


def judge_claim(parts: Sequence[Part], claims: int, alpha: float = 0.05) -> JudgedClaim:
    """Judge a claim that holds if all its parts hold, one of a family of ``claims`` that may err by ``alpha`` in all.

    It is supported if every part is, each at 1 - alpha / claims: a conjunction needs no more (the intersection-union
    test, Berger 1982, Technometrics 24, 295-300). It is refuted if one part is: then the parts are several chances to
    err, and each is held to 1 - alpha / (claims * parts).

    Raises:
        ValueError: if there are no parts.
    """
    if not parts:
        raise ValueError("a claim must have a part")
    each = alpha / claims
    judged = []
    for part in parts:
        supporting, refuting = part.interval(1 - each), part.interval(1 - each / len(parts))
        if supports(supporting, part.rope, part.relation, part.rounding):
            judged.append(JudgedPart(part.text, supporting, "supported"))
        elif refutes(refuting, part.rope, part.relation, part.rounding):
            judged.append(JudgedPart(part.text, refuting, "refuted"))
        else:
            judged.append(JudgedPart(part.text, supporting, "undecided"))
    return JudgedClaim(conclude([part.verdict for part in judged]), tuple(judged))


def conclude(verdicts: Sequence[ClaimVerdict]) -> ClaimVerdict:
    """Return what the parts come to together: refuted by one, supported by all."""
    if "refuted" in verdicts:
        return "refuted"
    return "supported" if set(verdicts) == {"supported"} else "undecided"


def supports(interval: Interval, rope: float, relation: Relation, rounding: float = 0.0) -> bool:
    """Tell whether an interval shows what is claimed: wholly above the region of equivalence, or wholly inside it."""
    if relation == "greater":
        return interval.low > rope + rounding
    return interval.low > -rope + rounding and interval.high < rope - rounding


def refutes(interval: Interval, rope: float, relation: Relation, rounding: float = 0.0) -> bool:
    """Tell whether an interval shows the contrary.

    A claimed difference is refuted by an interval that lies wholly below the region's upper edge: the difference is of
    no practical size, or goes the other way. With a region of no width the interval must lie below zero.
    """
    if relation == "greater":
        return interval.high < rope - rounding
    return interval.low > rope + rounding or interval.high < -rope - rounding
