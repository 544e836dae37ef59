"""What runs cost is counted as it was recorded, compared only where it may be, and drawn as it is; no verdicts."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.lines import Line2D
from test_figures_analysis import drawn, legend, marked

import regulens
from regulens.api import Study
from regulens.errors import UserError
from regulens.figures.pareto import ParetoPoint, draw_pareto, pareto_info, plain_cost
from regulens.results import RunResult
from regulens.stats.cost import cell_cost, front, non_dominated
from regulens.study.cost import shared_cores, study_costs
from regulens.study.cost_text import cost_notes, cost_records, cost_table, number_text
from regulens.study.folder import own_store
from regulens.study.own_numbers import OwnAnalysis, analyze

COSTS = [10.0, 20.0, 20.0, 30.0, 40.0, 10.0]
ACCURACIES = [0.80, 0.85, 0.82, 0.85, 0.90, 0.80]


class TestFront:
    def test_dominated_are_those_that_another_beats_in_one_and_equals_in_the_other(self) -> None:
        assert non_dominated(COSTS, ACCURACIES, "higher").tolist() == [True, True, False, False, True, True]
        losses = [1 - value for value in ACCURACIES]
        assert non_dominated(COSTS, losses, "lower").tolist() == [True, True, False, False, True, True]

    @given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=12))
    def test_it_is_what_comparing_all_pairs_finds(self, points: list[tuple[int, int]]) -> None:
        cost, merit = np.array(points).T
        better = (
            (cost[:, None] <= cost) & (merit[:, None] >= merit) & ((cost[:, None] < cost) | (merit[:, None] > merit))
        )
        assert non_dominated(cost.tolist(), merit.tolist(), "higher").tolist() == (~better.any(axis=0)).tolist()


def frame(**columns: object) -> pd.DataFrame:
    """Return four runs each of a small, a large and a slow bad network."""
    rows = [
        {
            "network": name,
            "seed": seed,
            "val_accuracy": accuracy + 0.001 * seed,
            "seconds": seconds + seed,
            "params": size,
        }
        for name, accuracy, seconds, size in (
            ("none", 0.80, 10, 1000),
            ("large", 0.90, 50, 5000),
            ("bad", 0.7, 60, 5000),
        )
        for seed in range(4)
    ]
    return pd.DataFrame(rows).assign(**columns)


def analyzed(data: pd.DataFrame | None = None, cost: str | Sequence[str] = "seconds,params") -> OwnAnalysis:
    data = frame() if data is None else data
    return analyze(data, response="val_accuracy", factors="network", seed="seed", cost=cost)


class TestResultsFromElsewhere:
    def test_a_cost_is_the_median_over_a_cells_runs_with_its_range(self) -> None:
        found = analyzed().costs.set_index("network")
        assert found.loc["large", ["seconds", "seconds_low", "seconds_high"]].tolist() == [51.5, 50, 53]
        assert found.loc["large", ["params", "params_low", "params_high"]].tolist() == [5000] * 3
        assert found["seconds_non_dominated"].to_dict() == {"none": True, "large": True, "bad": False}
        assert found.loc["none", "estimate"] == pytest.approx(0.8015)

    def test_costs_are_in_the_json_and_change_nothing_else(self) -> None:
        found = json.loads(analyzed().to_json())
        without = analyze(frame(), response="val_accuracy", factors="network", seed="seed")
        assert {name: value for name, value in found.items() if name != "costs"} == without.as_dict()
        assert "costs" not in without.as_dict()
        seconds, params = found["costs"]
        assert (seconds["cost"], params["cost"], seconds["caution"]) == ("seconds", "params", None)
        large = next(each for each in seconds["cells"] if each["levels"] == {"network": "large"})
        assert large == {
            **{"levels": {"network": "large"}, "median": 51.5, "low": 50, "high": 53},
            **{"estimate": pytest.approx(0.9015), "non_dominated": True},
        }

    def test_tables_mark_what_is_not_dominated_and_hold_no_verdict(self) -> None:
        found = analyzed()
        table = cost_table(found.analysis, found.cost)
        rows = {row[0]: row[1:] for row in table.rows}
        assert rows["large"] == ("4", "51.50 [50, 53] *", "5,000 *")
        assert rows["bad"][1].rstrip() == "61.50 [60, 63]"
        told = " ".join([*table.columns, *(text for row in table.rows for text in row), *cost_notes(found.cost)])
        assert not {"better or worse", "equivalent", "undecided"} & set(told.split())

    def test_the_order_of_rows_changes_nothing(self) -> None:
        assert analyzed(frame().sample(frac=1, random_state=3)).to_json() == analyzed().to_json()

    def test_times_of_runs_that_shared_the_cores_are_not_compared(self, tmp_path: Path) -> None:
        found = analyzed(frame(workers=2))
        seconds, params = found.cost
        assert "2 runs were made at once" in seconds.caution
        assert not params.caution
        assert front(found.analysis, seconds) is None
        assert {each["non_dominated"] for each in cost_records(found.analysis, [seconds])[0]["cells"]} == {None}
        assert "*" not in "".join(row[2] for row in cost_table(found.analysis, [seconds]).rows)
        assert any("seconds" in note and "at once" in note for note in cost_notes(found.cost))
        assert [each.path.stem for each in regulens.draw_costs(found, tmp_path)] == ["pareto-params"]
        assert not analyzed(frame(workers=1)).cost[0].caution

    def test_each_cost_is_drawn(self, tmp_path: Path) -> None:
        found = regulens.draw_costs(analyzed(), tmp_path)
        assert [each.path.name for each in found] == ["pareto-seconds.svg", "pareto-params.svg"]
        assert all(each.path.with_suffix(".png").stat().st_size > 10_000 for each in found)
        assert "no verdict" in found[0].caption
        with pytest.raises(UserError, match="cost"):
            regulens.draw_costs(analyze(frame(), response="val_accuracy", factors="network"), tmp_path)

    @pytest.mark.parametrize(
        ("cost", "words"),
        [
            ("val_accuracy", "is the response"),
            ("seed", "is the response, the seed"),
            ("seconds,seconds", "twice"),
            ("secnds", "did you mean seconds"),
            (7, "cost must name columns"),
            ([], "got nothing"),
        ],
    )
    def test_columns_that_are_no_cost_are_refused(self, cost: str, words: str) -> None:
        with pytest.raises(UserError, match=words):
            analyzed(cost=cost)

    @pytest.mark.parametrize(
        ("value", "words"),
        [(0, r"row 3 \(index 2\): seconds is 0"), (-1.5, "above 0"), (math.nan, "NaN"), ("fast", "non-numeric")],
    )
    def test_costs_that_cannot_be_are_refused_by_row(self, value: object, words: str) -> None:
        data = frame().astype({"seconds": object})
        data.loc[2, "seconds"] = value
        with pytest.raises(UserError, match=words):
            analyzed(data)

    @pytest.mark.parametrize(
        ("value", "text"),
        [(217370.0, "217,370"), (0.35192, "0.3519"), (12.3456, "12.35"), (1.5e9, "1,500,000,000"), (2e-7, "2e-07")],
    )
    def test_numbers_have_four_digits(self, value: float, text: str) -> None:
        assert number_text(value) == text


class TestStudies:
    @pytest.fixture
    def results(self, finished: Study) -> list[RunResult]:
        return list(own_store(finished.spec, finished.folder).results())

    def test_costs_are_those_of_the_compared_runs(self, finished: Study, results: list[RunResult]) -> None:
        costs = {cost.name: cost for cost in study_costs(finished.spec, results)}
        assert list(costs) == ["seconds", "parameters", "updates", "epochs"]
        runs = [
            run for run in results if run.spec.compared and run.spec.model.depth == 2 and run.spec.regularizer == "none"
        ]
        levels = {"model.depth": 2, "regularizer": "none"}
        assert costs["seconds"].of(levels) == cell_cost([run.train_seconds for run in runs])
        assert costs["parameters"].of(levels).median == runs[0].parameters_trainable
        assert costs["epochs"].of(levels).median == 2
        assert costs["updates"].of(levels).median == 2 * math.ceil(runs[0].train_images / 32)

    def test_seconds_are_compared_only_of_runs_made_alone_on_one_machine(self, results: list[RunResult]) -> None:
        alone = [run.model_copy(update={"workers": 1}) for run in results]
        assert not shared_cores(alone)
        assert "2 runs were made at once" in shared_cores([alone[0].model_copy(update={"workers": 2}), *alone[1:]])
        assert "not recorded" in shared_cores([alone[0].model_copy(update={"workers": None}), *alone[1:]])
        elsewhere = alone[0].environment.model_copy(update={"cpu": "another"})
        assert "2 machines" in shared_cores([alone[0].model_copy(update={"environment": elsewhere}), *alone[1:]])

    def test_what_was_not_recorded_is_left_out(self, finished: Study, results: list[RunResult]) -> None:
        old = [run.model_copy(update={"updates": None}) for run in results]
        assert [cost.name for cost in study_costs(finished.spec, old)] == ["seconds", "parameters", "epochs"]

    def test_a_study_gives_its_costs_and_its_report_a_section(self, finished: Study) -> None:
        found = finished.costs()
        assert len(found) == 4
        assert found["parameters_non_dominated"].dtype == bool  # of networks that all collapsed none is on the front
        assert set(found["caution"]) == {"up to 2 runs were made at once and shared the cores"}
        assert found["seconds_non_dominated"].isna().all()
        text = finished.report("md").read_text()
        section = text.partition("\n## Cost")[2].partition("\n## ")[0]
        assert "seconds per run | parameters | updates | epochs" in section
        assert "The seconds cannot be compared: up to 2 runs were made at once" in section
        assert "pareto" not in section  # no network trained, so none has an estimate to draw


def point(place: int, **changes: float) -> ParetoPoint:
    made = ParetoPoint(f"net {place}", 0.8 + 0.01 * place, 0.79, 0.91, 100.0 * place, 90.0 * place, 120.0 * place, True)
    return replace(made, **changes)  # type: ignore[arg-type]


class TestFigure:
    def of(self, points: Sequence[ParetoPoint], gid: str, direction: str = "higher") -> list[Line2D]:
        info = pareto_info(points, "accuracy", "seconds", "lower" if direction == "lower" else "higher")
        figure = drawn(draw_pareto(info))
        return marked(figure.axes[0], gid)

    def test_points_lie_at_their_cost_and_estimate_with_their_interval_and_range(self) -> None:
        points = [point(1), point(4, non_dominated=False)]
        estimates = self.of(points, "estimate")
        np.testing.assert_allclose([line.get_xydata()[0] for line in estimates], [[100, 0.81], [400, 0.84]])
        assert [line.get_markerfacecolor() == "white" for line in estimates] == [False, True]
        assert [list(map(float, line.get_ydata())) for line in self.of(points, "interval")] == [[0.79, 0.91]] * 2
        assert [list(map(float, line.get_xdata())) for line in self.of(points, "range")] == [[90, 120], [360, 480]]

    def test_the_front_goes_through_the_non_dominated_by_cost(self) -> None:
        [line] = self.of([point(3), point(1), point(2, non_dominated=False)], "front")
        assert list(map(float, line.get_ydata())) == pytest.approx([0.81, 0.83, 0.83])
        assert list(map(float, line.get_xdata()))[:2] == pytest.approx([100, 300], rel=1e-6)

    def test_points_of_one_cost_are_set_side_by_side(self) -> None:
        same = {"cost": 100.0, "cost_low": 100.0, "cost_high": 100.0}
        places = [float(line.get_xdata()[0]) for line in self.of([point(k, **same) for k in (1, 2, 3)], "estimate")]
        assert places == sorted(places)
        assert len(set(places)) == 3
        assert all(95 < place < 105 for place in places)

    def test_a_very_wide_interval_is_cut_off_with_arrows(self) -> None:
        points = [point(k, low=0.8, high=0.85) for k in range(1, 5)] + [point(5, low=-3.0, high=4.0)]
        assert len(self.of(points, "beyond")) == 2
        assert not self.of(points[:4], "beyond")
        figure = draw_pareto(pareto_info(points, "accuracy", "seconds"))
        assert "interval goes on beyond the axis" in legend(figure)

    @pytest.mark.parametrize("count", [1, 20, 60])
    def test_all_that_is_named_is_on_the_page(self, count: int) -> None:
        points = [point(k, low=math.nan, high=math.nan, non_dominated=k % 9 == 0) for k in range(1, count + 1)]
        points = [replace(each, label="depth 2, batchnorm + dropout(0.25) + l2(0.0001)") for each in points]
        figure = drawn(
            draw_pareto(pareto_info(points, "validation loss, mean of non-collapsed runs", "FLOPs", "lower"))
        )
        named = [text for text in legend(figure) if text.startswith("depth")]
        assert len(named) == (count if count <= 20 else 6)
        assert ("54 more networks" in legend(figure)) == (count == 60)

    def test_no_points_and_costs_of_zero_are_refused(self) -> None:
        with pytest.raises(ValueError, match="none"):
            pareto_info([], "accuracy", "seconds")
        with pytest.raises(ValueError, match="above 0"):
            pareto_info([point(1, cost_low=0.0)], "accuracy", "seconds")

    @pytest.mark.parametrize(
        ("value", "text"), [(0.5, "0.5"), (999.0, "999"), (3200.0, "3.2 k"), (217_370.0, "217.4 k"), (1.5e9, "1.5 G")]
    )
    def test_costs_are_written_in_short(self, value: float, text: str) -> None:
        assert plain_cost(value) == text
