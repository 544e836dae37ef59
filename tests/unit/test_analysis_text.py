"""The tables and sentences that ``analyze`` prints say what the numbers say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from regulens.errors import UserError
from regulens.stats.analysis import Cell, analyse
from regulens.stats.design import Design, Primary
from regulens.stats.samples import sample
from regulens.study.analysis_json import analysis_dict
from regulens.study.analysis_text import cell_table, comparison_table, notes
from regulens.study.own_numbers import OwnAnalysis, analyze
from regulens.study.posterior_text import posterior_table


def runs(
    cells: Mapping[str, Sequence[float] | NDArray[np.float64]], response: str = "val_accuracy", **options: Any
) -> OwnAnalysis:
    rows = [(name, seed, value) for name, values in cells.items() for seed, value in enumerate(values)]
    data = pd.DataFrame(rows, columns=["regularizer", "seed", response])
    return analyze(data, response=response, factors="regularizer", seed="seed", **options)


def spread(mean: float, sd: float = 0.003, n: int = 30, seed: int = 0) -> NDArray[np.float64]:
    return mean + sd * np.random.default_rng(seed).standard_normal(n)


def test_a_mean_that_is_unknown_costs_the_others_no_digits() -> None:
    data = pd.DataFrame(
        {
            "regularizer": ["none"] * 5 + ["l2"] * 5,
            "val_loss": [math.nan] * 5 + [0.41, 0.42, 0.43, 0.42, 0.4],
            "lost": [True] * 5 + [False] * 5,
        }
    )
    found = analyze(data, response="val_loss", factors="regularizer", collapsed="lost")
    _, second = cell_table(found.analysis).rows
    assert second[3].startswith("0.4160 [")


def test_where_every_run_diverged_the_error_says_so() -> None:
    data = pd.DataFrame({"regularizer": ["none", "l2"] * 3, "val_loss": [math.inf] * 6, "lost": [True] * 6})
    with pytest.raises(UserError, match="the data: val_loss has no finite value: every run diverged"):
        analyze(data, response="val_loss", factors="regularizer", collapsed="lost")


def test_a_verdict_that_is_half_of_the_story_is_marked_in_the_tables() -> None:
    found = runs(
        {"none": spread(0.85), "l2": np.append(spread(0.88, n=18, seed=1), [0.1] * 12), "dropout": spread(0.852, 1e-4)},
        chance=0.1,
    )
    posterior = posterior_table(found.analysis)
    assert posterior is not None
    for table, column in ((comparison_table(found.analysis), -1), (posterior, 1)):
        words = {row[0]: row[column] for row in table.rows}
        assert words["l2 – none"] == "mixed: better"
        assert words["dropout – none"] == "equivalent, above zero"


def test_what_would_undo_a_verdict_names_which_level_would_have_to_fail_more_often() -> None:
    found = runs({"none": spread(0.9), "l2": spread(0.8, seed=1), "dropout": spread(0.95, seed=2)}, chance=0.1)
    said = " ".join(notes(found.analysis))
    assert "undone for all runs if none fails to train 12 points more often than l2" in said
    assert "undone for all runs if dropout fails to train 5.9 points more often than none" in said


def test_the_family_is_that_which_was_declared_though_some_cells_have_no_runs() -> None:
    rows = [
        (name, depth, 0.9 + 0.001 * at)
        for name, depths in (("none", (1, 2, 3)), ("l2", (1, 2)))
        for depth in depths
        for at in range(5)
    ]
    data = pd.DataFrame(rows, columns=["regularizer", "depth", "val_accuracy"])
    found = analyze(data, response="val_accuracy", factors="regularizer,depth")
    assert any(
        each.startswith("The 3 comparisons form one family: each interval has level 98.33 %")
        for each in notes(found.analysis)
    )


def test_one_comparison_with_two_answers_is_a_family_too() -> None:
    said = notes(runs({"none": spread(0.9), "l2": spread(0.8)}, chance=0.1).analysis)
    assert any(each.startswith("Both answers of the comparison form one family: each interval") for each in said)


def test_a_mean_of_all_runs_that_cannot_allow_for_collapses_says_so() -> None:
    rows = [(name, at, 0.4 + 0.01 * at, False) for name in ("none", "l2") for at in range(5)]
    data = pd.DataFrame(rows, columns=["regularizer", "seed", "val_loss", "collapsed"])
    said = "the mean of all runs does not allow for collapses that were not seen"
    found = analyze(data, response="val_loss", factors="regularizer", seed="seed")
    assert any(said in each for each in found.warnings)
    data.loc[0, ["val_loss", "collapsed"]] = [2.3, True]
    assert not any(said in each for each in analyze(data, response="val_loss", factors="regularizer").warnings)


@pytest.mark.parametrize(("primary", "over"), [("trained", ["seeds", "images"]), ("median", ["seeds"])])
def test_json_says_what_a_verdict_is_over_not_what_was_declared(primary: Primary, over: list[str]) -> None:
    rng = np.random.default_rng(0)
    scores = {name: (rng.random((5, 50)) < right) * 1.0 for name, right in (("none", 0.8), ("l2", 0.9))}
    cells = [Cell({"regularizer": name}, sample(x.mean(1)), x) for name, x in scores.items()]
    design = Design(primary=primary, over=("seeds", "images"), bounds=(0, 1))
    found = analyse(cells, "regularizer", [("l2", "none")], design, rng)
    assert analysis_dict(found)["comparisons"][0]["over"] == over
