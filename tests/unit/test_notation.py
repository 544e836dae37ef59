import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regulens.errors import UserError
from regulens.models.regularizers import build_regularizer
from regulens.notation import Term, format_regularizer, parse_regularizer

STRENGTHS = st.floats(0, allow_nan=False, allow_infinity=False)
RATES = st.floats(0, 1, exclude_max=True)
TERMS = {
    "l2": STRENGTHS.map(lambda strength: Term("l2", strength)),
    "dropout": RATES.map(lambda rate: Term("dropout", rate)),
    "batchnorm": st.just(Term("batchnorm")),
}
COMBINATIONS = st.lists(st.sampled_from(sorted(TERMS)), unique=True).flatmap(
    lambda kinds: st.tuples(*(TERMS[kind] for kind in kinds))
)


def message_of(text: str) -> str:
    with pytest.raises(UserError) as caught:
        build_regularizer(text)
    return str(caught.value)


@given(COMBINATIONS)
@settings(deadline=None)
def test_terms_written_and_read_back_are_the_same(terms: tuple[Term, ...]) -> None:
    assert parse_regularizer(format_regularizer(terms)) == terms


@pytest.mark.parametrize("strength", ["1e16", "1e+16", "1E+2", "1e-05"])
def test_numbers_with_an_exponent_are_read(strength: str) -> None:
    assert parse_regularizer(f"batchnorm + l2({strength})") == (Term("batchnorm"), Term("l2", float(strength)))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("none", "none"),
        (" none ", "none"),
        ("l2(0.01)", "l2(0.01)"),
        ("l2( 1e-2 )", "l2(0.01)"),
        ("l2(1)", "l2(1.0)"),
        ("l2 (.5)", "l2(0.5)"),
        ("dropout(0)", "dropout(0.0)"),
        ("l2(-0)", "l2(0.0)"),
        ("batchnorm+dropout(0.10)", "batchnorm + dropout(0.1)"),
        ("  dropout(0.1)+l2(0.01)  +  batchnorm", "dropout(0.1) + l2(0.01) + batchnorm"),
    ],
)
def test_every_spelling_has_one_canonical_text(text: str, canonical: str) -> None:
    assert format_regularizer(parse_regularizer(text)) == canonical


def test_terms_keep_the_order_written() -> None:
    assert [term.kind for term in parse_regularizer("dropout(0.1) + batchnorm")] == ["dropout", "batchnorm"]
    assert [term.kind for term in parse_regularizer("batchnorm + dropout(0.1)")] == ["batchnorm", "dropout"]


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("batchnrom", ["batchnrom", "did you mean batchnorm?"]),
        ("drop(0.1)", ["drop", "did you mean dropout?"]),
        ("L2(0.01)", ["L2", "did you mean l2?"]),
        ("weightdecay(0.1)", ["weightdecay", "is not available; available: l2, dropout, batchnorm, none"]),
        ("dropout(1.2)", ["rate of dropout must be in [0, 1)", "got 1.2"]),
        ("dropout(1)", ["rate of dropout must be in [0, 1)", "got 1"]),
        ("dropout(-0.1)", ["rate of dropout must be in [0, 1)", "got -0.1"]),
        ("l2(-0.01)", ["strength of l2 must be a finite number >= 0", "got -0.01"]),
        ("l2(inf)", ["strength of l2 must be a finite number >= 0", "got inf"]),
        ("l2(nan)", ["strength of l2 must be a finite number >= 0", "got nan"]),
        ("dropout(nan)", ["rate of dropout must be in [0, 1)", "got nan"]),
        ("l2", ["needs its strength", "write for example l2(0.01)"]),
        ("dropout", ["needs its rate", "write for example dropout(0.1)"]),
        ("l2(x)", ['strength "x" of l2 is not a number', "write for example l2(0.01)"]),
        ("l2()", ['strength "" of l2 is not a number', "write for example l2(0.01)"]),
        ("l2(0.01, 0.1)", ["0.01, 0.1", "write for example l2(0.01)"]),
        ("batchnorm(3)", ["takes no number", "write batchnorm"]),
        ("none + l2(0.01)", ["none + l2(0.01)", "omit none"]),
        ("l2(0.1) + none", ["l2(0.1) + none", "omit none"]),
        ("l2(0.1) + l2(0.2)", ["names l2 twice", "keep one of them"]),
        ("batchnorm + batchnorm", ["names batchnorm twice", "keep one of them"]),
        ("", ['regularizer ""', "write for example"]),
        ("batchnorm +", ["batchnorm +", "write for example"]),
        ("l2(0.01", ["l2(0.01", "write for example"]),
        ("l2 0.01)", ["l2 0.01)", "write for example"]),
        ("l2((0.01))", ["l2((0.01))", "write for example"]),
    ],
)
def test_a_mistake_is_named_with_its_value_and_its_fix(text: str, fragments: list[str]) -> None:
    message = message_of(text)
    assert [fragment for fragment in fragments if fragment not in message] == []
    assert text in message
    assert "\n" not in message


def test_a_regularizer_that_is_another_method_gets_the_list_and_no_guess() -> None:
    for text in (
        "l1(0.01)",
        "layernorm",
        "groupnorm",
        "dropblock(0.1)",
        "spatialdropout(0.1)",
        "l3(0.1)",
        "weight_decay(1)",
    ):
        message = message_of(text)
        assert "did you mean" not in message
        assert "available: l2, dropout, batchnorm, none" in message


def test_a_message_quotes_the_text_once() -> None:
    assert message_of("l2") == 'regularizer "l2": l2 needs its strength; write for example l2(0.01)'


@given(st.one_of(st.text(), st.text("l2dropuatchnme()+-.0159 \n"), st.text("1e+-.x\n").map("l2({})".format)))
@settings(deadline=None)
def test_any_text_gives_valid_terms_or_one_line(text: str) -> None:
    message = ""
    terms: tuple[Term, ...] = ()
    try:
        terms = parse_regularizer(text)
    except UserError as error:
        message = str(error)
    assert "\n" not in message
    assert all(term.value is None or (math.isfinite(term.value) and term.value >= 0) for term in terms)
    assert len({term.kind for term in terms}) == len(terms)
