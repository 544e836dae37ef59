"""What a response is: said, or told by its name where the values fit, and never by the name alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest

from regulens.errors import UserError
from regulens.study.external.assumed import ACCURACY_ROPE
from regulens.study.external.scale import Response, Scale, response_on_scale
from regulens.study.own_numbers import analyze
from regulens.study.own_rows import read_rows

FRACTIONS = (0.871, 0.884, 0.1, 0.9)
PERCENTAGES = (87.1, 88.4, 10.0, 90.0)


def read(name: str, values: Sequence[object], scale: Scale | None = None, accuracy: bool = False) -> Response:
    return response_on_scale(read_rows(pd.DataFrame({name: values}), [name]), name, scale, accuracy)


class TestWhatIsTold:
    @pytest.mark.parametrize(
        "name",
        ["val_accuracy", "Top1Acc", "metrics.val_acc", "accuracy", "cifar10_accuracy", "acc_norm", "val_acc_epoch"],
    )
    def test_accuracies_between_0_and_1_are_fractions(self, name: str) -> None:
        assert read(name, FRACTIONS) == Response(list(FRACTIONS), "fraction", True, (0.0, 1.0), ())

    @pytest.mark.parametrize("name", ["val_accuracy", "Top1Acc", "metrics.val_acc", "acc@1", "accuracy (%)", "acc_pct"])
    def test_plain_percentages_are_divided_and_that_is_said(self, name: str) -> None:
        found = read(name, PERCENTAGES)
        assert found.values == pytest.approx(FRACTIONS)
        assert (found.scale, found.accuracy, found.bounds) == ("percent", True, (0.0, 1.0))
        assert found.notes == (
            f"the values of {name} (10 to 90) were read as percentages and divided by 100; if they are not "
            "percentages, use --scale none",
        )

    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("time_to_90_accuracy", (359.1, 417.0)),
            ("time_to_90_accuracy", (59.1, 47.0)),
            ("epochs_to_accuracy", (12, 30)),
            ("acc_hours", (0.3, 0.7)),
            ("loss_at_90_accuracy", (0.3, 0.7)),
            ("relative_accuracy", (1.0046, 0.998)),
            ("relative_accuracy", (0.98, 0.998)),
            ("accuracy_rank", (1, 2)),
            ("log_accuracy", (-0.1, -0.2)),
            ("accuracy_per_watt", (0.2, 50)),
            ("error", (11.2, 12.9)),
            ("acceleration", (0.2, 0.3)),
        ],
    )
    def test_other_numbers_stay_as_they_are_without_a_word(self, name: str, values: Sequence[float]) -> None:
        assert read(name, values) == Response(list(values), "none", False, (-math.inf, math.inf), ())

    @pytest.mark.parametrize(
        ("name", "values"),
        [("norm_accuracy", (0.99, 1.01)), ("best_acc_epoch", (17, 23)), ("cifar_accuracy", (87.1, 88.4))],
    )
    def test_a_name_is_believed_only_where_all_values_fit(self, name: str, values: Sequence[float]) -> None:
        found = read(name, values)
        assert (found.values, found.scale, found.accuracy) == (list(values), "none", False)
        assert "were not read as accuracies; if they are percentages, use --scale percent" in found.notes[0]

    def test_differences_of_accuracies_are_not_bounded(self) -> None:
        assert read("accuracy_gap", (-0.01, 0.02)).bounds == (-math.inf, math.inf)
        assert read("accuracy_drop", (0.01, 0.02)).accuracy
        assert read("accuracy_gap", (-1.2, 2.5)).scale == "none"

    def test_who_names_the_accuracy_of_guessing_has_accuracies(self) -> None:
        assert read("score", PERCENTAGES, accuracy=True).values == pytest.approx(FRACTIONS)
        assert read("score", FRACTIONS, accuracy=True).bounds == (0.0, 1.0)

    def test_percent_signs_are_believed_whatever_the_name(self) -> None:
        found = read("change", ["120 %", "-3%"])
        assert found.values == pytest.approx([1.2, -0.03])
        assert (found.scale, found.accuracy, found.bounds) == ("percent", False, (-math.inf, math.inf))


class TestWhatIsSaid:
    @pytest.mark.parametrize("name", ["val_accuracy", "y", "time_to_accuracy"])
    def test_the_user_is_believed(self, name: str) -> None:
        assert read(name, PERCENTAGES, "percent").values == pytest.approx(FRACTIONS)
        assert read(name, FRACTIONS, "fraction") == Response(list(FRACTIONS), "fraction", True, (0.0, 1.0), ())
        assert read(name, PERCENTAGES, "none") == Response(list(PERCENTAGES), "none")
        assert read(name, ["87.1%", "90%"], "none").values == [87.1, 90.0]
        assert read(name, ["87.1%", "90%"], "fraction").values == pytest.approx([0.871, 0.9])

    def test_fractions_that_are_called_percentages_are_warned_of(self) -> None:
        assert "are they fractions?" in read("val_accuracy", FRACTIONS, "percent").notes[0]

    @pytest.mark.parametrize(
        ("name", "values", "scale", "words"),
        [
            (
                "val_accuracy",
                (0.871, 87.1, 0.9),
                None,
                "row 2 (index 1): val_accuracy 87.1 is above 1, but that of row 1",
            ),
            (
                "val_accuracy",
                (0.871, 87.1, 0.9),
                None,
                "a mix of scales; accuracies in percent must be divided by 100 (0.871)",
            ),
            ("cifar_acc", (87.1, 0.871, 90), None, "but that of row 2 (index 1) is 0.871: a mix of scales"),
            (
                "val_accuracy",
                (871, 884),
                None,
                "val_accuracy 871 is above 100, which no accuracy can be, not even in percent",
            ),
            ("val_accuracy", (-9, 0.9), None, "val_accuracy -9 is below 0, which no accuracy can be"),
            ("val_accuracy", (1.2, 2.5), None, "use --scale percent if these are percentages (0.012)"),
            ("val_accuracy", (1.2, 2.5), None, "if it is not an accuracy, use --scale none; 2 of 2 rows are like this"),
            (
                "acc_pct",
                FRACTIONS,
                None,
                "acc_pct says percent, but none of its values is above 1; use --scale fraction",
            ),
            ("y", PERCENTAGES, "fraction", "y 87.1 is above 1, which no fraction is; use --scale percent"),
            ("y", (87.1, 176), "percent", "row 2 (index 1): y 176 is above 100 %"),
        ],
    )
    def test_what_does_not_fit_is_refused_with_the_way_to_say_it(
        self, name: str, values: Sequence[float], scale: Scale | None, words: str
    ) -> None:
        with pytest.raises(UserError) as caught:
            read(name, values, scale)
        assert words in str(caught.value)


class TestAnalysis:
    def frame(self, name: str, factor: float) -> pd.DataFrame:
        rows = [
            (r, s, factor * (0.8 + at + 0.001 * s))
            for (r, at), s in itertools.product((("none", 0), ("bn", 0.03)), range(5))
        ]
        return pd.DataFrame(rows, columns=["r", "seed", name])

    def analysed(self, name: str, factor: float, **options: Any) -> dict[str, list[Any]]:
        found = analyze(self.frame(name, factor), response=name, factors="r", seed="seed", **options)
        assert found.scale == options.get("scale", found.scale)
        return found.as_dict()

    def test_percentages_have_the_numbers_of_their_fractions(self) -> None:
        of_fractions, of_percentages = (self.analysed("val_accuracy", factor) for factor in (1, 100))
        for one, other in zip(of_fractions["comparisons"], of_percentages["comparisons"], strict=True):
            assert one["rope"] == other["rope"] == ACCURACY_ROPE
            for number in ("difference", "low", "high", "p"):
                assert one[number] == pytest.approx(other[number])
        assert [warning for warning in of_percentages["warnings"] if "divided by 100" in warning]

    def test_a_time_is_analysed_in_its_unit(self) -> None:
        [found] = self.analysed("time_to_80_accuracy", 500, direction="lower")["comparisons"]
        assert found["difference"] == pytest.approx(15)
        assert (found["rope"], found["verdict"]) == (0, "worse")

    def test_what_is_said_to_be_no_accuracy_has_no_rope_by_default(self) -> None:
        assert self.analysed("val_accuracy", 1, scale="none")["comparisons"][0]["rope"] == 0
        assert self.analysed("score", 1, scale="fraction")["comparisons"][0]["rope"] == ACCURACY_ROPE

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"scale": "points"}, 'scale must be fraction or percent or none, got "points"'),
            ({"scale": "none", "chance": 0.1}, "chance is the accuracy of guessing: omit it, or use --scale fraction"),
        ],
    )
    def test_scales_that_cannot_be_are_refused(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(UserError, match=words):
            self.analysed("val_accuracy", 1, **options)
