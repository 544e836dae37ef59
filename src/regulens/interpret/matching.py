"""Which filter of one network is which of another: assignment on the similarity of kernels, beside chance.

The order of a layer's filters means nothing: a network with its filters, and the next layer's input channels, permuted
computes the same. Filters are matched one to one so that the sum of their similarities is greatest (Kuhn's assignment
problem, ``scipy.optimize.linear_sum_assignment``; for networks Li et al. 2016, "Convergent learning"), layer
by layer from the image on: the input channels of a deeper layer are first put into the order in which the filters
before it were matched (one forward pass of the weight matching of Ainsworth et al. 2023, "Git Re-Basin").

The similarity of two filters is the correlation of their weights: the cosine, their means removed. The mean is what
trained filters share first of all (bright images push all weights of a filter to one side); with it, filters whose
weights are shuffled would be nearly as similar as the real ones, and the similarity would say nothing of the pattern
that a picture shows. The best of many assignments is high for any kernels, therefore every similarity is reported
beside that which the same procedure gives for random ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from regulens.weights.kernels import ConvKernels

Network = Sequence[ConvKernels]
_Patterns = Sequence[NDArray[np.float64]]
"""Of each layer (filters, channels, height * width): filters less their means, of norm 1, or 0 without a pattern."""
DRAWS = 399
"""Of random networks, by default: one below a multiple of 40, so that the ends of 95 % are draws themselves."""
_LEAST_DRAWS = 39
_ROUNDING = 1e-6
"""Of its strength, what may be left of a filter of equal float32 weights when their mean is removed."""


@dataclass(frozen=True, eq=False)
class LayerMatch:
    """Filter ``order[i]`` of the other network is the reference's filter i, as similar as ``similarity[i]``."""

    order: NDArray[np.int64]
    similarity: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MatchedLayer:
    """A layer of several networks, filters and input channels in the order of the reference's.

    weight (networks, filters, channels, height, width); order (networks, filters): whose filter stands where;
    similarity (networks, filters) to the reference's, 1 for the reference itself.
    """

    layer: str
    reference: int
    weight: NDArray[np.float32]
    order: NDArray[np.int64]
    similarity: NDArray[np.float64]

    @property
    def filter_similarity(self) -> NDArray[np.float64]:
        """(filters,) mean similarity of the other networks' filters to the reference's, NaN if there is no other."""
        others = np.delete(self.similarity, self.reference, axis=0)
        return others.mean(axis=0) if len(others) else np.full(self.similarity.shape[1], np.nan)


@dataclass(frozen=True)
class RandomSimilarity:
    """What the same matching gives for random kernels of a layer's shape.

    ``mean`` is over filters and networks, on average over the draws, and ``low, high`` the central 95 % of its draws;
    ``filter_low, filter_high`` is the central 95 % of a single filter's mean over the networks.
    """

    mean: float
    low: float
    high: float
    filter_low: float
    filter_high: float
    draws: int


