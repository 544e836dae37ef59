"""All pairs, named pairs and exploratory effects of results from elsewhere, with scipy's intervals."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from regulens.errors import UserError
from regulens.study.analysis_text import effect_table
from regulens.study.own_numbers import OwnAnalysis, analyze

RUNS = 6
NAMES = ("dropout", "l2", "none")


def results(depths: tuple[int, ...] = (1, 2), names: tuple[str, ...] = NAMES) -> pd.DataFrame:
    """Return runs whose cells are symmetric, each of a spread of its own."""
    rows = [
        (depth, name, seed, 0.8 + 0.02 * depth + 0.01 * place * depth + 0.002 * (1 + place) * at)
        for depth in depths
        for place, name in enumerate(names)
        for seed, at in enumerate(np.linspace(-1, 1, RUNS))
    ]
    return pd.DataFrame(rows, columns=["depth", "regularizer", "seed", "val_accuracy"])


def analysed(data: pd.DataFrame, **options: Any) -> OwnAnalysis:
    named: dict[str, Any] = {"response": "val_accuracy", "factors": "depth,regularizer", "seed": "seed"}
    return analyze(data, **(named | options))


def cell(data: pd.DataFrame, depth: int, name: str) -> np.ndarray:
    return data.query("depth == @depth and regularizer == @name")["val_accuracy"].to_numpy()


def by_hand(cells: list[np.ndarray], weights: list[float], level: float) -> tuple[float, float, float]:
    """Return a contrast of means with the interval of Welch and Satterthwaite."""
    parts = np.array([w**2 * x.var(ddof=1) / len(x) for w, x in zip(weights, cells, strict=True)])
    df = parts.sum() ** 2 / np.sum(parts**2 / (RUNS - 1))
    value = sum(w * x.mean() for w, x in zip(weights, cells, strict=True))
    low, high = stats.t.interval(level, df, value, math.sqrt(parts.sum()))
    return value, low, high


class TestPairs:
    def test_all_pairs_are_compared_each_at_its_share_of_the_error(self) -> None:
        data = results()
        found = analysed(data, comparisons="all", rope=0).as_dict()["comparisons"]
        wanted = [("dropout", "none"), ("l2", "none"), ("l2", "dropout")]
        assert [(each["a"], each["b"], each["where"]["depth"]) for each in found] == [
            (a, b, depth) for depth in (1, 2) for a, b in wanted
        ]
        for each in found:
            a, b = (cell(data, each["where"]["depth"], each[side]) for side in "ab")
            bounds = stats.ttest_ind(a, b, equal_var=False).confidence_interval(1 - 0.05 / 6)
            assert (each["low"], each["high"]) == pytest.approx(tuple(bounds))

    def test_all_pairs_need_no_control(self) -> None:
        data = results(names=("dropout", "l2"))
        found = analysed(data, comparisons="all", compare="regularizer")
        assert found.control is None
        assert [(each["a"], each["b"]) for each in found.as_dict()["comparisons"]] == 2 * [("l2", "dropout")]
        alone = analysed(data.query("depth == 1"), comparisons="all", factors="regularizer")
        assert [(each["a"], each["b"]) for each in alone.as_dict()["comparisons"]] == [("l2", "dropout")]

    def test_named_pairs_are_the_family_and_may_be_written_otherwise(self) -> None:
        data = results()
        [first, second] = analysed(data, comparisons=[("Dropout", "L2")]).as_dict()["comparisons"]
        assert (first["a"], first["b"]) == ("dropout", "l2")
        welch = stats.ttest_ind(cell(data, 2, "dropout"), cell(data, 2, "l2"), equal_var=False)
        assert (second["low"], second["high"]) == pytest.approx(tuple(welch.confidence_interval(1 - 0.05 / 2)))
        [depth, *_] = analysed(data, comparisons=[("2", 1)], compare="depth").as_dict()["comparisons"]
        assert (depth["factor"], depth["a"], depth["b"]) == ("depth", 2, 1)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"comparisons": [("l2", "none"), ("none", "l2")]}, "l2 and none are compared twice; name each pair once"),
            ({"comparisons": "all", "factors": "depth,regularizer,host"}, "name the compared factor with compare"),
            ({"comparisons": "all", "factors": "host", "seed": None}, "host has one level only, a: nothing to compare"),
        ],
    )
    def test_pairs_that_cannot_be_are_one_line(self, options: dict[str, Any], words: str) -> None:
        data = results().assign(host="a").replace({"none": "base"} if "host" in str(options) else {})
        with pytest.raises(UserError, match=words):
            analysed(data, **options)


class TestEffects:
    def test_main_effects_are_differences_of_unweighted_means_of_cells(self) -> None:
        data = results()
        effects = analysed(data).as_dict()["effects"]
        main = [each for each in effects if each["kind"] == "main effect" and each["factor"] == "regularizer"]
        assert [(each["a"], each["b"]) for each in main] == [("dropout", "none"), ("l2", "none")]
        for each in main:
            cells = [cell(data, depth, each[side]) for side in "ab" for depth in (1, 2)]
            wanted = by_hand(cells, [0.5, 0.5, -0.5, -0.5], 1 - 0.05 / 2)
            assert (each["estimate"], each["low"], each["high"]) == pytest.approx(wanted)

    def test_marginal_means_and_interactions_are_contrasts_of_cells(self) -> None:
        data = results()
        effects = analysed(data).as_dict()["effects"]
        [depth_one, _] = [each for each in effects if each["kind"] == "marginal mean" and each["factor"] == "depth"]
        wanted = by_hand([cell(data, 1, name) for name in NAMES], [1 / 3] * 3, 1 - 0.05 / 2)
        assert (depth_one["estimate"], depth_one["low"], depth_one["high"]) == pytest.approx(wanted)
        [first, _] = [each for each in effects if each["kind"] == "interaction" and each["factor"] == "regularizer"]
        assert (first["a"], first["b"], first["by"]) == ("dropout", "none", ["depth", 2, 1])
        cells = [cell(data, depth, name) for depth, name in itertools.product((2, 1), ("dropout", "none"))]
        wanted = by_hand(cells, [1, -1, -1, 1], 1 - 0.05 / 2)
        assert (first["estimate"], first["low"], first["high"]) == pytest.approx(wanted)

    def test_an_effect_without_a_cell_says_which_is_missing(self) -> None:
        data = results().query("not (depth == 2 and regularizer == 'l2')")
        effects = analysed(data).as_dict()["effects"]
        [lost] = [each for each in effects if each["kind"] == "main effect" and each["a"] == "l2"]
        assert (lost["estimate"], lost["reason"]) == (None, "no runs with depth 2, regularizer l2")

    def test_no_effect_has_a_verdict(self) -> None:
        assert not any("verdict" in each for each in analysed(results()).as_dict()["effects"])

    def test_the_table_tells_each_interaction_once_and_the_compared_factor_first(self) -> None:
        found = analysed(results())
        rows = effect_table(found.effects, found.analysis).rows
        assert [row[0] for row in rows] == [
            *(["mean"] * 3 + ["main effect"] * 2 + ["interaction"] * 2),
            *(["mean"] * 2 + ["main effect"]),
        ]
        assert rows[0][1] == "regularizer none"
        assert rows[5][1:3] == ("regularizer dropout – none", "depth 2 – 1")
