"""Claims: statements fixed beforehand, each made of parts that must all hold, judged as a family of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from regulens.stats.cells import TooFew
from regulens.stats.design import Population
from regulens.stats.estimate import Estimate
from regulens.stats.intervals import Interval
from regulens.stats.verdicts import edge_alpha

Relation = Literal["greater", "equal"]
ClaimVerdict = Literal[
    "supported", "refuted", "true, smaller than the ROPE", "smaller than the ROPE", "undecided", "too few runs"
]
"""``smaller than the ROPE``: of a claimed difference, that it is of no practical size; ``true`` if above zero."""


@dataclass(frozen=True, eq=False)
class Part:
    """One difference that a claim is made of.

    Attributes:
        text: what is compared with what, and where.
        estimate: of the difference, oriented so that the claim wants it positive.
        rope: half-width of the region of practical equivalence, in the difference's unit.
        relation: whether the claim wants it ``greater`` than the region, or inside it (``equal``).
        rounding: a bound that is no further than this from an edge is on neither side of it.
        few: why there are too few runs to judge it; None if there are enough.
        over: what another study would draw anew.
    """

    text: str
    estimate: Estimate
    rope: float
    relation: Relation = "greater"
    rounding: float = 0.0
    few: TooFew | None = None
    over: tuple[Population, ...] = ("seeds",)


@dataclass(frozen=True)
class JudgedPart:
    """A part with its two-sided interval at the level of one claim, and what it says by itself."""

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

    It is supported if every part is, each at an error of alpha / claims: a conjunction needs no more (the
    intersection-union test, Berger 1982, Technometrics 24, 295-300). Anything against it may come from any one of the
    parts: then these are several chances to err, and each is held to alpha / (claims * parts).

    Raises:
        ValueError: if there are no parts.
    """
    if not parts:
        raise ValueError("a claim must have a part")
    each = alpha / claims
    judged = tuple(
        JudgedPart(part.text, part.estimate.interval(1 - each), judge_part(part, each, each / len(parts)))
        for part in parts
    )
    return JudgedClaim(conclude([part.verdict for part in judged]), judged)


def judge_part(part: Part, for_it: float, against: float) -> ClaimVerdict:
    """Return what one part says.

    As with ``verdicts.judge`` the line is parted, below zero, up to the edge of the region of practical equivalence,
    and beyond, and each is tested by itself.

    Args:
        part: the difference.
        for_it: the error at which it is supported.
        against: the error of anything else that is said of it.
    """
    few = part.few
    if few is not None and few.doubted is None:
        return "too few runs"
    if not part.estimate.known:
        return "undecided"
    doubted = part if few is None or few.doubted is None else replace(part, estimate=few.doubted)
    judge = _equal if part.relation == "equal" else _greater
    verdict = judge(doubted, for_it, against)
    return "too few runs" if few is not None and verdict == "undecided" else verdict


def _greater(part: Part, for_it: float, against: float) -> ClaimVerdict:
    """Judge a difference that is claimed to lie beyond the region; one of no width has zero for its edge."""
    estimate, rope, rounding = part.estimate, part.rope, part.rounding
    if estimate.lower(for_it if rope else for_it / 2) > rope + rounding:
        return "supported"
    if estimate.upper(against / 2) < -rounding:
        return "refuted"
    if rope and estimate.upper(against) < rope - rounding:
        return "true, smaller than the ROPE" if estimate.lower(against / 2) > rounding else "smaller than the ROPE"
    return "undecided"


def _equal(part: Part, for_it: float, against: float) -> ClaimVerdict:
    """Judge a difference that is claimed to lie inside the region."""
    estimate, rope, rounding = part.estimate, part.rope, part.rounding
    if estimate.lower(for_it) > -rope + rounding and estimate.upper(for_it) < rope - rounding:
        return "supported"
    edge = edge_alpha(against, rope, estimate)
    beyond = estimate.lower(edge) > rope + rounding or estimate.upper(edge) < -rope - rounding
    return "refuted" if beyond else "undecided"


def conclude(verdicts: Sequence[ClaimVerdict]) -> ClaimVerdict:
    """Return the verdict on a claim from those on its parts: one against it is enough, all must be for it."""
    among = set(verdicts)
    for against in ("refuted", "smaller than the ROPE"):
        if against in among:
            return against
    for unsettled in ("too few runs", "undecided"):
        if unsettled in among:
            return unsettled
    return "supported" if among == {"supported"} else "true, smaller than the ROPE"
