"""A convolution's weights in a few numbers, counted block by block, so that no layer is taken into memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from regulens.weights.kernels import ConvKernels
from regulens.weights.lazy import Numbers, blocks


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
    weight = kernels.numbers
    count, greatest = 0, 0.0
    anything = np.zeros(len(weight), bool)
    sums = []
    for (filters, _), block in blocks(weight):
        finite = np.isfinite(block)
        count += int(finite.sum())
        greatest = max(greatest, float(np.abs(block).max(where=finite, initial=0)))
        anything[filters] |= block.any((1, 2, 3))
        sums += [float(each.sum(where=where, dtype=np.float64)) for each, where in zip(block, finite, strict=True)]
    mean = math.fsum(sums) / count if count else math.nan
    return KernelSummary(
        kernels.layer,
        kernels.shape,
        len(weight),
        weight.size + len(kernels.bias),
        mean,
        math.sqrt(_squares(weight, mean) / count) if count else math.nan,
        greatest if count else math.nan,
        int((~anything).sum()),
        weight.size - count,
    )


def _squares(weight: Numbers, mean: float) -> float:
    """Return the sum of squared deviations of the finite weights."""
    return math.fsum(
        float(np.square(each.astype(np.float64) - mean).sum(where=np.isfinite(each)))
        for _, block in blocks(weight)
        for each in block
    )
