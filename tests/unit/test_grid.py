import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regulens.errors import UserError
from regulens.spec import DataSpec, Level, ModelSpec, RunSpec, StudySpec, TrainSpec, cell_id
from regulens.study.grid import (
    cell_label,
    cell_levels,
    cells,
    level_text,
    levels_of,
    matching_cells,
    parts_label,
    varied,
    with_levels,
)

REGULARIZERS: list[Level] = ["none", "batchnorm"]


def study_of(factors: dict[str, list[Level]], **fields: object) -> StudySpec:
    return StudySpec.model_validate({"name": "study", "factors": factors, **fields})


def message_of(study: StudySpec) -> str:
    with pytest.raises(UserError) as caught:
        cells(study)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_cells_are_the_full_factorial_in_the_order_of_the_file() -> None:
    study = study_of({"regularizer": REGULARIZERS, "model.depth": [2, 1], "train.learning_rate": [0.1, 0.01]})
    found = [(c.regularizer, c.model.depth, c.train.learning_rate) for c in cells(study)]
    assert found == list(itertools.product(["none", "batchnorm"], [2, 1], [0.1, 0.01]))


@given(
    st.lists(st.integers(1, 16), min_size=1, max_size=4, unique=True),
    st.lists(st.integers(1, 99), min_size=1, max_size=3, unique=True),
    st.booleans(),
)
@settings(deadline=None, max_examples=25)
def test_there_is_one_cell_for_every_combination_of_levels(depths: list[int], epochs: list[int], swap: bool) -> None:
    factors: list[tuple[str, list[Level]]] = [("model.depth", list(depths)), ("train.epochs", list(epochs))]
    study = study_of(dict(reversed(factors) if swap else factors))
    levels = [tuple(cell_levels(spec, study).values()) for spec in cells(study)]
    assert levels == list(itertools.product(*study.factors.values()))


def test_a_study_without_factors_is_one_cell_with_the_shared_fields() -> None:
    data, model, train = DataSpec(name="digits"), ModelSpec(depth=2), TrainSpec(epochs=9)
    study = StudySpec(name="one", data=data, model=model, train=train, regularizer="l2(0.1)")
    assert cells(study) == [RunSpec(data=data, model=model, train=train, regularizer="l2(0.1)")]


def test_a_dotted_factor_changes_its_field_and_no_other() -> None:
    study = study_of({"data.scale": [1, "1/255"]}, model={"filters": 4})
    raw, unit = cells(study)
    assert (raw.data.scale, unit.data.scale) == (1, 1 / 255)
    assert unit == RunSpec(data=DataSpec(scale=1 / 255), model=ModelSpec(filters=4))


def test_cells_are_at_seed_zero_in_the_train_stage() -> None:
    assert {(spec.seed, spec.stage) for spec in cells(study_of({"model.depth": [1, 2]}))} == {(0, "train")}


@pytest.mark.parametrize(
    ("factors", "label"),
    [
        ({"model.depth": [1, 2, 1]}, "depth 1"),
        ({"model.depth": [2], "regularizer": ["l2(0.01)", "l2(1e-2)"]}, "depth 2, l2(0.01)"),
        ({"data.scale": ["1/255", 1 / 255]}, "scale 1/255"),
    ],
)
def test_a_repeated_level_is_refused_however_it_is_written(factors: dict[str, list[Level]], label: str) -> None:
    message = message_of(study_of(factors))
    assert f"({label})" in message
    assert "remove the repeated level" in message


@pytest.mark.parametrize(
    ("path", "mend"),
    [
        ("model.dept", "did you mean model.depth?"),
        ("train.learning-rate", "did you mean train.learning_rate?"),
        ("regulariser", "did you mean regularizer?"),
        ("depth", "did you mean model.depth?"),
        ("stage", "known: regularizer, data.name"),
    ],
)
def test_an_unknown_factor_is_named_with_the_nearest_field(path: str, mend: str) -> None:
    message = message_of(study_of({path: [1, 2]}))
    assert f"factors.{path}: unknown field" in message
    assert mend in message


@pytest.mark.parametrize("path", ["seed", "seeds"])
def test_the_seed_is_no_factor(path: str) -> None:
    message = message_of(study_of({path: [1, 2]}))
    assert f"factors.{path}" in message
    assert "write seeds = N" in message


def test_a_factor_without_levels_is_refused() -> None:
    assert "factors.model.depth: has no levels; list at least one" in message_of(study_of({"model.depth": []}))