def pattern_similarity(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the correlations (n, m) of the weights of n and m filters (filters, channels, height, width).

    Strength and mean of a filter do not count. One whose weights are all the same, or not all finite, has no pattern
    and is similar to none: 0.
    """
    return _correlations(_directions(a), _directions(b))


def match_networks(reference: Network, other: Network) -> list[LayerMatch]:
    """Match the filters of each layer of ``other`` to those of ``reference``, from the image on.

    Where a layer's input channels are as many as the filters of the layer before it in the list, they are taken to be
    its maps.

    Raises:
        ValueError: if the layers are not of the same shapes.
    """
    _check_shapes([reference, other])
    return _matched(_patterns(reference), _patterns(other))


def match_all(networks: Sequence[Network]) -> list[MatchedLayer]:
    """Match several networks of one shape to their medoid: of each the convolutions, from the image on.

    The medoid is the network that is most similar to all others when they are matched to it (the mean over the layers
    of their mean similarities), of equals the first: a reference that exists and that no one chose.

    Raises:
        ValueError: if there is no network, or their layers are not of the same shapes.
    """
    reference, matches = _to_medoid(networks)
    layers = []
    for place, layer in enumerate(networks[reference]):
        weight = [
            network[place].weight[match[place].order][:, _inputs(match[:place], layer.weight.shape[1])]
            for network, match in zip(networks, matches, strict=True)
        ]
        order = np.stack([match[place].order for match in matches])
        similarity = np.stack([match[place].similarity for match in matches])
        layers.append(MatchedLayer(layer.layer, reference, np.stack(weight), order, similarity))
    return layers


def random_similarity(
    shapes: Sequence[tuple[int, ...]], networks: int, rng: np.random.Generator, draws: int = DRAWS
) -> list[RandomSimilarity]:
    """Return what ``match_all`` gives for networks whose kernels say nothing, layer by layer.

    Their weights are independent and Gaussian, so that every direction is as likely (their variance does not matter to
    a correlation); a draw is as many networks as are compared, matched to their medoid. Where ``draws`` is one below a
    multiple of 40, one more draw lies above ``high`` with a probability of exactly 1 in 40, and below ``low`` likewise.

    Args:
        shapes: (filters, channels, height, width) of each layer, from the image on.
        networks: how many are compared, at least two.
        rng: draws the weights.
        draws: how often, at least 39: of fewer, no range holds a further one with 95 %.

    Raises:
        ValueError: if there are fewer than two networks, or fewer than 39 draws.
    """
    if networks < 2:
        raise ValueError(f"similarity needs at least two networks, got {networks}")
    if draws < _LEAST_DRAWS:
        raise ValueError(f"the central 95 % needs at least {_LEAST_DRAWS} draws, got {draws}")
    drawn: list[list[NDArray[np.float64]]] = [[] for _ in shapes]
    for _ in range(draws):
        for layer, kept in zip(match_all(_gaussian(shapes, networks, rng)), drawn, strict=True):
            kept.append(layer.filter_similarity)
    return [_summary(np.array(kept)) for kept in drawn]


def _gaussian(shapes: Sequence[tuple[int, ...]], networks: int, rng: np.random.Generator) -> list[list[ConvKernels]]:
    none = np.zeros(0, np.float32)
    return [
        [ConvKernels("", rng.standard_normal(shape, np.float32), none) for shape in shapes] for _ in range(networks)
    ]


def _summary(drawn: NDArray[np.float64]) -> RandomSimilarity:
    """Summarise (draws, filters) mean similarities.

    The quantile at share p of n draws is the p (n + 1)-th smallest (Weibull 1939): that which one more draw stays below
    with probability p. An interpolation between the least and the greatest would be exceeded more often.
    """
    means, central = drawn.mean(axis=1), [0.025, 0.975]
    low, high = np.quantile(means, central, method="weibull")
    filter_low, filter_high = np.quantile(drawn, central, method="weibull")
    return RandomSimilarity(
        float(means.mean()), float(low), float(high), float(filter_low), float(filter_high), len(drawn)
    )


def _to_medoid(networks: Sequence[Network]) -> tuple[int, list[list[LayerMatch]]]:
    """Return the medoid, and each network matched to it."""
    _check_shapes(networks)
    total = np.zeros(len(networks))
    patterns = [_patterns(network) for network in networks]
    pairs: dict[tuple[int, int], list[LayerMatch]] = {}
    for first, second in combinations(range(len(networks)), 2):
        pairs[first, second] = _matched(patterns[first], patterns[second])
        total[[first, second]] += np.mean([match.similarity.mean() for match in pairs[first, second]])
    medoid = int(total.argmax())
    itself = [_identity(layer.weight.shape[0]) for layer in networks[medoid]]
    return medoid, [
        itself if other == medoid else pairs[medoid, other] if medoid < other else _turned(pairs[other, medoid])
        for other in range(len(networks))
    ]


def _patterns(network: Network) -> _Patterns:
    return [_directions(layer.weight).reshape(*layer.weight.shape[:2], -1) for layer in network]


def _matched(reference: _Patterns, other: _Patterns) -> list[LayerMatch]:
    """Match the filters of each layer of one network to those of another of the same shape, from the image on."""
    matches: list[LayerMatch] = []
    for ours, theirs in zip(reference, other, strict=True):
        ordered = theirs[:, _inputs(matches, theirs.shape[1])]
        similar = _correlations(ours.reshape(len(ours), -1), ordered.reshape(len(ordered), -1))
        rows, order = linear_sum_assignment(similar, maximize=True)
        matches.append(LayerMatch(order, similar[rows, order]))
    return matches


def _turned(matches: Sequence[LayerMatch]) -> list[LayerMatch]:
    """Return the same matches with the other network as the reference."""
    orders = [np.argsort(match.order) for match in matches]
    return [LayerMatch(order, match.similarity[order]) for order, match in zip(orders, matches, strict=True)]


def _identity(filters: int) -> LayerMatch:
    return LayerMatch(np.arange(filters), np.ones(filters))


def _inputs(before: Sequence[LayerMatch], channels: int) -> NDArray[np.int64]:
    """Return the order into which a layer's input channels are put."""
    return before[-1].order if before and len(before[-1].order) == channels else np.arange(channels)


def _correlations(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(a @ b.T, -1, 1)


def _directions(weight: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (filters, channels * height * width), each filter less its mean and of norm 1; 0 without a pattern."""
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    flat[~np.isfinite(flat).all(axis=1)] = 0
    centred = flat - flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    none = norm <= _ROUNDING * np.linalg.norm(flat, axis=1, keepdims=True)
    return np.where(none, 0, centred / np.where(none, 1, norm))


def _check_shapes(networks: Sequence[Network]) -> None:
    shapes = [[layer.weight.shape for layer in network] for network in networks]
    if not shapes or not shapes[0]:
        raise ValueError("matching needs at least one network with a convolution")
    for place, found in enumerate(shapes):
        if found != shapes[0]:
            raise ValueError(f"only networks of one shape can be matched: network {place} has {found}, not {shapes[0]}")
