"""Levels: one where the numbers are, warned of where the texts are alike, and found as their users write them."""

from __future__ import annotations

import datetime
import enum
import fractions
import itertools
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from regulens.errors import UserError
from regulens.study.external.levels import Levels, levels, matching, ordered
from regulens.study.external.values import number, plain
from regulens.study.own_numbers import analyze
from regulens.study.own_rows import read_rows

NAMED = {"response": "y", "factors": "x", "seed": "seed"}


def read(values: Sequence[object]) -> Levels:
    return levels(read_rows(pd.DataFrame({"x": pd.Series(values, dtype=object)}), ["x"]), "x")


def runs(names: Sequence[object] = ("none", "bn")) -> pd.DataFrame:
    rows = [
        (name, seed, 0.8 + 0.05 * at + 0.001 * seed)
        for (at, name), seed in itertools.product(enumerate(names), range(4))
    ]
    return pd.DataFrame(rows, columns=["x", "seed", "y"])


class Kind(enum.Enum):
    none = 0
    bn = 1


class Word(enum.StrEnum):
    none = "none"
    bn = "bn"


class TestNumbers:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (0.001, 0.0010000000474974513),
            ("0.001", "0.0010000000474974513"),
            (0.01, 0.009999999776482582),
            (0.001, 0.00100000005),
            (0.3, 0.1 + 0.2),
            (0.1, 0.0999755859375),  # half precision
            (1, 0.9999999999999999),
        ],
    )
    def test_numbers_that_differ_by_rounding_are_one_level(self, one: object, other: object) -> None:
        found = read([other, one, other])
        assert found.of_rows == [float(str(one))] * 3
        assert found.notes == [f"level {other} of x was read as {one}, the same number up to rounding"]

    @pytest.mark.parametrize(
        "numbers",
        [
            (0.001, 0.0010001),
            (16777216, 16777217),
            (2**53, 2**53 + 1),
            (1e-50, 1e-60),
            (1e-46, 2e-46),
            (0.999, 0.9999),
            (0, 1e-8),
            (0.5, 0.5001),
        ],
    )
    def test_numbers_that_are_different_stay_so(self, numbers: tuple[float, float]) -> None:
        found = read(numbers)
        assert found.of_rows == list(numbers)
        assert found.notes == []

    def test_nearly_zero_beside_zero_is_warned_of(self) -> None:
        [note] = read([0.0, 0.3 - 0.1 * 3, 0.1]).notes
        assert note.startswith("levels -5.55")
        assert "e-17 and 0 of x differ only by rounding" in note

    def test_a_study_of_two_precisions_has_the_cells_of_one(self) -> None:
        single = runs((0.001, 0.01)).astype({"x": np.float32})
        double = runs((0.001, 0.01)).assign(seed=range(4, 12))
        found = analyze(pd.concat([single.astype(float), double]), **NAMED, control="1e-3")
        assert found.cells.index.tolist() == [0.001, 0.01]
        assert found.cells["n"].tolist() == [8, 8]
        assert len([warning for warning in found.warnings if "the same number up to rounding" in warning]) == 2


class TestTexts:
    @pytest.mark.parametrize(
        ("one", "other", "words"),
        [
            ("None", "none", 'levels "None" and "none" of x differ only in case'),
            ("batch norm", "batchnorm", 'levels "batch norm" and "batchnorm" of x differ only in spaces'),
            ("Batch-Norm", "batch_norm", '"Batch-Norm" and "batch_norm"'),
            ("l2(0.01)", "l2(1e-2)", '"l2(0.01)" and "l2(1e-2)"'),
            ("l2(0.3)", "l2(0.30000000000000004)", '"l2(0.3)" and "l2(0.30000000000000004)"'),
            ("l2(0.001)", "l2(0.0010000000474974513)", "how numbers are written"),
            ("dropout 0.1", "dropout 0.10", '"dropout 0.1" and "dropout 0.10"'),
            ("a b", "a\u00a0b", r"'a b' and 'a\xa0b'"),
            ("base", "b\u0430se", r"'base' and 'b\u0430se'"),
            ("x-1", "x\u20131", r"'x-1' and 'x\u20131'"),
            ("x", "x\u200b", r"'x' and 'x\u200b'"),
            ("dropout(0.5)", "dropout_0.5", '"dropout(0.5)" and "dropout_0.5"'),
            ("dropout=.5", "dropout 0.5", '"dropout 0.5" and "dropout=.5"'),
            ("(3, 3)", "(3,3)", 'levels "(3, 3)" and "(3,3)" of x differ only in spaces'),
            ("'x'", "x", 'levels "\'x\'" and "x" of x differ'),
        ],
    )
    def test_texts_that_are_alike_are_warned_of_and_both_named(self, one: str, other: str, words: str) -> None:
        found = read([one, other, "else"])
        assert found.of_rows == [one, other, "else"]
        [note] = found.notes
        assert words in note
        assert note.endswith(": if they are the same level, write them alike")

    def test_one_number_in_several_notations_is_warned_of_where_it_is_a_text(self) -> None:
        [note] = read(["1", "1.0", "1e0", "off"]).notes
        assert note.startswith('levels "1", "1.0" and "1e0" of x differ only in how a number is written')
        assert read(["1", "1.0", "1e0"]) == Levels([1, 1, 1], [])

    @pytest.mark.parametrize(
        "texts", [("res18", "res34"), ("a-1", "a1"), ("1e-50 x", "1e-60 x"), ("l2(0.1)", "l2(0.01)")]
    )
    def test_texts_that_are_different_are_not(self, texts: tuple[str, str]) -> None:
        assert read(texts).notes == []

    def test_both_spellings_of_the_control_are_named_in_the_analysis(self) -> None:
        found = analyze(pd.concat([runs(), runs(("None", "l2"))]), **NAMED)
        assert found.control == "none"
        assert [warning for warning in found.warnings if '"None" and "none"' in warning]


