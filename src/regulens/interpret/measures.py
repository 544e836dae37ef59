"""Measures of what a convolution has learned: arrays in, a number per filter or per layer out.

Kernels are (filters, channels, height, width). A filter for which a measure is not defined is NaN; ``layer_measures``
averages over the filters that have a value, so that a layer of a run is one number and the run is the replicate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regulens.interpret.activations import FilterResponses
from regulens.interpret.importance import FilterImportance

PerFilter = NDArray[np.float64]
"""(filters,) float64."""


def l2_norm(kernels: ArrayLike) -> PerFilter:
    """Return sqrt(sum w^2) of each filter."""
    return np.asarray(np.linalg.norm(_rows(kernels), axis=1))


def hoyer_sparsity(kernels: ArrayLike) -> PerFilter:
    """Return (sqrt(n) - |w|_1 / |w|_2) / (sqrt(n) - 1) of each filter's n weights.

    1 if one weight alone is not zero, 0 if all are of one size.

    Hoyer 2004, "Non-negative matrix factorization with sparseness constraints", JMLR 5, 1457-1469.
    """
    rows = _rows(kernels)
    root = np.sqrt(rows.shape[1])
    return _over(root - _over(np.abs(rows).sum(1), l2_norm(kernels)), np.full(len(rows), root - 1))


def total_variation(kernels: ArrayLike) -> PerFilter:
    """Return mean |difference of neighbouring weights| / root mean square weight of each filter: small is smooth.

    The neighbours are one below and one beside the other in the same input channel. This is the total variation over
    the L2 norm, each divided by what it grows with, so that kernels of other sizes and channels compare: 0 for a flat
    kernel; for white noise sqrt(2 n / pi) G(n/2) / G((n+1)/2) with n weights and G the gamma function, which is 1.16
    at n = 9 and tends to 2 / sqrt(pi) = 1.13.

    Rudin, Osher and Fatemi 1992, "Nonlinear total variation based noise removal algorithms", Physica D 60, 259-268,
    here anisotropic.
    """
    weight = np.asarray(kernels, np.float64)
    filters, _, height, width = weight.shape
    steps = [np.abs(np.diff(weight, axis=axis)).reshape(filters, -1) for axis in (2, 3)]
    each = np.concatenate(steps, axis=1)
    if min(height, width) < 2:
        return np.full(filters, np.nan)
    return _over(each.mean(1), l2_norm(kernels) / np.sqrt(weight[0].size))


def effective_rank(kernels: ArrayLike) -> float:
    """Return exp(entropy of s / sum s), s the singular values of the (filters, channels * height * width) matrix.

    From 1, where all filters are multiples of one, to the lesser side of the matrix, where they are orthogonal and of
    one norm.

    Roy and Vetterli 2007, "The effective rank: a measure of effective dimensionality", EUSIPCO, 606-610.
    """
    rows = _rows(kernels)
    if not np.isfinite(rows).all() or not rows.any():
        return float("nan")
    values = np.linalg.svd(rows, compute_uv=False)
    shares = values[values > 0] / values.sum()
    return float(np.exp(-np.sum(shares * np.log(shares))))


def redundancy(kernels: ArrayLike) -> PerFilter:
    """Return each filter's greatest cosine to another filter of the layer: 1 if one is a positive multiple of it.

    The cosine is that of the flattened kernels, biases left out. A zero kernel has none.

    Ayinde, Inanc and Zurada 2019, "Redundant feature pruning for accelerated inference in deep neural networks", Neural
    Networks 118, 148-158, who cluster filters by it.
    """
    units = _over(_rows(kernels), l2_norm(kernels)[:, None])
    defined = ~np.isnan(units).any(axis=1)
    highest = np.full(len(units), np.nan)
    if defined.sum() > 1:
        cosines = np.clip(units[defined] @ units[defined].T, -1, 1)
        np.fill_diagonal(cosines, -np.inf)
        highest[defined] = cosines.max(axis=1)
    return highest


def class_selectivity(class_means: ArrayLike) -> PerFilter:
    """Return (m - r) / (m + r) of each filter: m the highest class mean, r the mean of the other classes' means.

    0 if it answers to all classes alike, 1 if to one alone. Class means are those behind the ReLU, none is negative;
    classes without images are left out.

    Morcos et al. 2018, "On the importance of single directions for generalization", ICLR.

    Args:
        class_means: (classes, filters), NaN rows for classes without images.
    """
    means = np.asarray(class_means, np.float64)
    means = np.where(np.isfinite(means), means, np.nan)[~np.isnan(means).all(axis=1)]
    if len(means) < 2:
        return np.full(means.shape[1], np.nan)
    highest = means.max(axis=0)
    rest = (means.sum(axis=0) - highest) / (len(means) - 1)
    return _over(highest - rest, highest + rest)


def orientation_energy(kernels: ArrayLike) -> PerFilter:
    """Return the share of each filter's energy (sum w^2) that lies in its first-order oriented pair.

    The pair is the derivative of a Gaussian across and along, which steer to every angle between them; each input
    channel is projected on the two, so that it has an angle of its own, and the energies are added up. The Gaussian's
    variance is s^2 / (8 ln 2) for a kernel whose shorter side has s + 1 weights: at 3x3 the pair is Sobel's operator.
    1 for an edge detector of the pair, 0 for a flat or point-symmetric kernel; white noise is expected at 2 / (height *
    width), which is 0.22 at 3x3, since two of as many dimensions are kept.

    Freeman and Adelson 1991, "The design and use of steerable filters", IEEE PAMI 13, 891-906.
    """
    weight = np.asarray(kernels, np.float64)
    filters, channels, height, width = weight.shape
    if min(height, width) < 3:
        return np.full(filters, np.nan)
    pair = oriented_pair(height, width).reshape(2, -1)
    kept = (weight.reshape(filters, channels, -1) @ pair.T) ** 2
    return _over(kept.sum((1, 2)), (weight**2).sum((1, 2, 3)))


def oriented_pair(height: int, width: int) -> NDArray[np.float64]:
    """Return the derivatives of a Gaussian down the rows and along the columns: (2, height, width), orthonormal."""
    y, x = (np.arange(size) - (size - 1) / 2 for size in (height, width))
    variance = (min(height, width) - 1) ** 2 / (8 * np.log(2))
    bell = np.exp(-(y[:, None] ** 2 + x**2) / (2 * variance))
    pair = np.stack([y[:, None] * bell, x * bell])
    return np.asarray(pair / np.linalg.norm(pair, axis=(1, 2), keepdims=True))


@dataclass(frozen=True)
class Measure:
    """How a measure is defined and printed.

    Attributes:
        name: its key.
        title: what it is called in figures and tables.
        scale: its unit and range, and what its ends mean.
        bounds: the least and the greatest possible value.
        formula: of one filter, or of the layer.
        source: the paper, or whose definition it is.
        level: whether it is of each filter, and a layer's value the mean over its filters, or of the layer.
        undefined: when it is NaN; filters without a value are left out of the layer's mean.
        of: the function to a value per filter or per layer from ...
        needs: ... the kernels (filters, channels, height, width), ``FilterResponses`` or ``FilterImportance``.
    """

    name: str
    title: str
    scale: str
    bounds: tuple[float, float]
    formula: str
    source: str
    level: Literal["filter", "layer"]
    undefined: str
    of: Callable[..., PerFilter | float] = field(repr=False)
    needs: Literal["kernels", "responses", "importance"] = "kernels"


_DAMAGED = "a weight of the layer is not a finite number"
_ZERO = f"the kernel is zero; {_DAMAGED}"
_LIST = (
    Measure(
        "l2_norm",
        "L2 norm",
        "weight units",
        (0, np.inf),
        "sqrt(sum w^2)",
        "definition",
        "filter",
        _DAMAGED,
        l2_norm,
    ),
    Measure(
        "sparsity",
        "sparsity",
        "0 (all of one size) to 1 (one weight)",
        (0, 1),
        "(sqrt(n) - |w|_1 / |w|_2) / (sqrt(n) - 1), n weights",
        "Hoyer 2004",
        "filter",
        f"the kernel has one weight; {_ZERO}",
        hoyer_sparsity,
    ),
    Measure(
        "total_variation",
        "total variation over norm",
        "0 is flat, small is smooth",
        (0, np.inf),
        "mean |difference of neighbours| / root mean square weight",
        "Rudin, Osher and Fatemi 1992",
        "filter",
        f"kernels are below 2x2; {_ZERO}",
        total_variation,
    ),
    Measure(
        "effective_rank",
        "effective rank",
        "filters' worth of different kernels",
        (1, np.inf),
        "exp(-sum p log p), p = s / sum s, s the singular values of (filters x weights)",
        "Roy and Vetterli 2007",
        "layer",
        f"all kernels are zero; {_DAMAGED}",
        effective_rank,
    ),
    Measure(
        "redundancy",
        "redundancy",
        "cosine; 1 is a multiple of another filter",
        (-1, 1),
        "max over other filters of w . v / (|w|_2 |v|_2)",
        "Ayinde, Inanc and Zurada 2019",
        "filter",
        f"no other filter of the layer is different from zero; {_ZERO}",
        redundancy,
    ),
    Measure(
        "dead",
        "dead filters",
        "fraction of filters",
        (0, 1),
        "1 if the map behind the ReLU is zero everywhere on every image, else 0",
        "definition",
        "filter",
        "a map is not a number",
        lambda responses: np.where(np.isnan(responses.active), np.nan, responses.dead),
        "responses",
    ),
    Measure(
        "selectivity",
        "class selectivity",
        "0 (all classes alike) to 1 (one class)",
        (0, 1),
        "(m - r) / (m + r), m the highest class mean, r the mean of the others'",
        "Morcos et al. 2018",
        "filter",
        "the filter is dead; fewer than two classes have images; a map is not a finite number",
        lambda responses: class_selectivity(responses.class_means),
        "responses",
    ),
    Measure(
        "orientation",
        "orientation energy",
        "fraction of energy",
        (0, 1),
        "sum over channels of (w . gy)^2 + (w . gx)^2, over sum w^2; gy, gx derivatives of a Gaussian",
        "Freeman and Adelson 1991",
        "filter",
        f"kernels are below 3x3; {_ZERO}",
        orientation_energy,
    ),
    Measure(
        "importance",
        "importance",
        "accuracy lost per filter",
        (-1, 1),
        "accuracy - accuracy with the filter's map replaced by its mean over images and positions",
        "Morcos et al. 2018",
        "filter",
        "a logit of the network is not a finite number",
        lambda importance: importance.lost,
        "importance",
    ),
)
MEASURES: dict[str, Measure] = {measure.name: measure for measure in _LIST}
"""Every measure of a layer, by name."""


def layer_measures(
    kernels: ArrayLike, responses: FilterResponses | None = None, importance: FilterImportance | None = None
) -> dict[str, float]:
    """Return every measure of one layer of one run, by name, those of filters averaged over its filters.

    A measure that is undefined (``Measure.undefined`` says when) is NaN.

    Args:
        kernels: (filters, channels, height, width).
        responses: of the layer; without it the measures that need it are absent.
        importance: of the layer, likewise.
    """
    given = {"kernels": np.asarray(kernels, np.float64), "responses": responses, "importance": importance}
    return {
        name: _layer_value(measure, given[measure.needs])
        for name, measure in MEASURES.items()
        if given[measure.needs] is not None
    }


def _layer_value(measure: Measure, given: object) -> float:
    if isinstance(given, np.ndarray) and not np.isfinite(given).all():
        return float("nan")
    values = np.atleast_1d(measure.of(given))
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def _rows(kernels: ArrayLike) -> NDArray[np.float64]:
    weight = np.asarray(kernels, np.float64)
    return weight.reshape(len(weight), -1)


def _over(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the quotient, NaN where the divisor is zero or either is not finite."""
    usable = np.isfinite(above) & np.isfinite(below) & (below != 0)
    quotient = np.full(usable.shape, np.nan)
    np.divide(above, below, out=quotient, where=usable)
    return quotient
