"""Runs elsewhere that collapsed or diverged: by a column, a bound or the accuracy of guessing; none is dropped."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from regulens.errors import UserError
from regulens.study.own_numbers import OwnAnalysis, analyze

RUNS = 8


def results() -> pd.DataFrame:
    """Return runs of which two of l2 have no loss and an accuracy of guessing."""
    rows = [
        (name, seed, 0.8 + 0.05 * place + 0.002 * at, 0.5 - 0.1 * place + 0.01 * at)
        for place, name in enumerate(("none", "l2"))
        for seed, at in enumerate(np.linspace(-1, 1, RUNS))
    ]
    frame = pd.DataFrame(rows, columns=["regularizer", "seed", "val_accuracy", "val_loss"])
    lost = (frame["regularizer"] == "l2") & frame["seed"].isin([2, 5])
    frame.loc[lost, "val_loss"] = [math.nan, math.inf]
    frame.loc[lost, "val_accuracy"] = 0.1
    return frame


def lost_rows(frame: pd.DataFrame) -> pd.Series:
    return frame["val_accuracy"] == 0.1


def analysed(data: pd.DataFrame, response: str = "val_loss", **options: Any) -> OwnAnalysis:
    found = analyze(data, response=response, factors="regularizer", seed="seed", **options)
    json.loads(found.to_json())
    return found


class TestDiverged:
    def test_a_run_that_diverged_counts_in_n_and_in_the_rate_and_is_the_worst(self) -> None:
        data = results()
        found = analysed(data.assign(collapsed=lost_rows(data)))
        [each] = found.as_dict()["comparisons"]
        assert (each["n_a"], each["n_b"]) == (RUNS, RUNS)
        trained = data.loc[(data["regularizer"] == "l2") & ~lost_rows(data), "val_loss"].to_numpy()
        control = data.loc[data["regularizer"] == "none", "val_loss"].to_numpy()
        assert (each["trained"]["n_a"], each["trained"]["n_b"]) == (RUNS - 2, RUNS)
        assert each["trained"]["difference"] == pytest.approx(trained.mean() - control.mean())
        bounds = stats.ttest_ind(trained, control, equal_var=False).confidence_interval(1 - 0.05 / 2)
        assert (each["low"], each["high"]) == pytest.approx(tuple(bounds))  # means and rates share the family
        assert each["rate"]["difference"] == pytest.approx(2 / RUNS)
        worst = np.where(lost_rows(data)[data["regularizer"] == "l2"], 99.0, 0.0)
        assert each["probability_of_improvement"] == pytest.approx(np.mean(worst == 0))  # the others are all better
        assert each["overall"]["difference"] is None  # what a diverged run comes to is unknown
        said = (
            "2 runs without a finite val_loss count as collapsed: the last in P(better); of the mean of all runs they "
            "leave it unknown"
        )
        assert said in found.warnings

    def test_no_value_and_no_mark_is_refused_with_what_to_do(self) -> None:
        with pytest.raises(UserError, match=r"val_loss is NaN \(nan\); a run that diverged counts: mark it true"):
            analysed(results())
        with pytest.raises(UserError, match=r"row 11 \(index 10\): val_loss is NaN"):
            analysed(results().assign(collapsed=False))

    def test_an_accuracy_of_guessing_is_where_diverged_runs_stand(self) -> None:
        data = results()
        data["collapsed"] = lost_rows(data)
        data.loc[data["collapsed"], "val_accuracy"] = math.nan
        found = analysed(data, "val_accuracy", chance=0.125)
        [l2] = [cell for cell in found.as_dict()["cells"] if cell["levels"]["regularizer"] == "l2"]
        kept = data.loc[(data["regularizer"] == "l2") & ~data["collapsed"], "val_accuracy"]
        assert l2["mean"] == pytest.approx((kept.sum() + 2 * 0.125) / RUNS)
        assert any("of the mean of all runs they stand at 0.125 in it" in said for said in found.warnings)

    def test_a_cell_in_which_every_run_diverged_is_described_without_numbers(self) -> None:
        data = results()
        data["collapsed"] = data["regularizer"] == "l2"
        data.loc[data["collapsed"], "val_loss"] = math.nan
        for options in ({}, {"primary": "mean"}, {"primary": "median"}, {"paired": True}, {"effect": 0.1}):
            found = analysed(data, **options).as_dict()
            [l2] = [cell for cell in found["cells"] if cell["levels"]["regularizer"] == "l2"]
            assert (l2["collapsed"], l2["trained_mean"], l2["median"]) == (RUNS, None, None)
            assert "no run trained" in l2["reason"]
            [each] = found["comparisons"]
            assert (each["verdict"], each["difference"]) == ("too few runs", None)
            assert each["rate"]["difference"] == 1


class TestRules:
    def test_a_column_called_collapsed_tells_without_being_asked_and_over_chance(self) -> None:
        data = results().assign(val_accuracy=lambda x: x["val_accuracy"].replace(0.1, 0.13))
        marked = data.assign(collapsed=data["val_accuracy"] == 0.13)
        [l2] = [each for each in analysed(marked, "val_accuracy", chance=0.1).as_dict()["cells"] if each["collapsed"]]
        assert (l2["levels"]["regularizer"], l2["collapsed"]) == ("l2", 2)  # 0.13 is above 1.1 times chance
        found = analysed(marked, "val_accuracy", chance=0.1)
        assert "which runs collapsed is taken from the column collapsed" in found.warnings
        assert not any("1.1 times chance" in said for said in found.warnings)
        without = analysed(data, "val_accuracy", chance=0.1)
        assert [each["collapsed"] for each in without.as_dict()["cells"]] == [0, 0]

    def test_a_column_named_for_it_tells_in_any_words_for_truth(self, tmp_path: Path) -> None:
        data = results()
        data["broken"] = np.where(lost_rows(data), "Yes", "no")
        path = tmp_path / "runs.csv"
        data.to_csv(path, index=False)
        found = analyze(path, response="val_loss", factors="regularizer", seed="seed", collapsed="broken")
        assert [cell["collapsed"] for cell in found.as_dict()["cells"]] == [0, 2]
        data.loc[0, "broken"] = "perhaps"
        with pytest.raises(UserError, match=r'row 1 \(index 0\): broken "perhaps" is neither true nor false'):
            analysed(data, collapsed="broken")

    def test_a_column_called_collapsed_that_holds_something_else_is_told_of(self) -> None:
        data = results().query("val_accuracy != 0.1").assign(collapsed="maybe")
        found = analysed(data)
        assert {cell["collapsed"] for cell in found.as_dict()["cells"]} == {None}
        assert any(said.startswith("the column collapsed was not used: it has values") for said in found.warnings)

    @pytest.mark.parametrize(("response", "bound", "collapsed"), [("val_accuracy", 0.5, 2), ("val_loss", 0.45, 3)])
    def test_trained_above_is_a_bound_on_the_better_side(self, response: str, bound: float, collapsed: int) -> None:
        data = results()
        data.loc[(data["regularizer"] == "l2") & (data["seed"] == 0), "val_loss"] = 0.46  # lower is better
        found = analysed(data.query("regularizer == 'l2'").pipe(with_control, data), response, trained_above=bound)
        [l2] = [cell for cell in found.as_dict()["cells"] if cell["levels"]["regularizer"] == "l2"]
        assert l2["collapsed"] == collapsed
        beyond = "below" if response == "val_loss" else "above"
        assert any(f"runs not {beyond} {bound:g} count as collapsed, as declared" in said for said in found.warnings)

    def test_a_bound_in_points_is_refused_with_the_fraction(self) -> None:
        with pytest.raises(UserError, match=r"trained_above 50 is above 1, and val_accuracy is a fraction; write 0\.5"):
            analysed(results(), "val_accuracy", trained_above=50)

    def test_of_several_responses_the_accuracy_tells_for_all(self) -> None:
        data = results()
        found = analysed(data, "val_loss,val_accuracy", chance=0.1)
        for each in (found, *found.others.values()):
            assert [cell["collapsed"] for cell in each.as_dict()["cells"]] == [0, 2]
        assert any("count as collapsed, by val_accuracy, in all responses" in said for said in found.warnings)
        [loss] = found.as_dict()["comparisons"]
        assert loss["overall"]["difference"] is None  # an accuracy of guessing is no loss


def with_control(runs: pd.DataFrame, every: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of l2 with those of the control, whose losses are low enough to have trained."""
    control = every.query("regularizer == 'none'")
    return pd.concat([control.assign(val_loss=control["val_loss"] - 0.1), runs])


def test_a_run_beyond_a_gap_is_told_of_and_counts_as_trained() -> None:
    rng = np.random.default_rng(3)
    rows = [(name, seed, 0.9 + rng.normal(0, 0.004)) for name in ("none", "l2") for seed in range(10)]
    data = pd.DataFrame(rows, columns=["regularizer", "seed", "val_accuracy"])
    data.loc[3, "val_accuracy"] = 0.45
    found = analysed(data, "val_accuracy", chance=0.1)
    assert [cell["collapsed"] for cell in found.as_dict()["cells"]] == [0, 0]
    assert any(said.startswith("1 run lies") for said in found.warnings)