class TestControl:
    @pytest.mark.parametrize("wanted", ["0.0", "0", "0e0", " 0 ", 0, 0.0, np.float32(0), np.int64(0), Decimal(0)])
    def test_zero_is_found(self, wanted: object) -> None:
        assert matching([0, 1], plain(wanted)) == [0]

    @pytest.mark.parametrize(
        "wanted",
        [
            *("1e-3", "0.001", "1E-3", ".001", "0.0010000000474974513", 0.001, np.float32(0.001), np.float64(0.001)),
            *(np.array(0.001), torch.tensor(0.001), Decimal("0.001"), fractions.Fraction(1, 1000)),
        ],
    )
    def test_a_number_is_found_as_it_is_written(self, wanted: object) -> None:
        assert matching([0.001, 0.01], plain(wanted)) == [0.001]

    def test_the_control_of_an_analysis_may_be_of_any_type(self) -> None:
        assert analyze(runs((0.001, 0.01)), **NAMED, control=torch.tensor(0.001)).control == 0.001
        assert analyze(runs((0, 1)), **NAMED, control="0.0").control == 0

    @pytest.mark.parametrize(
        ("known", "wanted", "meant"),
        [
            (["l2(0.01)", "l2(0.1)"], "L2(1e-2)", ["l2(0.01)"]),
            (["batch norm", "none"], "BatchNorm", ["batch norm"]),
            (["0.50", "off"], 0.5, ["0.50"]),
            (["None", "none"], "none", ["none"]),
            (["None", "NONE"], "none", ["NONE", "None"]),
            ([False, True], "false", [False]),
            (["a"], "b", []),
        ],
    )
    def test_texts_are_found_the_very_one_first(self, known: list[Any], wanted: Any, meant: list[Any]) -> None:
        assert matching(known, wanted) == meant


