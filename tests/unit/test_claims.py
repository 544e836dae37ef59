"""Claims: what supports and what refutes, and how often a family of them errs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from regulens.stats.claims import Part, judge_claim, refutes, supports
from regulens.stats.intervals import Interval, mean_interval


def fixed(low: float, high: float, rope: float = 0.0, relation: str = "greater") -> Part:
    return Part("a part", lambda level: Interval((low + high) / 2, low, high, level), rope, relation)


@pytest.mark.parametrize(
    ("low", "high", "rope", "relation", "expected"),
    [
        (0.01, 0.02, 0.005, "greater", "supported"),
        (0.001, 0.02, 0.005, "greater", "undecided"),
        (0.001, 0.004, 0.005, "greater", "refuted"),
        (-0.02, -0.01, 0.005, "greater", "refuted"),
        (0.001, 0.002, 0.0, "greater", "supported"),
        (-0.001, 0.002, 0.0, "greater", "undecided"),
        (-0.002, 0.002, 0.005, "equal", "supported"),
        (-0.002, 0.007, 0.005, "equal", "undecided"),
        (0.006, 0.007, 0.005, "equal", "refuted"),
        (-0.007, -0.006, 0.005, "equal", "refuted"),
        (math.nan, math.nan, 0.005, "greater", "undecided"),
        (math.nan, math.nan, 0.005, "equal", "undecided"),
    ],
)
def test_the_interval_decides(low: float, high: float, rope: float, relation: str, expected: str) -> None:
    assert judge_claim([fixed(low, high, rope, relation)], claims=1).verdict == expected
    interval = Interval((low + high) / 2, low, high, 0.95)
    assert not (supports(interval, rope, relation) and refutes(interval, rope, relation))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(0.1, 0.2), (0.1, 0.3)], "supported"),
        ([(0.1, 0.2), (-0.1, 0.3)], "undecided"),
        ([(0.1, 0.2), (-0.3, -0.1)], "refuted"),
        ([(-0.1, 0.2), (-0.3, -0.1)], "refuted"),
    ],
)
def test_one_part_refutes_and_all_support(parts: Sequence[tuple[float, float]], expected: str) -> None:
    assert judge_claim([fixed(*part) for part in parts], claims=3).verdict == expected


def test_parts_share_the_error_of_refuting_and_not_that_of_supporting() -> None:
    asked: list[float] = []

    def interval(level: float) -> Interval:
        asked.append(level)
        return Interval(0, -1, 1, level)

    judge_claim([Part("", interval, 0.0)] * 2, claims=5)
    assert sorted(set(asked)) == pytest.approx([1 - 0.05 / 5, 1 - 0.05 / 10])


def test_no_parts_are_no_claim() -> None:
    with pytest.raises(ValueError, match="a part"):
        judge_claim([], claims=1)


def test_false_claims_are_supported_and_true_ones_refuted_in_at_most_a_fortieth_each() -> None:
    """Two parts: one true, the other on the edge of being false (or of being true)."""
    rng, rounds = np.random.default_rng(0), 2000
    supported = refuted = 0
    for _ in range(rounds):
        x, y = rng.standard_normal((2, 8))
        parts = [Part("", lambda level, v=values: mean_interval(v, level), 0.0) for values in (x + 9, y)]
        supported += judge_claim(parts, claims=1).verdict == "supported"
        both_on_the_edge = [Part("", lambda level, v=values: mean_interval(v, level), 0.0) for values in (x, y)]
        refuted += judge_claim(both_on_the_edge, claims=1).verdict == "refuted"
    allowed = 0.025 + 3 * math.sqrt(0.025 * 0.975 / rounds)
    assert supported / rounds <= allowed
    assert refuted / rounds <= allowed
