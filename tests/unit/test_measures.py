"""Measures of kernels against values derived by hand, and where they are not defined."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import gammaln

from regulens.interpret.activations import FilterResponses
from regulens.interpret.importance import FilterImportance
from regulens.interpret.measures import (
    MEASURES,
    class_selectivity,
    effective_rank,
    hoyer_sparsity,
    l2_norm,
    layer_measures,
    orientation_energy,
    oriented_pair,
    redundancy,
    total_variation,
)
from regulens.interpret.receptive import ReceptiveField

SOBEL = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
PREWITT = np.array([[-1.0, 0, 1]] * 3)
LAPLACE = np.array([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])


def filters(*kernels: NDArray[np.float64]) -> NDArray[np.float64]:
    """(filters, 1, h, w) of kernels (h, w)."""
    return np.stack(kernels)[:, None]


def flat(*rows: list[float]) -> NDArray[np.float64]:
    """(filters, n, 1, 1) of rows of n weights."""
    return np.array(rows, float)[:, :, None, None]


def noise(count: int, *shape: int) -> NDArray[np.float64]:
    return np.random.default_rng(0).normal(size=(count, *shape))


def responses(class_means: NDArray[np.float64], active: NDArray[np.float64]) -> FilterResponses:
    count = class_means.shape[1]
    empty = np.zeros((count, 1), np.int64)
    return FilterResponses(
        layer="conv1",
        images=10,
        peak=np.zeros(count),
        mean=np.zeros(count),
        active=active,
        class_means=class_means,
        exciting=empty,
        values=np.zeros((count, 1)),
        positions=np.zeros((count, 1, 2), np.int64),
        field=ReceptiveField(),
    )


def test_norm_is_the_root_of_the_sum_of_squares() -> None:
    np.testing.assert_allclose(l2_norm(flat([3, 4], [0, 0])), [5, 0])


def test_sparsity_is_one_for_one_weight_and_zero_for_equal_ones() -> None:
    found = hoyer_sparsity(flat([0, -7, 0, 0], [2, -2, 2, 2], [1, 1, 0, 0], [0, 0, 0, 0]))
    np.testing.assert_allclose(found, [1, 0, 2 - math.sqrt(2), np.nan], atol=1e-12)


def test_sparsity_of_a_single_weight_is_undefined() -> None:
    assert np.isnan(hoyer_sparsity(flat([3]))).all()


def test_total_variation_is_zero_if_flat_and_two_for_a_chess_board() -> None:
    board = np.array([[1.0, -1, 1], [-1, 1, -1], [1, -1, 1]])
    found = total_variation(filters(np.full((3, 3), 5.0), 0.1 * board, np.zeros((3, 3))))
    np.testing.assert_allclose(found, [0, 2, np.nan], atol=1e-12)


def test_total_variation_of_a_step_is_derived_by_hand() -> None:
    step = np.array([[0.0, 1], [0, 1]])  # differences 0, 0 down and 1, 1 across: mean 1/2; root mean square sqrt(1/2)
    np.testing.assert_allclose(total_variation(filters(step)), 0.5 / math.sqrt(0.5))


@pytest.mark.parametrize("shape", [(1, 3, 3), (16, 3, 3), (2, 4, 2)])
def test_total_variation_of_white_noise_is_as_documented(shape: tuple[int, int, int]) -> None:
    n = math.prod(shape)
    expected = math.sqrt(2 * n / math.pi) * math.exp(gammaln(n / 2) - gammaln((n + 1) / 2))
    np.testing.assert_allclose(total_variation(noise(20_000, *shape)).mean(), expected, rtol=0.01)
    assert n != 9 or round(expected, 2) == 1.16


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 3), (3, 1)])
def test_total_variation_needs_two_by_two_weights(height: int, width: int) -> None:
    assert np.isnan(total_variation(noise(2, 1, height, width))).all()


def test_effective_rank_counts_orthogonal_filters_and_is_one_for_multiples() -> None:
    assert effective_rank(np.eye(4)[:, :, None, None] * 3) == pytest.approx(4)
    assert effective_rank(flat([1, 2], [-2, -4], [3, 6])) == pytest.approx(1)
    shares = np.array([0.75, 0.25])
    assert effective_rank(flat([3, 0], [0, 1])) == pytest.approx(math.exp(-(shares * np.log(shares)).sum()))
    assert math.isnan(effective_rank(flat([0, 0], [0, 0])))


def test_redundancy_is_the_greatest_cosine_to_another_filter() -> None:
    half = math.sqrt(0.5)
    found = redundancy(flat([1, 0], [1, 1], [-1, 0], [0, 0]))
    np.testing.assert_allclose(found, [half, half, -half, np.nan])
    np.testing.assert_allclose(redundancy(flat([1, 2], [10, 20])), [1, 1])


def test_redundancy_of_a_filter_without_another_is_undefined() -> None:
    assert np.isnan(redundancy(flat([1, 2]))).all()
    assert np.isnan(redundancy(flat([1, 2], [0, 0]))).all()


def test_selectivity_is_the_contrast_of_the_best_class_to_the_others() -> None:
    means = np.array([[4.0, 2, 0, 3], [1, 2, 0, 0], [np.nan] * 4, [1, 2, 0, 0]])
    np.testing.assert_allclose(class_selectivity(means), [(4 - 1) / (4 + 1), 0, np.nan, 1])


def test_selectivity_needs_two_classes_with_images() -> None:
    assert np.isnan(class_selectivity(np.array([[1.0, 2], [np.nan, np.nan]]))).all()


def test_selectivity_of_overflown_means_is_undefined() -> None:
    found = class_selectivity(np.array([[np.inf, 1.0], [np.inf, 0.0]]))
    np.testing.assert_allclose(found, [np.nan, 1])


def test_the_oriented_pair_at_three_by_three_is_sobels() -> None:
    norm = math.sqrt(12)
    np.testing.assert_allclose(oriented_pair(3, 3), [SOBEL.T / norm, SOBEL / norm], atol=1e-12)


def test_orientation_energy_is_one_for_edges_and_zero_for_blobs() -> None:
    slanted = math.cos(0.7) * SOBEL - math.sin(0.7) * SOBEL.T
    found = orientation_energy(filters(SOBEL, slanted, PREWITT, LAPLACE, np.ones((3, 3)), np.zeros((3, 3))))
    np.testing.assert_allclose(found, [1, 1, 8 / 9, 0, 0, np.nan], atol=1e-12)


def test_every_input_channel_may_have_its_own_angle() -> None:
    np.testing.assert_allclose(orientation_energy(np.stack([SOBEL, SOBEL.T, -SOBEL])[None]), 1)
    np.testing.assert_allclose(orientation_energy(np.stack([SOBEL, LAPLACE])[None]), 12 / (12 + 20))


@pytest.mark.parametrize("shape", [(1, 3, 3), (3, 5, 5), (2, 4, 7)])
def test_orientation_energy_of_white_noise_is_as_documented(shape: tuple[int, int, int]) -> None:
    found = orientation_energy(noise(20_000, *shape))
    np.testing.assert_allclose(found.mean(), 2 / (shape[1] * shape[2]), rtol=0.02)


def test_orientation_energy_needs_three_by_three_weights() -> None:
    assert np.isnan(orientation_energy(noise(2, 1, 2, 5))).all()


def test_a_layer_is_the_mean_over_the_filters_that_have_a_value() -> None:
    means = np.array([[3.0, 0], [1, 0]])
    importance = FilterImportance("conv1", 10, 0.9, np.array([0.2, 0.0]))
    found = layer_measures(filters(SOBEL, np.zeros((3, 3))), responses(means, np.array([1.0, 0])), importance)
    assert list(found) == list(MEASURES)
    assert found["l2_norm"] == pytest.approx(math.sqrt(12) / 2)
    assert found["orientation"] == pytest.approx(1)
    assert found["dead"] == 0.5
    assert found["selectivity"] == pytest.approx(0.5)
    assert found["importance"] == pytest.approx(0.1)
    assert found["effective_rank"] == pytest.approx(1)
    assert math.isnan(found["redundancy"])


def test_all_zero_kernels_have_a_norm_and_nothing_else() -> None:
    found = layer_measures(np.zeros((4, 2, 3, 3)))
    assert found["l2_norm"] == 0
    assert all(math.isnan(value) for name, value in found.items() if name != "l2_norm")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_leaves_the_layer_undefined(bad: float) -> None:
    kernels = noise(3, 1, 3, 3)
    kernels[1, 0, 0, 0] = bad
    assert all(math.isnan(value) for value in layer_measures(kernels).values())


def test_a_diverged_network_has_no_measures() -> None:
    nothing = np.full((2, 2), np.nan)
    importance = FilterImportance("conv1", 10, 0.1, np.full(2, np.nan))
    found = layer_measures(np.full((2, 1, 3, 3), np.nan), responses(nothing, np.full(2, np.nan)), importance)
    assert all(math.isnan(value) for value in found.values())


def test_what_is_not_given_is_not_measured() -> None:
    assert {MEASURES[name].needs for name in layer_measures(noise(2, 1, 3, 3))} == {"kernels"}


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 3, 3, 3), (16, 1, 3, 3), (16, 16, 3, 3), (5, 2, 4, 6)])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_measures_stay_within_their_bounds_and_ignore_scale(shape: tuple[int, ...], scale: float) -> None:
    kernels = noise(*shape)
    found, same = layer_measures(kernels), layer_measures(scale * kernels)
    for name, value in found.items():
        low, high = MEASURES[name].bounds
        assert math.isnan(value) or low - 1e-12 <= value <= high + 1e-12
        factor = scale if name == "l2_norm" else 1
        np.testing.assert_allclose(same[name], factor * value, rtol=1e-9)


def test_every_measure_says_what_it_is() -> None:
    for name, measure in MEASURES.items():
        assert measure.name == name
        assert all([measure.title, measure.scale, measure.formula, measure.source, measure.undefined])
        assert replace(measure, name=name) == measure
