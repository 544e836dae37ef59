"""The gap rule: it flags what a gap separates, seldom anything else, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from regulens.stats.gaps import gap_flags

Values = NDArray[np.float64]
LEVELS = np.array([0.88, 0.85, 0.90, 0.87])[:, None]
DRAWS: dict[str, Callable[[np.random.Generator, tuple[int, int]], Values]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "t3": lambda rng, shape: rng.standard_t(3, shape) / 3**0.5,
    "exponential": lambda rng, shape: -rng.exponential(1, shape),
    "lognormal": lambda rng, shape: -np.exp(rng.standard_normal(shape)) / 2.16,
}


def flags(values: Values, failed: float | None = 0.1, higher: bool = True) -> NDArray[np.bool_]:
    """Flags of the runs (cells, n), none of which counts as collapsed."""
    return np.array(gap_flags(list(values), list(np.zeros(values.shape, np.bool_)), failed, higher))


@pytest.mark.parametrize("kind", DRAWS)
@pytest.mark.parametrize("failed", [0.1, None])
def test_at_most_one_study_in_a_hundred_without_partial_collapse_has_a_flag(kind: str, failed: float | None) -> None:
    rng, studies = np.random.default_rng(3), 600
    flagged = sum(flags(LEVELS + 0.01 * DRAWS[kind](rng, (4, 10)), failed).any() for _ in range(studies))
    assert flagged / studies <= 0.01 + 3 * (0.01 * 0.99 / studies) ** 0.5


@pytest.mark.parametrize(("rate", "least"), [(0.02, 0.95), (0.1, 0.97), (0.3, 0.9)])
@pytest.mark.parametrize("n", [5, 10, 30])
def test_runs_stuck_at_a_half_are_flagged_and_no_other(rate: float, least: float, n: int) -> None:
    rng, hits, runs, false = np.random.default_rng(4), 0, 0, 0
    for _ in range(100):
        stuck = rng.random((4, n)) < rate
        values = np.where(stuck, rng.uniform(0.2, 0.7, (4, n)), LEVELS + 0.01 * rng.standard_normal((4, n)))
        flagged = flags(values)
        hits, runs, false = hits + (flagged & stuck).sum(), runs + stuck.sum(), false + (flagged & ~stuck).sum()
    assert hits / runs >= least - (0.1 if n == 5 else 0.0)
    assert false <= 0.01 * runs


def test_cells_of_three_and_any_order_will_do() -> None:
    values = np.array([[0.88, 0.89, 0.885], [0.45, 0.80, 0.81], [0.86, 0.861, 0.859]])
    expected = values < 0.5
    assert (flags(values) == expected).all()
    assert (flags(values[:, ::-1]) == expected[:, ::-1]).all()


def test_a_loss_is_flagged_as_the_accuracy_is() -> None:
    values = LEVELS + 0.01 * np.random.default_rng(1).standard_normal((4, 8))
    values[2, 3] = 0.6
    assert flags(values)[2, 3]
    assert flags(values).sum() == 1
    assert (flags(values) == flags(2.5 - 2 * values, 2.3, higher=False)).all()


def test_a_cell_that_trains_worse_as_a_whole_is_not_flagged() -> None:
    values = np.array([[0.88, 0.885, 0.89], [0.50, 0.51, 0.505]])
    assert not flags(values).any()


def test_a_collapsed_run_is_never_flagged_and_counts_for_nothing() -> None:
    values = [np.array([0.88, 0.1, 0.885, 0.5, np.nan]), np.array([0.1, 0.1]), np.array([0.87, 0.875, 0.88])]
    collapsed = [np.array([False, True, False, False, True]), np.array([True, True]), np.zeros(3, np.bool_)]
    got = gap_flags(values, collapsed, 0.1)
    assert [each.tolist() for each in got] == [[False, False, False, True, False], [False, False], [False] * 3]
    assert not any(each.any() for each in gap_flags(values[1:2], collapsed[1:2], 0.1))


def test_where_guessing_is_unknown_many_runs_are_needed() -> None:
    values = LEVELS + 0.003 * np.random.default_rng(2).standard_normal((4, 7))
    values[0, 0] = 0.4
    assert flags(values, None).sum() == 1
    assert not flags(values[:, :6], None).any()
    assert not flags(np.where(values < 0.5, 0.4, 0.9), None).any()  # nor without any spread to measure a gap by


def test_a_trained_run_without_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        flags(np.array([[0.8, np.nan, 0.8]]))
