"""Agreement of maps is the mean pairwise rank correlation, pixel by pixel and as a whole."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr

from regulens.interpret.agreement import rank_correlations, seed_agreement, standardised_ranks


def some_maps(networks: int, side: int = 28, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(networks, side, side))


def test_identical_maps_agree_entirely() -> None:
    agreement = seed_agreement(np.repeat(some_maps(1), 4, axis=0))
    assert agreement.mean == pytest.approx(1)
    assert agreement.least == pytest.approx(1)
    assert agreement.map.min() >= 0


def test_independent_maps_agree_by_chance_only() -> None:
    agreement = seed_agreement(some_maps(10))
    assert abs(agreement.mean) < 0.02  # 45 pairs of sd 1 / 28
    assert agreement.networks == 10


def test_reversed_maps_disagree_entirely() -> None:
    first = some_maps(1)
    assert seed_agreement(np.concatenate([first, -first])).mean == pytest.approx(-1)


def test_two_maps_by_hand() -> None:
    # ranks 1 2 3 4 and 1 3 2 4: less 2.5 and over sqrt(1.25), the products are 9/5, -1/5, -1/5 and 9/5
    agreement = seed_agreement([[[1, 2], [30, 400]], [[-5, 7], [6, 8]]])
    np.testing.assert_allclose(agreement.map, [[1.8, -0.2], [-0.2, 1.8]])
    assert agreement.mean == pytest.approx(0.8)


@given(arrays(np.float64, (4, 3, 5), elements=st.integers(-3, 3).map(float)))
def test_the_mean_is_that_of_scipys_correlations_and_of_the_map(maps: np.ndarray) -> None:
    usable = [each.ravel() for each in maps if np.ptp(each) > 0]
    agreement = seed_agreement(maps)
    assert (agreement.networks, agreement.left_out) == (len(usable), 4 - len(usable))
    if len(usable) > 1:
        pairs = [spearmanr(a, b).statistic for a, b in combinations(usable, 2)]
        assert agreement.mean == pytest.approx(np.mean(pairs))
        assert agreement.map.mean() == pytest.approx(agreement.mean)
        assert (agreement.least, agreement.greatest) == pytest.approx((min(pairs), max(pairs)))


def test_every_pair_has_its_correlation_and_constant_maps_none() -> None:
    maps = some_maps(4, 6)
    maps[2] = 1
    agreement = seed_agreement(maps)
    for a, b in combinations(range(4), 2):
        expected = np.nan if 2 in {a, b} else spearmanr(maps[a].ravel(), maps[b].ravel()).statistic
        assert agreement.pairs[a, b] == pytest.approx(expected, nan_ok=True)
        assert agreement.pairs[b, a] == pytest.approx(expected, nan_ok=True)


def test_agreement_does_not_depend_on_the_maps_units() -> None:
    maps = some_maps(3)
    changed = np.stack([100 * maps[0], np.exp(maps[1]), maps[2] - 5])
    np.testing.assert_allclose(seed_agreement(changed).map, seed_agreement(maps).map)


def test_constant_and_diverged_maps_are_left_out_and_counted() -> None:
    maps = some_maps(5)
    maps[1] = 0.3
    maps[4, 0, 0] = np.nan
    agreement = seed_agreement(maps)
    assert (agreement.networks, agreement.left_out) == (3, 2)
    assert agreement.mean == pytest.approx(seed_agreement(maps[[0, 2, 3]]).mean)


@pytest.mark.parametrize("usable", [0, 1])
def test_fewer_than_two_maps_have_no_agreement(usable: int) -> None:
    maps = np.concatenate([some_maps(usable), np.zeros((2, 28, 28))])
    agreement = seed_agreement(maps)
    assert math.isnan(agreement.mean)
    assert math.isnan(agreement.least)
    assert np.isnan(agreement.map).all()
    assert agreement.map.shape == (28, 28)
    assert agreement.left_out == 2


def test_ranks_have_mean_zero_and_standard_deviation_one() -> None:
    ranks = standardised_ranks(np.round(some_maps(3, 9)))
    np.testing.assert_allclose(ranks.mean(axis=(1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(ranks.std(axis=(1, 2)), 1)


def test_correlations_are_map_by_map_and_nan_for_a_constant() -> None:
    a, b = some_maps(3, 6), some_maps(3, 6, seed=1)
    b[2] = 0
    found = rank_correlations(a, b)
    expected = [spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(a[:2], b[:2], strict=True)]
    np.testing.assert_allclose(found[:2], expected)
    assert np.isnan(found[2])


def test_shape_is_checked() -> None:
    with pytest.raises(ValueError, match=r"\(networks, H, W\), got \(3, 4\)"):
        seed_agreement(np.zeros((3, 4)))
