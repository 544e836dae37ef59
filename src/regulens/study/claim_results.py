"""What became of claims, of a study or of results from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from regulens.stats.cells import Cells
from regulens.stats.claims import JudgedClaim, Part, Relation
from regulens.stats.power import SeedsNeeded
from regulens.study.claims import DeclaredClaim
from regulens.study.contrasts import Contrast, Key

UNSETTLED = frozenset(("undecided", "too few runs"))
"""Verdicts on claims that more seeds may change."""


@dataclass(frozen=True)
class AnsweredClaim:
    """A claim with its verdict.

    Attributes:
        claim: as declared.
        judged: its verdict and parts; ``None`` where it is not testable in this study.
        reason: why it is not, and what would test it.
        seeds: what an undecided claim needs, ``None`` where it is decided or its parts are too few to tell.
        parts: what it was judged by, for intervals of other levels.
    """

    claim: DeclaredClaim
    judged: JudgedClaim | None
    reason: str = ""
    seeds: SeedsNeeded | None = None
    parts: tuple[Part, ...] = ()


def part_of(each: Contrast[Key, Any], cells: Cells[Key], alpha: float) -> Part:
    """Return a contrast as a part of a claim that may err by ``alpha``, estimated as it was declared."""
    relation: Relation = "equal" if each.sense == "equal" else "greater"
    few, over = cells.too_few(each.weights, alpha), cells.over(each.weights)
    return Part(each.label, cells.primary(each.weights), each.rope, relation, cells.rounding(each.weights), few, over)
