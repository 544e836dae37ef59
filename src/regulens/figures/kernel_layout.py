"""How kernels share one picture: how many it holds, how large each is drawn, and how many filters stand in a row."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regulens.interpret.kernels import GAP, MOST

BOX = (6.45, 6.45)
"""Inches, height and width, that the kernels of one picture take at most, whatever their shape and number."""
_PIXEL = 1 / 160
"""Inches of one pixel of a PNG; every weight is a whole number of them, so that all are of one size."""
_LARGEST, _SINGLE = 20, 8
"""Pixels of the PNG that one pixel of the tiles takes at most, and where kernels are single weights."""
_LEAST_TILE = 0.07
"""Inches of the shorter side of a kernel and the gap behind it at least: what the eye tells apart."""
_MOST_WEIGHTS = 1000
"""A longer side is drawn as means of neighboring weights."""
_SLIMMEST = 24
"""A strip is drawn at most so many times as long as it is wide."""
_MANY = 256
"""Filters in one picture at most, where each has one input channel and is no long strip."""
_PROPORTION = 1.3
"""Width to height of what fills several rows, if there is a choice."""
_APART = 3
"""Pixels between adjacent filters of several input channels each."""


@dataclass(frozen=True)
class KernelLayout:
    """Filters in rows of ``across``, ``beside`` pixels apart, a pixel of the tiles ``scale`` inches wide and high."""

    across: int
    beside: int
    scale: float


def drawn_size(height: int, width: int) -> tuple[int, int]:
    """Return the pixels, height and width, that a kernel takes among tiles.

    Up to 1,000 a side there is one for each weight; a strip has its weights several times side by side, so that it
    does not vanish between the gaps, and single weights are squares of 4.
    """
    if height == width == 1:
        return 4, 4
    high, wide = (math.ceil(side / math.ceil(side / _MOST_WEIGHTS)) for side in (height, width))
    return _stretched(high, wide), _stretched(wide, high)


def fitted(kernels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return kernels (filters, channels, height, width, ...) in the pixels of ``drawn_size``.

    Sides above 1,000 become means of neighbors; one that is not finite makes its mean so.
    """
    height, width = kernels.shape[2:4]
    high, wide = drawn_size(height, width)
    shrunk = _means(_means(kernels, 2, math.ceil(height / _MOST_WEIGHTS)), 3, math.ceil(width / _MOST_WEIGHTS))
    return shrunk.repeat(high // shrunk.shape[2], 2).repeat(wide // shrunk.shape[3], 3)


def means_note(height: int, width: int) -> str:
    """Say how many weights a point of a very long kernel is the mean of; empty for all others."""
    count = math.ceil(height / _MOST_WEIGHTS) * math.ceil(width / _MOST_WEIGHTS)
    return f"each point the mean of {count} neighboring weights" if count > 1 else ""


def room(channels: int, height: int, width: int) -> tuple[int, int]:
    """Return how many filters and how many of ``channels`` a picture holds of kernels of this size."""
    high, wide = (side + GAP for side in drawn_size(height, width))
    scale = max(_PIXEL, _LEAST_TILE / min(high, wide))
    down, across = (max(1, int(side / (scale * pixels))) for side, pixels in zip(BOX, (high, wide), strict=True))
    columns = min(channels, across, MOST)
    small = columns == 1 and max(high, wide) <= 4 * min(high, wide)
    return min(down * (across // columns), _MANY if small else MOST), columns


def layout(
    filters: int, channels: int, size: tuple[int, int], box: tuple[float, float] = BOX, largest: int = _LARGEST
) -> KernelLayout:
    """Choose how many filters stand in a row, so that kernels of ``size`` (in pixels) are large in a box of inches.

    Where filters have few channels several are set in a row, in about the proportions of a page; with many channels
    a row is one filter.
    """
    beside = GAP if channels == 1 else _APART
    largest = min(largest, _SINGLE) if size == drawn_size(1, 1) else largest

    def judged(across: int) -> tuple[float, KernelLayout]:
        rows = math.ceil(filters / across)
        high = rows * (size[0] + GAP) + GAP
        wide = across * (channels * (size[1] + GAP) - GAP + beside) - beside + 2 * GAP
        inches = min(box[0] / high, box[1] / wide)
        pixels = min(largest, int(inches / _PIXEL + 1e-6))
        place = KernelLayout(across, beside, pixels * _PIXEL or inches)
        uneven = abs(math.log(wide / high / _PROPORTION)) / 4
        empty = (rows * across - filters) / filters
        split = across > 1 and channels > 1
        return math.log(place.scale) - uneven - empty - 0.15 * (empty > 0) - 0.1 * split, place

    return max((judged(across) for across in range(1, filters + 1)), key=lambda each: each[0])[1]


def _stretched(side: int, other: int) -> int:
    """Return the pixels of a side, a multiple of its weights, that is not too slim beside the other."""
    least = max(2 if side == 1 else side, math.ceil(other / _SLIMMEST))
    return side * math.ceil(least / side)


def _means(kernels: NDArray[np.float32], axis: int, count: int) -> NDArray[np.float32]:
    """Return the means of ``count`` neighbors along an axis; the last takes the edge again where it lacks some."""
    if count == 1:
        return kernels
    padding = [(0, -kernels.shape[axis] % count if place == axis else 0) for place in range(kernels.ndim)]
    padded = np.pad(kernels, padding, mode="edge")
    shape = (*kernels.shape[:axis], -1, count, *kernels.shape[axis + 1 :])
    return np.asarray(padded.reshape(shape).mean(axis + 1), np.float32)
