"""A convolution's weights in a few numbers, counted filter by filter, so that no copy of the layer is made."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regulens.interpret.kernels import finite_range
from regulens.weights.kernels import ConvKernels


@dataclass(frozen=True)
class KernelSummary:
    """One layer in numbers.

    Attributes:
        layer: its name.
        shape: height x width x input channels x filters.
        filters: how many.
        parameters: weights and biases together.
        mean: of the finite weights; NaN where there are none, as the next two.
        sd: their standard deviation (of all weights, not a sample).
        greatest: the greatest magnitude of a finite weight.
        zero_filters: filters whose weights are all zero.
        not_finite: weights that are NaN or infinite.
    """

    layer: str
    shape: str
    filters: int
    parameters: int
    mean: float
    sd: float
    greatest: float
    zero_filters: int
    not_finite: int


def summarize(kernels: ConvKernels) -> KernelSummary:
    """Return a layer in numbers."""
    weight = kernels.weight
    sums = [(int(finite.sum()), float(each.sum(where=finite, dtype=np.float64))) for each, finite in _finite(weight)]
    count = sum(each for each, _ in sums)
    mean = math.fsum(each for _, each in sums) / count if count else math.nan
    squares = math.fsum(
        float(np.square(each.astype(np.float64) - mean).sum(where=finite)) for each, finite in _finite(weight)
    )
    low, high = finite_range(weight)
    return KernelSummary(
        kernels.layer,
        kernels.shape,
        len(weight),
        weight.size + len(kernels.bias),
        mean,
        math.sqrt(squares / count) if count else math.nan,
        max(abs(low), abs(high)) if count else math.nan,
        sum(not each.any() for each in weight),
        weight.size - count,
    )


def _finite(weight: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Yield each filter, and which of its weights are finite."""
    for each in weight:
        yield each, np.isfinite(each)