@pytest.mark.parametrize(
    ("path", "level", "fragments"),
    [
        ("model.depth", 17, ["factors.model.depth[0] = 17", "less than or equal to 16"]),
        ("model.depth", True, ["factors.model.depth[0] = true", "whole number"]),
        ("model.depth", 1.5, ["factors.model.depth[0] = 1.5", "whole number"]),
        ("model.padding", "full", ['factors.model.padding[0] = "full"', "'valid' or 'same'"]),
        (
            "regularizer",
            "dropout(1.2)",
            ['factors.regularizer[0] = "dropout(1.2)"', "rate of dropout must be in [0, 1)"],
        ),
        ("data.validation", 0.9, ["validation + test must stay below 1", "0.9"]),
    ],
)
def test_a_level_its_field_cannot_take_is_named(path: str, level: Level, fragments: list[str]) -> None:
    message = message_of(study_of({path: [level]}))
    assert [fragment for fragment in fragments if fragment not in message] == []


def test_with_levels_leaves_the_study_as_it_was() -> None:
    study = study_of({"model.depth": [1, 2]})
    before = study.model_dump()
    assert with_levels(study, {"model.depth": 2, "train.epochs": 7}).train.epochs == 7
    assert study.model_dump() == before


def test_matching_cells_are_those_with_all_the_levels_named() -> None:
    study = study_of({"model.depth": [1, 2], "regularizer": [*REGULARIZERS, "l2(0.01)"]})
    assert matching_cells(study, {}, "here") == cells(study)
    assert matching_cells(study, {"model.depth": 2}, "here") == cells(study)[3:]
    one = matching_cells(study, {"regularizer": "l2(1e-2)", "model.depth": 1}, "here")
    assert one == [RunSpec(regularizer="l2(0.01)")]


def test_matching_cells_know_a_level_by_its_value_not_its_spelling() -> None:
    study = study_of({"data.scale": [1, "1/255"]})
    assert matching_cells(study, {"data.scale": 1 / 255}, "here") == [RunSpec(data=DataSpec(scale=1 / 255))]


@pytest.mark.parametrize(
    ("where", "fragments"),
    [
        ({"model.dept": 1}, ["model.dept is not a factor of this study", "did you mean model.depth?"]),
        ({"model.depth": 3}, ["no cell has {'model.depth': 3}", "use levels listed under [factors]"]),
        ({"model.depth": "two"}, ['"two"', "must be a whole number"]),
        ({"regularizer": "batchnrom"}, ["batchnrom", "did you mean batchnorm?"]),
    ],
)
def test_a_cell_that_is_not_there_is_named_with_its_place(where: dict[str, Level], fragments: list[str]) -> None:
    study = study_of({"model.depth": [1, 2], "regularizer": REGULARIZERS})
    with pytest.raises(UserError) as caught:
        matching_cells(study, where, "also_refit[0]")
    message = str(caught.value)
    assert [fragment for fragment in ["also_refit[0]", *fragments] if fragment not in message] == []
    assert "\n" not in message


def test_a_study_without_factors_does_not_suggest_an_empty_list_of_them() -> None:
    with pytest.raises(UserError, match=r"model\.depth is not a factor") as caught:
        matching_cells(study_of({}), {"model.depth": 1}, "also_refit[0]")
    assert not str(caught.value).rstrip().endswith(":")


def variation(name: str, **change: object) -> dict[str, object]:
    return {"name": name, "change": {path.replace("__", "."): level for path, level in change.items()}}


def test_a_variation_is_the_same_grid_with_other_shared_fields() -> None:
    study = study_of(
        {"model.depth": [1, 2], "regularizer": REGULARIZERS},
        title="A study",
        seeds=7,
        also_refit=[{"model.depth": 1}],
        variations=[
            variation("unit", data__scale="1/255") | {"text": "unit range"},
            variation("both", data__standardize=True, train__learning_rate=0.03),
        ],
    )
    found = dict(varied(study))
    assert list(found) == ["unit", "both"]
    unit, both = found["unit"], found["both"]
    assert (unit.name, unit.title, both.title) == ("unit", "A study: unit range", "A study: both")
    assert (unit.seeds, unit.factors, unit.analysis, unit.claims) == (7, study.factors, study.analysis, study.claims)
    assert (unit.also_refit, unit.published, unit.variations) == ([], None, [])
    for changed, data, train in (
        (unit, DataSpec(scale=1 / 255), TrainSpec()),
        (both, DataSpec(standardize=True), TrainSpec(learning_rate=0.03)),
    ):
        assert cells(changed) == [spec.model_copy(update={"data": data, "train": train}) for spec in cells(study)]
    ids = {cell_id(spec, "0" * 64) for each in (study, unit, both) for spec in cells(each)}
    assert len(ids) == 3 * 4


