"""A claim holds exactly where all contrasts it rests on do; what cannot be read is one line."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regulens.errors import UserError
from regulens.spec import ClaimSpec, Level, RunSpec, StudySpec
from regulens.study.claims import Contrast, DeclaredClaim, declared_claims
from regulens.study.study_file import read_study

REGULARIZERS = ["none", "l2(0.01)", "dropout(0.1)", "batchnorm"]
FACTORS: dict[str, list[Level]] = {
    "model.depth": [1, 2],
    "regularizer": [*REGULARIZERS],
    "model.filters": [8, 16],
}


def study_of(*claims: dict[str, Any], **fields: Any) -> StudySpec:
    texts = [{"id": f"claim{number}", "text": "It is so."} | claim for number, claim in enumerate(claims)]
    return StudySpec.model_validate({"name": "study", "factors": FACTORS, "claims": texts} | fields)


def only(study: StudySpec) -> DeclaredClaim:
    (claim,) = declared_claims(study)
    return claim


def sums(claim: DeclaredClaim, values: dict[tuple[int, str, int], float]) -> list[float]:
    def value(spec: RunSpec) -> float:
        return values[spec.model.depth, spec.regularizer, spec.model.filters]

    return [math.fsum(weight * value(spec) for spec, weight in each.terms) for each in claim.contrasts]


VALUES = st.fixed_dictionaries({cell: st.integers(-3, 3) for cell in itertools.product(*FACTORS.values())})


@given(VALUES)
@settings(deadline=None, max_examples=60)
def test_greater_holds_where_a_is_above_b_at_every_combination_of_the_others(values: dict[Any, float]) -> None:
    claim = only(study_of({"kind": "greater", "factor": "regularizer", "a": "batchnorm", "b": "none"}))
    expected = all(values[d, "batchnorm", f] > values[d, "none", f] for d in (1, 2) for f in (8, 16))
    assert all(total > 0 for total in sums(claim, values)) == expected
    assert len(claim.contrasts) == 4


@given(VALUES)
@settings(deadline=None, max_examples=60)
def test_a_claim_that_says_where_is_made_there_only(values: dict[Any, float]) -> None:
    claim = only(study_of({"kind": "greater", "factor": "model.depth", "a": 1, "b": 2, "where": {"model.filters": 16}}))
    expected = all(values[1, regularizer, 16] > values[2, regularizer, 16] for regularizer in REGULARIZERS)
    assert all(total > 0 for total in sums(claim, values)) == expected
    assert [each.where["model.filters"] for each in claim.contrasts] == [16] * 4


@given(VALUES, st.sampled_from(["higher", "lower", None]))
@settings(deadline=None, max_examples=60)
def test_best_is_better_than_every_other_level_everywhere(values: dict[Any, float], direction: str | None) -> None:
    claim = only(study_of({"kind": "best", "factor": "regularizer", "a": "l2(0.01)", "direction": direction}))
    sign = -1 if direction == "lower" else 1
    expected = all(
        sign * values[d, "l2(0.01)", f] > sign * values[d, other, f]
        for d in (1, 2)
        for f in (8, 16)
        for other in ("none", "dropout(0.1)", "batchnorm")
    )
    assert all(total > 0 for total in sums(claim, values)) == expected


@given(VALUES)
@settings(deadline=None, max_examples=60)
def test_an_interaction_compares_two_effects(values: dict[Any, float]) -> None:
    claim = only(
        study_of(
            {"kind": "interaction", "factor": "regularizer", "a": "dropout(0.1)", "b": "none"}
            | {"by": "model.depth", "between": [1, 2], "where": {"model.filters": 8}}
        )
    )
    at_one, at_two = (values[depth, "dropout(0.1)", 8] - values[depth, "none", 8] for depth in (1, 2))
    assert sums(claim, values) == [at_one - at_two]


@given(VALUES)
@settings(deadline=None, max_examples=60)
def test_a_reversal_is_above_zero_at_the_first_and_below_at_the_second(values: dict[Any, float]) -> None:
    claim = only(
        study_of(
            {"kind": "reversal", "factor": "model.depth", "a": 1, "b": 2}
            | {"by": "model.filters", "between": [16, 8], "where": {"regularizer": "none"}}
        )
    )
    expected = values[1, "none", 16] - values[2, "none", 16] > 0 and values[1, "none", 8] - values[2, "none", 8] < 0
    assert all(total > 0 for total in sums(claim, values)) == expected
    assert [each.where["model.filters"] for each in claim.contrasts] == [16, 8]


def test_equal_asks_for_zero_and_for_a_width() -> None:
    equal = {"kind": "equal", "factor": "model.depth", "a": 1, "b": 2}
    claim = only(study_of(equal))
    assert {each.sense for each in claim.contrasts} == {"equal"}
    assert {each.rope for each in claim.contrasts} == {0.005}
    with pytest.raises(UserError, match=r"kind = \"equal\" needs a width for val_loss; write rope = NUMBER above 0"):
        declared_claims(study_of(equal | {"response": "val_loss"}))
    assert {each.rope for each in only(study_of(equal | {"response": "val_loss", "rope": 0.1})).contrasts} == {0.1}


def test_of_several_responses_each_has_its_contrasts() -> None:
    claim = only(
        study_of({"kind": "best", "factor": "model.depth", "a": 1, "response": ["val_accuracy", "train_seconds"]})
    )
    by_response = {each.response: each for each in claim.contrasts}
    assert [weight for _, weight in by_response["val_accuracy"].terms] == [1, -1]
    assert [spec.model.depth for spec, _ in by_response["val_accuracy"].terms] == [1, 2]
    assert [spec.model.depth for spec, _ in by_response["train_seconds"].terms] == [2, 1]  # lower is better
    assert (by_response["val_accuracy"].rope, by_response["train_seconds"].rope) == (0.005, 0.0)


def test_the_analysis_gives_what_a_claim_leaves_out() -> None:
    analysis = {"response": "gap", "factor": "model.depth", "rope": 0.02, "direction": "higher"}
    claim = only(study_of({"kind": "best", "a": 2}, analysis=analysis))
    first = claim.contrasts[0]
    assert (first.response, first.rope) == ("gap", 0.02)
    assert [spec.model.depth for spec, _ in first.terms] == [2, 1]


def test_levels_are_known_by_their_value_not_their_spelling() -> None:
    claim = only(study_of({"kind": "greater", "factor": "regularizer", "a": "l2(1e-2)", "b": " none "}))
    assert {spec.regularizer for each in claim.contrasts for spec, _ in each.terms} == {"l2(0.01)", "none"}


def test_contrasts_are_labelled_by_what_they_compare_and_where() -> None:
    labels = [
        [each.label for each in claim.contrasts]
        for claim in declared_claims(
            study_of(
                {"kind": "greater", "factor": "regularizer", "a": "batchnorm", "b": "none"}
                | {"where": {"model.filters": 8}},
                {"kind": "interaction", "factor": "regularizer", "a": "batchnorm", "b": "none"}
                | {"by": "model.depth", "between": [1, 2], "where": {"model.filters": 8}},
            )
        )
    ]
    assert labels == [
        ["batchnorm against none, depth 1, filters 8", "batchnorm against none, depth 2, filters 8"],
        ["batchnorm against none, at depth 1 against depth 2, filters 8"],
    ]


ELSEWHERE = {"kind": "reversal", "factor": "model.depth", "a": 1, "b": 2, "by": "model.dense", "between": [80, 160]}


def test_a_claim_for_another_study_says_why_it_cannot_be_tested_here() -> None:
    claim = only(study_of(ELSEWHERE | {"needs": "regulens run wide"}))
    assert claim.contrasts == ()
    assert claim.reason == "model.dense is not a factor of this study"
    level = {"kind": "greater", "factor": "model.depth", "a": 1, "b": 3, "needs": "regulens run deep"}
    assert only(study_of(level)).reason == "b = 3 is not a level of model.depth"


def test_the_same_claim_is_tested_where_it_can_be() -> None:
    claim = ELSEWHERE | {"id": "wide", "text": "It flips.", "needs": "regulens run wide"}
    there = study_of(claim, factors=FACTORS | {"model.dense": [80, 160]})
    assert (only(there).reason, len(only(there).contrasts)) == ("", 2 * 4 * 2)


@pytest.mark.parametrize(
    ("claim", "fragments"),
    [
        (ELSEWHERE, ["model.dense is not a factor of this study", "known: model.depth", "needs ="]),
        (ELSEWHERE | {"by": "model.dens"}, ["model.dens is not a factor of this study", "known: model.depth"]),
        (
            ELSEWHERE | {"needs": "regulens run wide", "between": [80, "many"]},
            ["between", 'model.dense = "many"', "whole number"],
        ),
        (
            {"kind": "greater", "factor": "regularizer", "a": "batchnrom", "b": "none"},
            ["claims[0] (claim0): a:", "batchnrom", "did you mean batchnorm?"],
        ),
        (
            {"kind": "greater", "factor": "regularizer", "a": "l2(0.1)", "b": "none"},
            ["a = l2(0.1) is not a level of regularizer", "did you mean l2(0.01)?"],
        ),
        (
            {"kind": "greater", "factor": "model.depth", "a": 1, "b": 2, "where": {"regulariser": "none"}},
            ["regulariser is not a factor of this study", "did you mean regularizer?"],
        ),
        (
            {"kind": "greater", "factor": "model.depth", "a": 1, "b": 2, "where": {"model.depth": 1}},
            ["model.depth is compared", "name it once"],
        ),
        (
            ELSEWHERE | {"by": "model.depth", "between": [1, 2]},
            ["model.depth is compared", "name it once"],
        ),
        (
            {"kind": "greater", "factor": "regularizer", "a": "l2(0.01)", "b": "l2(1e-2)"},
            ["compares a level with itself", "name two levels"],
        ),
        (
            ELSEWHERE | {"by": "model.filters", "between": [8, 8]},
            ["compares a level with itself", "name two levels"],
        ),
    ],
)
def test_a_claim_that_names_what_is_not_there_is_one_line(claim: dict[str, Any], fragments: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        declared_claims(study_of(claim))
    message = str(caught.value)
    assert [fragment for fragment in ["claims[0] (claim0)", *fragments] if fragment not in message] == []
    assert "\n" not in message


def test_two_claims_of_one_id_are_refused() -> None:
    claim = {"id": "same", "kind": "greater", "factor": "model.depth", "a": 1, "b": 2}
    with pytest.raises(UserError, match=r"claims\[1\] \(same\): there are two of this id; choose another"):
        declared_claims(study_of(claim, claim))


def test_a_study_without_factors_has_nothing_to_claim() -> None:
    with pytest.raises(UserError, match="this study has no factors"):
        declared_claims(study_of({"kind": "best", "a": "none"}, factors={}))


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ({"kind": "greater", "a": 1}, 'kind = "greater" needs b'),
        ({"kind": "best", "a": 1, "b": 2}, "remove b"),
        ({"kind": "interaction", "a": 1, "b": 2}, "needs by = FACTOR and between = [LEVEL, LEVEL]"),
        ({"kind": "reversal", "a": 1, "b": 2, "by": "model.filters"}, "needs by = FACTOR and between"),
        ({"kind": "equal", "a": 1, "b": 2, "by": "model.filters"}, "remove by and between"),
        ({"kind": "greater", "a": 1, "b": 2, "direction": "lower"}, "swap a and b"),
        ({"kind": "interaction", "a": 1, "b": 2, "by": "x", "between": [1]}, "must be two levels"),
        ({"kind": "better", "a": 1, "b": 2}, "'greater', 'equal', 'best', 'interaction' or 'reversal'"),
        ({"kind": "greater", "a": 1, "b": 2, "response": "accuracy"}, "'val_accuracy'"),
        ({"kind": "greater", "a": 1, "b": 2, "response": []}, "must not be empty"),
        ({"kind": "greater", "a": 1, "b": 2, "id": "two words"}, "letters, digits, dashes or underscores"),
        ({"kind": "greater", "a": 1, "b": 2, "text": ""}, "must not be empty"),
        ({"kind": "greater", "a": 1, "b": 2, "rope": -0.1}, "greater than or equal to 0"),
    ],
)
def test_a_claim_has_what_its_kind_needs_and_no_more(claim: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        ClaimSpec.model_validate({"id": "claim", "text": "It is so."} | claim)
    assert message in str(caught.value)


def described(contrast: Contrast) -> str:
    parts = [f"{'+' if weight > 0 else '-'} depth {s.model.depth} {s.regularizer}" for s, weight in contrast.terms]
    return f"{contrast.response}: {' '.join(parts)}"


def test_the_claims_of_the_lab_are_read_as_the_lab_meant_them() -> None:
    claims = {claim.spec.id: claim for claim in declared_claims(read_study("lab"))}
    assert list(claims) == ["depth", "batchnorm", "l2", "dropout", "overfit", "filters", "time"]
    found = {name: [described(each) for each in claim.contrasts] for name, claim in claims.items()}
    assert found["depth"] == [f"val_accuracy: + depth 1 {each} - depth 2 {each}" for each in REGULARIZERS]
    assert found["batchnorm"] == [
        f"val_accuracy: + depth {depth} batchnorm - depth {depth} {other}"
        for depth in (1, 2)
        for other in ("none", "l2(0.01)", "dropout(0.1)")
    ]
    assert found["l2"] == [
        f"{response}: + depth {depth} none - depth {depth} l2(0.01)"
        for response in ("train_accuracy", "val_accuracy")
        for depth in (1, 2)
    ]
    assert found["dropout"] == [
        "val_accuracy: + depth 1 dropout(0.1) - depth 1 none + depth 2 none - depth 2 dropout(0.1)"
    ]
    assert found["overfit"] == [f"gap: + depth {depth} none - depth {depth} batchnorm" for depth in (1, 2)]
    assert found["time"] == [f"train_seconds: + depth 2 {each} - depth 1 {each}" for each in REGULARIZERS]
    assert claims["filters"].contrasts == ()
    assert "lab-64" in claims["filters"].spec.needs


def test_lab_64_answers_what_the_lab_cannot() -> None:
    lab, wide = ({each.spec.id: each for each in declared_claims(read_study(name))} for name in ("lab", "lab-64"))
    assert lab["filters"].spec.model_copy(update={"needs": ""}) == wide["filters"].spec
    signs = {
        (spec.model.filters, spec.regularizer, spec.model.depth): weight
        for each in wide["filters"].contrasts
        for spec, weight in each.terms
    }
    assert signs == {
        (filters, regularizer, depth): 1 if (filters == 16) == (depth == 1) else -1
        for filters in (16, 64)
        for regularizer in REGULARIZERS
        for depth in (1, 2)
    }
