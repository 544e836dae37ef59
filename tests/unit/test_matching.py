"""Filters matched between networks: planted permutations are found, and chance is what simulation says it is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from regulens.interpret.matching import (
    match_all,
    match_networks,
    pattern_similarity,
    random_similarity,
)
from regulens.weights.kernels import ConvKernels

Network = list[ConvKernels]
Shapes = Sequence[tuple[int, ...]]
TWO_LAYERS = [(6, 1, 3, 3), (5, 6, 3, 3)]


def network(rng: np.random.Generator, shapes: Shapes = TWO_LAYERS) -> Network:
    none = np.zeros(0, np.float32)
    return [
        ConvKernels(f"conv{number}", rng.normal(size=shape).astype(np.float32), none)
        for number, shape in enumerate(shapes, start=1)
    ]


def permuted(layers: Network, orders: Sequence[NDArray[np.int64]]) -> Network:
    """Return the same network with filter ``order[i]`` at place i of each layer."""
    inputs = np.arange(layers[0].weight.shape[1])
    result = []
    for layer, order in zip(layers, orders, strict=True):
        result.append(ConvKernels(layer.layer, layer.weight[order][:, inputs], layer.bias))
        inputs = order
    return result


def noisy(layers: Network, rng: np.random.Generator, sd: float) -> Network:
    return [
        ConvKernels(x.layer, (x.weight + rng.normal(0, sd, x.weight.shape)).astype(np.float32), x.bias) for x in layers
    ]


def test_a_planted_permutation_is_found_through_two_layers() -> None:
    rng = np.random.default_rng(0)
    reference = network(rng)
    orders = [rng.permutation(6), rng.permutation(5)]
    for match, order in zip(match_networks(reference, permuted(reference, orders)), orders, strict=True):
        np.testing.assert_array_equal(order[match.order], np.arange(len(order)))
        np.testing.assert_allclose(match.similarity, 1)


def test_without_the_first_layers_matching_the_second_would_not_be_found() -> None:
    rng = np.random.default_rng(0)
    reference = network(rng)
    other = permuted(reference, [np.roll(np.arange(6), 1), np.arange(5)])
    assert match_networks(reference, other)[1].similarity.min() > 0.999
    assert match_networks(reference[1:], other[1:])[0].similarity.max() < 0.9


def test_similarity_is_the_correlation_of_the_weights() -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.normal(1, 1, (n, 2, 3, 3)).astype(np.float32) for n in (4, 3))
    expected = np.corrcoef(a.reshape(4, -1), b.reshape(3, -1))[:4, 4:]
    np.testing.assert_allclose(pattern_similarity(a, b), expected, atol=1e-6)
    np.testing.assert_allclose(pattern_similarity(5 * a - 2, b), expected, atol=1e-6)


def test_a_shared_mean_does_not_make_filters_similar() -> None:
    rng = np.random.default_rng(2)
    a, b = (rng.normal(-10, 1, (50, 1, 10, 10)).astype(np.float32) for _ in range(2))
    assert np.abs(pattern_similarity(a, b)).mean() < 0.1


@pytest.mark.parametrize("value", [0.0, 0.1, 1e30, np.nan, np.inf])
def test_a_filter_without_a_pattern_is_similar_to_none(value: float) -> None:
    weight = np.random.default_rng(0).normal(size=(3, 2, 3, 3)).astype(np.float32)
    weight[1] = value
    similar = pattern_similarity(weight, weight)
    assert not similar[1].any()
    assert not similar[:, 1].any()
    np.testing.assert_allclose(similar[[0, 2], [0, 2]], 1)


def test_the_assignment_is_the_best_of_all() -> None:
    rng = np.random.default_rng(3)
    a, b = network(rng, [(5, 1, 3, 3)]), network(rng, [(5, 1, 3, 3)])
    similar = pattern_similarity(a[0].weight, b[0].weight)
    best = max(sum(similar[range(5), order]) for order in itertools.permutations(range(5)))
    assert match_networks(a, b)[0].similarity.sum() == pytest.approx(best)


def test_several_networks_are_matched_to_the_one_in_their_middle() -> None:
    rng = np.random.default_rng(4)
    middle = network(rng)
    orders = [[rng.permutation(6), rng.permutation(5)] for _ in range(4)]
    ordered = [noisy(middle, rng, 0.4) for _ in orders]
    around = [permuted(one, order) for one, order in zip(ordered, orders, strict=True)]
    networks = [*around[:2], permuted(middle, [np.arange(6), np.arange(5)]), *around[2:]]
    found = match_all(networks)
    assert [layer.layer for layer in found] == ["conv1", "conv2"]
    for place, layer in enumerate(found):
        assert layer.reference == 2
        np.testing.assert_array_equal(layer.similarity[2], 1)
        np.testing.assert_array_equal(layer.weight[2], middle[place].weight)
        assert layer.filter_similarity.shape == (len(middle[place].weight),)
        for row, one, order in zip([0, 1, 3, 4], ordered, orders, strict=True):
            np.testing.assert_array_equal(order[place][layer.order[row]], np.arange(len(order[place])))
            np.testing.assert_array_equal(layer.weight[row], one[place].weight)
            for i in range(len(order[place])):
                pair = np.corrcoef(layer.weight[row, i].ravel(), middle[place].weight[i].ravel())
                assert layer.similarity[row, i] == pytest.approx(pair[0, 1], abs=1e-6)


def test_the_order_of_the_networks_does_not_matter() -> None:
    networks = [network(np.random.default_rng(seed)) for seed in range(5)]
    forward, backward = match_all(networks), match_all(networks[::-1])
    for one, other in zip(forward, backward, strict=True):
        assert other.reference == 4 - one.reference
        np.testing.assert_allclose(other.filter_similarity, one.filter_similarity)
        np.testing.assert_array_equal(other.weight[::-1], one.weight)


def test_one_network_is_its_own_reference() -> None:
    [first, _] = match_all([network(np.random.default_rng(0))])
    assert first.reference == 0
    assert np.isnan(first.filter_similarity).all()


def test_networks_of_different_shapes_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="network 1 has"):
        match_networks(network(rng), network(rng, [(6, 1, 3, 3)]))
    with pytest.raises(ValueError, match="at least one network"):
        match_all([])


class TestRandom:
    def test_of_single_filters_of_two_weights_it_is_what_the_coin_says(self) -> None:
        """Two weights without their mean are +1 or -1 times the same pattern: similarity is a fair coin's sign."""
        [found] = random_similarity([(1, 1, 1, 2)], 2, np.random.default_rng(0), draws=2000)
        assert found.mean == pytest.approx(0, abs=4 / np.sqrt(2000))
        assert (found.low, found.high) == (-1, 1)
        assert found.draws == 2000

    def test_of_pairs_it_is_what_an_independent_simulation_says(self) -> None:
        [found] = random_similarity([(3, 2, 2, 2)], 2, np.random.default_rng(0), draws=1500)
        rng = np.random.default_rng(1)
        means = []
        for _ in range(1500):
            similar = np.corrcoef(rng.uniform(-1, 1, (6, 8)))[:3, 3:]  # uniform: only the direction matters
            means.append(max(np.mean(similar[range(3), order]) for order in itertools.permutations(range(3))))
        error = np.std(means) * np.sqrt(2 / 1500)
        assert found.mean == pytest.approx(np.mean(means), abs=4 * error)
        assert found.low == pytest.approx(np.quantile(means, 0.025), abs=0.05)
        assert found.high == pytest.approx(np.quantile(means, 0.975), abs=0.05)
        assert found.filter_low < found.low < found.mean < found.high < found.filter_high

    def test_random_networks_lie_within_their_own_range(self) -> None:
        rng = np.random.default_rng(5)
        ranges = random_similarity(TWO_LAYERS, 4, rng, draws=200)
        inside = np.zeros(2)
        for _ in range(100):
            found = match_all([network(rng) for _ in range(4)])
            means = [layer.filter_similarity.mean() for layer in found]
            inside += [x.low <= mean <= x.high for x, mean in zip(ranges, means, strict=True)]
        assert (inside >= 85).all()  # 95 expected

    def test_it_repeats_with_its_generator_and_leaves_the_global_one_alone(self) -> None:
        before = np.random.get_state()[1].copy()  # noqa: NPY002  # the global state is what is looked at
        first, second = (random_similarity(TWO_LAYERS, 3, np.random.default_rng(7), draws=39) for _ in range(2))
        assert first == second
        np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002  # the global state is what is looked at

    def test_it_needs_two_networks(self) -> None:
        with pytest.raises(ValueError, match="at least two networks, got 1"):
            random_similarity(TWO_LAYERS, 1, np.random.default_rng(0))

    def test_one_more_draw_lies_above_the_range_once_in_forty(self) -> None:
        """By the ranks: of 39 draws the range ends at the extremes, which a further draw exceeds once in 40."""
        shapes, rng = [(4, 1, 3, 3)], np.random.default_rng(5)
        drawn = [random_similarity(shapes, 2, np.random.default_rng(seed), draws=39)[0] for seed in range(60)]
        means = np.array(
            [match_all([network(rng, shapes) for _ in range(2)])[0].filter_similarity.mean() for _ in range(400)]
        )
        above = np.mean([(means > each.high).mean() for each in drawn])
        below = np.mean([(means < each.low).mean() for each in drawn])
        assert above == pytest.approx(1 / 40, abs=0.012)
        assert below == pytest.approx(1 / 40, abs=0.012)

    def test_it_needs_enough_draws(self) -> None:
        with pytest.raises(ValueError, match="at least 39 draws, got 38"):
            random_similarity(TWO_LAYERS, 2, np.random.default_rng(0), draws=38)