@pytest.mark.parametrize(
    ("variations", "fragments"),
    [
        ([variation("x", train__epoch=3)], ["variations[0] (x)", "unknown field", "did you mean train.epochs?"]),
        ([variation("x", model__depth=3)], ["variations[0] (x)", "model.depth is a factor", "another field"]),
        ([variation("x", seed=3)], ["variations[0] (x)", "unknown field seed"]),
        ([variation("x", train__epochs=0)], ["variations[0] (x)", "train.epochs = 0", "greater than or equal to 1"]),
        ([variation("x", data__validation=0.9)], ["variations[0] (x)", "validation + test must stay below 1"]),
        ([variation("x", train__epochs=5)], ["variations[0] (x)", "what the study itself does", "something else"]),
        (
            [variation("x", data__scale="1/255"), variation("y", data__scale=1 / 255)],
            ["variations[1] (y)", "trains what x does"],
        ),
        (
            [variation("unit", data__scale=2.0), variation("Unit", data__scale=3.0)],
            ["variations[1] (Unit)", "two of this name"],
        ),
    ],
)
def test_a_variation_that_makes_no_sense_is_one_line(variations: list[object], fragments: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        varied(study_of({"model.depth": [1, 2], "data.test": [0.05, 0.15]}, variations=variations))
    message = str(caught.value)
    assert [fragment for fragment in fragments if fragment not in message] == []
    assert "\n" not in message


def test_levels_are_listed_as_cells_hold_them() -> None:
    study = study_of({"data.scale": ["1/255", 1], "regularizer": ["l2(1e-2)"]})
    assert levels_of(study, "data.scale") == (1 / 255, 1)
    assert levels_of(study, "regularizer") == ("l2(0.01)",)


def test_cells_carry_what_seeds_vary() -> None:
    assert {spec.vary for spec in cells(study_of({"model.depth": [1, 2]}, vary=["split", "init"]))} == {
        ("init", "split")
    }


def test_a_factor_that_is_true_or_false_is_labelled_as_in_the_file() -> None:
    study = study_of({"data.standardize": [False, True]})
    assert [cell_label(spec, study) for spec in cells(study)] == ["standardize false", "standardize true"]
    assert {parts_label(spec, study) for spec in cells(study)} == {""}


def test_labels_name_the_levels_that_tell_cells_apart() -> None:
    study = study_of({"model.depth": [1, 2], "regularizer": REGULARIZERS})
    labels = [cell_label(spec, study) for spec in cells(study)]
    assert labels == ["depth 1, none", "depth 1, batchnorm", "depth 2, none", "depth 2, batchnorm"]
    one_factor = study_of({"train.learning_rate": [0.1], "data.scale": ["1/255"]})
    assert cell_label(cells(one_factor)[0], one_factor) == "learning rate 0.1, scale 1/255"


def test_the_one_cell_of_a_study_without_factors_has_a_label() -> None:
    study = study_of({}, model={"depth": 2}, regularizer="batchnorm")
    assert cell_label(cells(study)[0], study) == "depth 2, batchnorm"


@pytest.mark.parametrize(
    ("level", "text"),
    [
        (1 / 255, "1/255"),
        (1 / 3, "1/3"),
        (0.1 + 0.2, "0.30000000000000004"),
        (0.1, "0.1"),
        (0.5, "0.5"),
        (0.001, "0.001"),
        (0.015, "0.015"),
        (1e-5, "1e-05"),
        (1.0, "1"),
        (0.0, "0"),
        (2.5, "2.5"),
        (3, "3"),
        ("l2(0.01)", "l2(0.01)"),
    ],
)
def test_a_level_is_written_as_a_reader_would(level: Level, text: str) -> None:
    assert level_text(level) == text


@given(st.integers(2, 10_000))
@settings(deadline=None, max_examples=50)
def test_the_text_of_a_fraction_is_the_same_number(denominator: int) -> None:
    text = level_text(1 / denominator)
    assert with_levels(study_of({}), {"data.scale": text}).data.scale == 1 / denominator
