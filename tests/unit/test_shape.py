"""The shape of runs: against scipy's skewness and L-moments, and what it does to bounds under known skewness."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from regulens.stats.shape import EVIDENT, SUSPECT, Shape, shape_of

Groups = list[NDArray[np.float64]]


def drawn(seed: int, n: int, cells: int = 4, skewed: bool = False) -> Groups:
    rng = np.random.default_rng(seed)
    x = 1 - rng.exponential(1, (cells, n)) if skewed else rng.standard_normal((cells, n))
    return list(x)


def test_skewness_of_one_cell_is_scipys() -> None:
    x = np.random.default_rng(0).gamma(1.0, 1.0, 40)
    found = shape_of([x])
    assert found.evident
    noise = 6 * 40 * 39 / (38 * 41 * 43)
    assert found.skewness[0] == pytest.approx(stats.skew(x, bias=False) + 1.5 * math.sqrt(noise))


def test_skewness_without_evidence_is_the_mean_of_the_cells_by_precision_and_spread() -> None:
    groups = [np.random.default_rng(seed).standard_normal(n) * sd for seed, n, sd in ((1, 12, 1.0), (2, 30, 4.0))]
    found = shape_of(groups)
    assert not found.evident
    noise = np.array([6 * n * (n - 1) / ((n - 2) * (n + 1) * (n + 3)) for n in (12, 30)])
    weights = np.sqrt([x.std(ddof=1) for x in groups]) / noise
    pooled = float(np.average([stats.skew(x, bias=False) for x in groups], weights=weights))
    assert found.skewness == pytest.approx([pooled, pooled])


@pytest.mark.parametrize("n", [5, 10])
def test_one_in_ten_analyses_of_normal_runs_is_suspect_and_one_in_forty_evident(n: int) -> None:
    found = [shape_of(drawn(seed, n)) for seed in range(600)]
    assert np.mean([each.suspect for each in found]) <= 0.1 + 3 * math.sqrt(0.09 / 600)
    assert np.mean([each.evident for each in found]) <= 0.025 + 3 * math.sqrt(0.024 / 600)
    standard = np.array([(each.asymmetry, each.suspicion) for each in found])
    assert standard.std(axis=0) == pytest.approx([1.0, 1.0], abs=0.09)


def test_exponential_runs_are_told_from_normal_ones() -> None:
    assert np.mean([shape_of(drawn(seed, 5, skewed=True)).suspect for seed in range(300)]) > 0.5
    assert np.mean([shape_of(drawn(seed, 12, skewed=True)).evident for seed in range(300)]) > 0.85


def test_heavy_symmetric_tails_are_seldom_taken_for_skewness() -> None:
    rng = np.random.default_rng(3)
    found = [shape_of(list(rng.standard_t(3, (4, 12)))) for _ in range(400)]
    assert np.mean([each.evident for each in found]) < 0.12


def test_suspicion_is_told_from_l_skewness() -> None:
    x = np.array([0.1, 0.5, 0.55, 0.6, 0.62])
    n, rank = 5, np.arange(1, 6)
    b0 = x.mean()
    b1 = float(np.mean((rank - 1) / (n - 1) * x))
    b2 = float(np.mean((rank - 1) * (rank - 2) / ((n - 1) * (n - 2)) * x))
    l_skewness = (6 * b2 - 6 * b1 + b0) / (2 * b1 - b0)  # Hosking 1990

    def of_normal(y: NDArray[np.float64]) -> NDArray[np.float64]:
        y = np.sort(y, axis=1)
        first, second, third = y.mean(1), (y * (rank - 1)).mean(1) / 4, (y * (rank - 1) * (rank - 2)).mean(1) / 12
        return np.asarray((6 * third - 6 * second + first) / (2 * second - first))

    sd = of_normal(np.random.default_rng(9).standard_normal((100_000, 5))).std()
    assert shape_of([x]).suspicion == pytest.approx(l_skewness / sd, rel=0.02)


@given(st.integers(0, 500), st.integers(3, 9), st.floats(0.25, 8), st.floats(-4, 4))
def test_shape_turns_with_the_sign_and_not_with_unit_or_place(seed: int, n: int, unit: float, place: float) -> None:
    groups = drawn(seed, n, 3, skewed=seed % 2 == 0)
    one = shape_of(groups)
    moved, turned = shape_of([unit * x + place for x in groups]), shape_of([-x for x in groups])
    assert (moved.asymmetry, moved.suspicion) == pytest.approx((one.asymmetry, one.suspicion), abs=1e-6)
    assert moved.skewness == pytest.approx(one.skewness, abs=1e-6)
    assert (turned.asymmetry, turned.suspicion) == pytest.approx((-one.asymmetry, -one.suspicion), abs=1e-9)
    assert turned.skewness == pytest.approx(-one.skewness, abs=1e-9)


def test_cells_that_say_nothing_leave_no_shape() -> None:
    for groups in ([np.array([1.0, 2.0])], [np.full(5, 0.9)], [np.array([])], []):
        found = shape_of(groups)
        assert (found.asymmetry, found.suspicion, found.suspect) == (0.0, 0.0, False)
        assert found.stretch(0.0, 1.0, 5.0) == (1.0, 1.0)


def test_a_tail_to_the_left_moves_the_lower_bound_alone() -> None:
    for shape in (Shape(0.0, 0.0, np.zeros(1)), Shape(-EVIDENT - 1, -SUSPECT - 1, np.zeros(1))):
        below, above = shape.stretch(-0.3, 1.0, 9.0)
        assert below > 1.0
        assert above == 1.0
        assert shape.stretch(0.3, 1.0, 9.0) == (above, below)
        assert shape.stretch(-3.0, 1.0, 9.0)[0] <= 3.5
        assert shape.stretch(-0.6, 1.0, 9.0)[0] >= below


def test_evident_skewness_is_corrected_in_full() -> None:
    mild, full = Shape(0.0, 0.0, np.zeros(1)), Shape(EVIDENT + 0.1, 0.0, np.zeros(1))
    assert 1.0 < mild.stretch(0.2, 1.0, 19.0)[1] <= 1.25 < full.stretch(0.6, 1.0, 19.0)[1]
