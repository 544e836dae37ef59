"""The exact permutation test against all arrangements by hand, and scipy's."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from regulens.stats.permutation import permutation_p

Values = NDArray[np.float64]


def test_it_counts_all_arrangements_of_few_runs() -> None:
    a, b = np.array([0.9, 0.91, 0.87, 0.93]), np.array([0.88, 0.86, 0.85, 0.9])
    pooled = np.concatenate([a, b])

    def t(chosen: tuple[int, ...]) -> float:
        one, other = pooled[list(chosen)], np.delete(pooled, list(chosen))
        return abs(float(stats.ttest_ind(one, other, equal_var=False).statistic))

    every = [t(chosen) for chosen in itertools.combinations(range(8), 4)]
    assert permutation_p(a, b) == pytest.approx(np.mean([each >= t((0, 1, 2, 3)) - 1e-9 for each in every]))


def test_it_is_scipys_of_the_studentized_difference() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal(5), rng.standard_normal(6) + 1

    def t(x: Values, y: Values, axis: int) -> Values:
        error = np.sqrt(x.var(axis=axis, ddof=1) / x.shape[axis] + y.var(axis=axis, ddof=1) / y.shape[axis])
        return np.asarray(np.abs(x.mean(axis=axis) - y.mean(axis=axis)) / error)

    expected = stats.permutation_test((a, b), t, vectorized=True, n_resamples=math.inf, alternative="greater").pvalue
    assert permutation_p(a, b) == pytest.approx(expected)
    assert permutation_p(b, a) == pytest.approx(expected)


def test_of_pairs_it_flips_every_sign() -> None:
    a, b = np.array([0.9, 0.91, 0.87, 0.93, 0.9, 0.88]), np.array([0.88, 0.86, 0.85, 0.94, 0.86, 0.86])
    flips = [np.array(signs) * (a - b) for signs in itertools.product([1, -1], repeat=6)]
    t = [abs(float(stats.ttest_1samp(each, 0).statistic)) for each in flips]
    assert permutation_p(a, b, paired=True) == pytest.approx(np.mean([each >= t[0] - 1e-9 for each in t]))


def test_under_equal_means_and_unequal_variances_it_errs_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    wrong = [permutation_p(rng.standard_normal(4), 4 * rng.standard_normal(6)) <= 0.05 for _ in range(150)]
    assert np.mean(wrong) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150)


@pytest.mark.parametrize("same", [True, False])
def test_cells_without_spread_have_a_p(same: bool) -> None:
    a, b = np.full(5, 0.9), np.full(5, 0.9 if same else 0.8)
    assert permutation_p(a, b) == pytest.approx(1.0 if same else 2 / 252)


def test_many_or_single_runs_have_none() -> None:
    rng = np.random.default_rng(0)
    assert math.isnan(permutation_p(rng.standard_normal(8), rng.standard_normal(8)))  # 12,870 arrangements
    assert not math.isnan(permutation_p(rng.standard_normal(13), rng.standard_normal(13), paired=True))
    assert math.isnan(permutation_p(rng.standard_normal(14), rng.standard_normal(14), paired=True))
    assert math.isnan(permutation_p(np.array([0.9]), rng.standard_normal(8)))
