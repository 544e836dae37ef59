"""Claims: what supports and what speaks against them, by hand, and how often a family of them errs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from regulens.stats.cells import TooFew
from regulens.stats.claims import ClaimVerdict, Part, Relation, conclude, judge_claim
from regulens.stats.estimate import IntervalEstimate, StudentEstimate
from regulens.stats.intervals import Interval


def fixed(low: float, high: float, rope: float = 0.0, relation: Relation = "greater") -> Part:
    """A part whose bounds are the same at every level."""
    middle = (low + high) / 2
    return Part("a part", IntervalEstimate(middle, lambda level: Interval(middle, low, high, level)), rope, relation)


@pytest.mark.parametrize(
    ("low", "high", "rope", "relation", "expected"),
    [
        (0.01, 0.02, 0.005, "greater", "supported"),
        (0.001, 0.02, 0.005, "greater", "undecided"),
        (0.001, 0.004, 0.005, "greater", "true, smaller than the ROPE"),
        (-0.001, 0.004, 0.005, "greater", "smaller than the ROPE"),
        (-0.02, -0.01, 0.005, "greater", "refuted"),
        (-0.004, -0.001, 0.005, "greater", "refuted"),
        (0.001, 0.002, 0.0, "greater", "supported"),
        (-0.001, 0.002, 0.0, "greater", "undecided"),
        (-0.002, -0.001, 0.0, "greater", "refuted"),
        (-0.002, 0.002, 0.005, "equal", "supported"),
        (-0.002, 0.007, 0.005, "equal", "undecided"),
        (0.006, 0.007, 0.005, "equal", "refuted"),
        (-0.007, -0.006, 0.005, "equal", "refuted"),
        (math.nan, math.nan, 0.005, "greater", "undecided"),
        (math.nan, math.nan, 0.005, "equal", "undecided"),
    ],
)
def test_the_bounds_decide(low: float, high: float, rope: float, relation: Relation, expected: str) -> None:
    assert judge_claim([fixed(low, high, rope, relation)], claims=1).verdict == expected


@pytest.mark.parametrize("rope", [0.0, 1.0])
@pytest.mark.parametrize("claims", [1, 4])
@pytest.mark.parametrize("value", [-6.0, -2.6, -1.0, 0.0, 2.2, 2.6, 3.2, 6.0])
def test_parts_are_tested_by_hand_with_one_level_for_and_a_shared_one_against(
    value: float, claims: int, rope: float
) -> None:
    """Two parts of Student's t with 8 degrees of freedom, one of them beyond doubt."""
    t = stats.t(8)
    each = 0.05 / claims
    certain = Part("", StudentEstimate(50.0, 1.0, 8.0), rope)
    found = judge_claim([certain, Part("", StudentEstimate(value, 1.0, 8.0), rope)], claims)
    expected: str = "undecided"
    if t.sf(value - rope) < (each if rope else each / 2):
        expected = "supported"
    elif t.cdf(value) < each / 2 / 2:
        expected = "refuted"
    elif rope and t.cdf(value - rope) < each / 2:
        expected = "true, smaller than the ROPE" if t.sf(value) < each / 4 else "smaller than the ROPE"
    assert found.verdict == expected
    assert found.parts[1].interval.level == pytest.approx(1 - each)


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


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["supported", "true, smaller than the ROPE"], "true, smaller than the ROPE"),
        (["supported", "smaller than the ROPE", "too few runs"], "smaller than the ROPE"),
        (["supported", "too few runs"], "too few runs"),
        (["undecided", "true, smaller than the ROPE"], "undecided"),
        (["refuted", "too few runs"], "refuted"),
    ],
)
def test_the_weakest_part_is_the_claims(verdicts: list[ClaimVerdict], expected: str) -> None:
    assert conclude(verdicts) == expected


def test_a_part_of_too_few_runs_is_not_judged_unless_it_is_beyond_doubt() -> None:
    far = StudentEstimate(20.0, 1.0, 8.0)
    near = StudentEstimate(4.0, 1.0, 8.0)
    verdicts = [
        judge_claim([Part("", estimate, 0.0, few=few)], claims=1).verdict
        for doubted in (False, True)
        for estimate in (far, near)
        for few in [TooFew("the runs look skewed", 7, estimate.stretched(3.0) if doubted else None)]
    ]
    assert verdicts == ["too few runs", "too few runs", "supported", "too few runs"]


def test_no_parts_are_no_claim() -> None:
    with pytest.raises(ValueError, match="a part"):
        judge_claim([], claims=1)


def drawn(rng: np.random.Generator, truth: float) -> StudentEstimate:
    x = truth + rng.standard_normal(8)
    return StudentEstimate(float(x.mean()), float(stats.sem(x)), 7.0)


@pytest.mark.parametrize("rope", [0.0, 0.5])
def test_false_claims_are_supported_and_true_ones_refuted_in_at_most_a_twentieth(rope: float) -> None:
    """Parts on the edge of being true: one beside one that holds, and two of them."""
    rng, rounds = np.random.default_rng(0), 1200
    supported = against = 0
    for _ in range(rounds):
        parts = [Part("", drawn(rng, truth), rope) for truth in (9.0, rope)]
        supported += judge_claim(parts, claims=1).verdict == "supported"
        edge = [Part("", drawn(rng, rope + 1e-9), rope) for _ in range(2)]
        against += judge_claim(edge, claims=1).verdict in {
            "refuted", "smaller than the ROPE", "true, smaller than the ROPE"
        }  # fmt: skip
    allowed = 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)
    assert supported / rounds <= allowed
    assert against / rounds <= allowed
