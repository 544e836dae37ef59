"""What a study is judged by: its defaults, and every mistake in one line."""

from __future__ import annotations

from typing import Any

import pytest

from regulens.errors import UserError
from regulens.spec import Level, StudySpec
from regulens.study.declared import DeclaredAnalysis, declared_analysis

FACTORS: dict[str, list[Level]] = {
    "model.depth": [1, 2],
    "regularizer": ["l2(1e-2)", "none", "batchnorm"],
    "data.scale": ["1/255", 1],
}


def declare(factors: dict[str, list[Level]] | None = None, **analysis: Any) -> DeclaredAnalysis:
    fields = {"name": "study", "factors": FACTORS if factors is None else factors, "analysis": analysis}
    return declared_analysis(StudySpec.model_validate(fields))


def test_by_default_every_regularizer_is_compared_with_none_on_validation_accuracy() -> None:
    assert declare() == DeclaredAnalysis(
        response="val_accuracy",
        direction="higher",
        rope=0.005,
        primary="trained",
        over=("seeds", "images"),
        rope_rate=0.05,
        claims_share=0.0,
        trained_above=None,
        factor="regularizer",
        levels=("l2(0.01)", "none", "batchnorm"),
        control="none",
        comparisons="control",
        paired=False,
    )


def test_without_regularizers_it_is_the_first_factor_and_its_first_level() -> None:
    found = declare({"data.scale": ["1/255", 1], "model.depth": [2, 1]})
    assert (found.factor, found.control, found.levels) == ("data.scale", 1 / 255, (1 / 255, 1))


def test_without_factors_nothing_is_compared() -> None:
    found = declare({})
    assert (found.factor, found.control, found.levels) == (None, None, ())


@pytest.mark.parametrize(
    ("response", "direction", "rope"),
    [
        ("val_accuracy", "higher", 0.005),
        ("train_accuracy", "higher", 0.005),
        ("gap", "lower", 0.005),
        ("val_loss", "lower", 0),
        ("train_loss", "lower", 0),
        ("train_seconds", "lower", 0),
    ],
)
def test_direction_and_rope_follow_the_response(response: str, direction: str, rope: float) -> None:
    found = declare(response=response)
    assert (found.direction, found.rope) == (direction, rope)


def test_what_is_asked_for_goes_before_the_defaults() -> None:
    found = declare(
        response="gap", direction="higher", rope=0, primary="median", factor="model.depth", control=2, comparisons="all"
    )
    assert (found.response, found.direction, found.rope, found.primary) == ("gap", "higher", 0, "median")
    assert (found.factor, found.control, found.comparisons) == ("model.depth", 2, "all")


def test_named_pairs_are_levels_as_cells_hold_them() -> None:
    assert declare(comparisons=[["batchnorm", "l2(0.010)"], ["none", "batchnorm"]]).comparisons == (
        ("batchnorm", "l2(0.01)"),
        ("none", "batchnorm"),
    )
    assert declare(factor="data.scale", comparisons=[[1, "1/255"]]).comparisons == ((1, 1 / 255),)


def test_seeds_are_blocks_where_they_vary_the_split() -> None:
    assert declared_analysis(StudySpec(name="study", vary=("init", "split"))).paired
    assert not declared_analysis(StudySpec(name="study", vary=("init",))).paired


@pytest.mark.parametrize(
    ("analysis", "fragments"),
    [
        ({"factor": "depth"}, ['analysis.factor = "depth"', "is not a factor", "did you mean model.depth?"]),
        ({"factor": "model.filters"}, ['analysis.factor = "model.filters"', "is not a factor"]),
        ({"control": "nome"}, ["analysis.control", "nome", "did you mean none?"]),
        ({"control": "l2(0.1)"}, ["analysis.control = l2(0.1)", "is not a level", "did you mean l2(0.01)?"]),
        ({"control": 1}, ["analysis.control", "1"]),
        ({"factor": "model.depth", "control": 3}, ["analysis.control = 3", "is not a level of model.depth"]),
        (
            {"comparisons": [["none", "batchnorm"], ["l2(0.1)", "none"]]},
            ["analysis.comparisons[1] = l2(0.1)", "did you mean l2(0.01)?"],
        ),
        ({"comparisons": [["none", "none"]]}, ["analysis.comparisons[0]", "with itself", "name two levels"]),
        (
            {"comparisons": [["none", "batchnorm"], ["batchnorm", "none"]]},
            ["analysis.comparisons[1]", "compared already", "keep one"],
        ),
    ],
)
def test_a_name_that_is_not_there_is_one_line(analysis: dict[str, Any], fragments: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        declare(**analysis)
    message = str(caught.value)
    assert [fragment for fragment in fragments if fragment not in message] == []
    assert "\n" not in message


@pytest.mark.parametrize("analysis", [{"control": "none"}, {"comparisons": [["none", "batchnorm"]]}])
def test_levels_without_factors_are_refused(analysis: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="this study has no factors; remove it"):
        declare({}, **analysis)