class TestFrames:
    @pytest.mark.parametrize(
        ("column", "control"),
        [
            (["none", "none ", " none", "none", "bn", "bn ", "bn", "bn\t"], "none"),
            (pd.Categorical(["none"] * 4 + ["bn"] * 4), "none"),
            (pd.array(["none"] * 4 + ["bn"] * 4, dtype="string"), "none"),
            ([0.1] * 4 + ["off"] * 4, "0.1"),
            ([1, "1", 1, "1"] + [2] * 4, 1),
            ([1] * 4 + [True] * 4, 1),
            ([False] * 4 + [True] * 4, "false"),
            (pd.array([False] * 4 + [True] * 4, dtype="boolean"), False),
            (np.array([0.001] * 4 + [0.01] * 4, np.float32), 0.001),
            (np.array([0.001] * 4 + [0.01] * 4, np.float16), "1e-3"),
            (pd.array([0.001] * 4 + [0.01] * 4, dtype="Float32"), 0.001),
            (pd.to_datetime(["2026-01-01"] * 4 + ["2026-01-02"] * 4), "2026-01-01"),
            (pd.cut([0] * 4 + [2] * 4, [-1, 1, 3]), "(-1, 1]"),
            ([Decimal("0.1")] * 4 + [Decimal("0.5")] * 4, 0.1),
        ],
    )
    def test_a_frame_is_read_as_its_file_is(self, column: Any, control: object, tmp_path: Path) -> None:
        frame = runs().assign(x=column)
        frame.to_csv(tmp_path / "runs.csv", index=False)
        of_frame, of_file = (levels(read_rows(data, ["x"]), "x") for data in (frame, tmp_path / "runs.csv"))
        assert of_frame == of_file
        assert list(map(type, of_frame.of_rows)) == list(map(type, of_file.of_rows))
        assert matching(of_frame.of_rows, control) == of_frame.of_rows[:1]
        assert len(set(of_frame.of_rows)) == 2

    @pytest.mark.parametrize("kind", [np.float32, "Float32", "Float64", "float64"])
    def test_responses_of_any_precision_are_those_of_the_file(self, kind: Any, tmp_path: Path) -> None:
        frame = runs().astype({"y": kind, "seed": "Int64"})
        frame.to_csv(tmp_path / "runs.csv", index=False)
        of_frame, of_file = (read_rows(data, ["y"]).columns["y"] for data in (frame, tmp_path / "runs.csv"))
        assert list(map(number, of_frame)) == list(map(number, of_file))

    def test_a_named_index_is_a_column_and_names_are_stripped(self) -> None:
        wanted = read_rows(runs(), ["x", "y"]).columns
        assert read_rows(runs().set_index(["x", "seed"]), ["x", "y"]).columns == wanted
        assert read_rows(runs().rename(columns={"y": " y "}), ["x", "y"]).columns == wanted

    @pytest.mark.parametrize(
        "quarter",
        [
            *(Decimal("0.25"), fractions.Fraction(1, 4), np.array(0.25), np.float16(0.25), np.longdouble(0.25)),
            *(torch.tensor(0.25), torch.tensor(0.25, dtype=torch.bfloat16), torch.tensor(0.25, requires_grad=True)),
        ],
    )
    def test_numbers_of_other_libraries_are_numbers(self, quarter: object) -> None:
        frame = runs().assign(y=pd.Series([quarter] * 8, dtype=object))
        assert read_rows(frame, ["y"]).columns["y"] == [plain(quarter)] * 8 == [0.25] * 8

    @pytest.mark.parametrize("kind", [Kind, Word])
    def test_enumerations_are_their_names(self, kind: type[enum.Enum]) -> None:
        frame = runs().assign(x=pd.Series([kind["none"]] * 4 + [kind["bn"]] * 4, dtype=object))
        assert ordered(levels(read_rows(frame, ["x"]), "x").of_rows, "none") == ["none", "bn"]

    @pytest.mark.parametrize(
        ("value", "wanted"),
        [
            (pd.NaT, None),
            (np.datetime64("2026-01-01"), "2026-01-01"),
            (datetime.datetime(2026, 1, 1, 12), "2026-01-01 12:00:00"),
            (np.bool_(True), True),
            (np.str_(" a "), "a"),
            (Decimal("Infinity"), float("inf")),
            (fractions.Fraction(10**400), float("inf")),
            ((1, 2), (1, 2)),
        ],
    )
    def test_single_values_become_pythons_own(self, value: object, wanted: object) -> None:
        assert plain(value) == wanted


class TestWrongTypes:
    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (None, "data must be a DataFrame or the path of a CSV file, got None"),
            (3, "got a int"),
            ([{"x": 1}], r"got a list; pandas\.DataFrame"),
            ({"x": [1]}, "got a dict"),
            (pd.Series([1]), "got a Series"),
            (np.zeros(3), "got a ndarray"),
            ("\0", "cannot be read: embedded null byte"),
            ("x" * 5000, "cannot be read: File name too long"),
        ],
    )
    def test_data_of_another_type_is_a_users_mistake(self, data: Any, words: str) -> None:
        with pytest.raises(UserError, match=words):
            analyze(data, **NAMED)

    def test_frames_of_other_libraries_name_the_way(self) -> None:
        class Frame:
            __module__ = "polars.dataframe"

            def to_pandas(self) -> None: ...

        with pytest.raises(UserError, match=r"got a polars Frame; give its \.to_pandas\(\)"):
            analyze(Frame(), **NAMED)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"response": None}, "response must name columns, as a list or a text with commas, got None"),
            ({"factors": None}, "factors must name columns, as a list or a text with commas, got None"),
            ({"factors": [1]}, "factors must name a column, got 1"),
            ({"factors": {"x"}}, "factors must name columns"),
            ({"seed": 3}, "seed must name a column, got 3"),
            ({"seed": " "}, "seed must name a column, got nothing"),
            ({"compare": ["x"]}, r"compare must name a column, got \['x'\]"),
            ({"control": [1]}, r"control must be a level \(a text, a number or true/false\), got \[1\]"),
            ({"rope": "0.5"}, "rope must be a number, got '0.5'"),
            ({"rope": True}, "rope must be a number, got True"),
            ({"chance": [0.1]}, r"chance must be a number, got \[0.1\]"),
            ({"paired": "yes"}, "paired must be True or False, got 'yes'"),
            ({"direction": 1}, "direction must be higher or lower"),
            ({"primary": 1}, "primary must be trained or mean or median"),
            ({"scale": 1}, "scale must be fraction or percent or none"),
            ({"last_of": 1}, "last_of must name a column, got 1"),
        ],
    )
    def test_an_argument_of_another_type_is_a_users_mistake(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(UserError, match=words):
            analyze(runs(), **(NAMED | options))

    def test_numbers_and_lists_of_numpy_and_pandas_are_arguments(self) -> None:
        wanted = analyze(runs(), **NAMED, rope=0.01).to_json()
        for factors in (np.array(["x"]), pd.Index(["x"])):
            assert analyze(runs(), **(NAMED | {"factors": factors}), rope=Decimal("0.01")).to_json() == wanted
