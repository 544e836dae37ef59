"""Grids of strengths, and what they warn of."""

from __future__ import annotations

import numpy as np
import pytest

from regulens.spec import RunSpec, StudySpec
from regulens.stats.cells import Cells
from regulens.stats.design import Design
from regulens.stats.samples import Sample, sample
from regulens.study.grid import cells
from regulens.study.strengths import StrengthSeries, strength_series

LEVELS = ["none", "l2(0.001)", "l2(0.01)", "l2(0.1)", "dropout(0.1)", "batchnorm", "batchnorm + l2(0.01)"]


def study(levels: list[str]) -> StudySpec:
    return StudySpec(name="grid", factors={"model.depth": [1, 2], "regularizer": levels})


def runs(spec: StudySpec, means: dict[str, float]) -> dict[RunSpec, Sample]:
    steps = 0.001 * np.arange(-2, 3)
    return {cell: sample(means.get(cell.regularizer, 0.5) + steps) for cell in cells(spec)}


def grids(levels: list[str], means: dict[str, float]) -> list[StrengthSeries]:
    spec = study(levels)
    return strength_series(spec, Cells(runs(spec, means), Design(bounds=(0, 1))))


def test_a_grid_needs_two_strengths_and_takes_none_as_zero() -> None:
    found = grids(LEVELS, {"l2(0.01)": 0.8})
    assert [(each.kind, each.where) for each in found] == [("l2", "depth 1"), ("l2", "depth 2")]
    assert found[0].strengths == (0.0, 0.001, 0.01, 0.1)
    assert [mean.estimate for mean in found[0].means] == pytest.approx([0.5, 0.5, 0.8, 0.5])
    assert found[0].best(higher=True) == 2
    assert found[0].warnings(higher=True) == []


def test_companions_make_a_grid_of_their_own() -> None:
    levels = ["batchnorm", "batchnorm + l2(0.01)", "batchnorm + l2(0.1)"]
    found = grids(levels, {})
    assert found[0].kind == "l2 + batchnorm"
    assert found[0].strengths == (0.0, 0.01, 0.1)


@pytest.mark.parametrize(
    ("best", "higher", "words"),
    [("l2(0.1)", True, "the strongest of the grid"), ("none", True, "no strength does better than none")],
)
def test_an_edge_and_a_useless_arm_are_warned_of(best: str, higher: bool, words: str) -> None:
    (warning,) = grids(LEVELS, {best: 0.9})[0].warnings(higher)
    assert words in warning
    assert warning.startswith("l2, depth 1")


def test_without_none_the_weakest_is_an_edge_too() -> None:
    found = grids(["l2(0.001)", "l2(0.01)"], {"l2(0.001)": 0.9})
    assert "the weakest of the grid" in found[0].warnings(higher=True)[0]
    assert found[0].warnings(higher=False) != []


def test_no_interval_reaches_beyond_what_is_possible() -> None:
    spec = study(["none", "l2(0.1)", "l2(0.2)"])
    wild = {cell: sample([0.1, 0.99, 0.98]) for cell in cells(spec)}
    for each in strength_series(spec, Cells(wild, Design(bounds=(0, 1)))):
        assert all(0 <= mean.low <= mean.high <= 1 for mean in each.means)
