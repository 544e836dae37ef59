"""The kernels of a network's convolutions, and their tiling into one picture. Module in, arrays out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from regulens.models.cnn import CNN
from regulens.weights.kernels import ConvKernels
from regulens.weights.lazy import Numbers, blocks

Scaling = Literal["kernel", "layer", "signed"]
Choice = Literal["first", "even"]
GAP = 1
MOST = 64
"""More filters or input channels than this are not legible in one picture."""


def conv_kernels(model: CNN) -> list[ConvKernels]:
    """Return copies of the kernels and biases of every convolution."""
    layers = model.expanded().named_children()
    return [
        ConvKernels(name, _array(layer.weight), _array(layer.bias))
        for name, layer in layers
        if isinstance(layer, nn.Conv2d)
    ]


@dataclass(frozen=True, eq=False)
class Shown:
    """Which filters and input channels are drawn, as indices from 0; ``note`` says so in words if not all are.

    ``page`` of ``pages`` is what is drawn; an even choice is one page.
    """

    filters: NDArray[np.int64]
    channels: NDArray[np.int64]
    note: str
    page: int = 1
    pages: int = 1

    @property
    def words(self) -> str:
        """The note and, of several, the page; empty where all is drawn."""
        return f"{self.note} (page {self.page} of {self.pages})" if self.pages > 1 else self.note


def page_count(filters: int, channels: int, most: tuple[int, int]) -> int:
    """Return how many pages show every filter with every input channel, at most so many of each on one."""
    return math.ceil(filters / most[0]) * math.ceil(channels / most[1])


def choose_kernels(
    filters: int, channels: int, choice: Choice = "first", page: int = 1, most: int | tuple[int, int] = MOST
) -> Shown:
    """Choose at most ``most`` filters and input channels of a layer that has more.

    Args:
        filters: number of filters of the layer.
        channels: number of its input channels.
        choice: ``first`` takes a page of neighbouring filters and channels, ``even`` takes both evenly spaced over
            the layer.
        page: which ``first`` takes, from 1: all filters, page by page, with the first channels, then with the next.
        most: of each, or of filters and of channels.

    Raises:
        ValueError: if there is no such page.
    """
    most = (most, most) if isinstance(most, int) else most
    pages = page_count(filters, channels, most) if choice == "first" else 1
    if not 1 <= page <= pages:
        raise ValueError(f"page must be from 1 to {pages}, got {page}")
    turn, place = divmod(page - 1, math.ceil(filters / most[0]))
    rows, columns = _chosen(filters, choice, place, most[0]), _chosen(channels, choice, turn, most[1])
    notes = [_note("filters", rows, filters), _note("input channels", columns, channels)]
    return Shown(rows, columns, ", ".join(note for note in notes if note), page, pages)


def finite_range(weight: Numbers) -> tuple[float, float]:
    """Return the least and the greatest finite value of kernels, (inf, -inf) if there is none, block by block."""
    low, high = math.inf, -math.inf
    for _, each in blocks(weight):
        finite = np.isfinite(each)
        low = min(low, float(each.min(where=finite, initial=np.inf)))
        high = max(high, float(each.max(where=finite, initial=-np.inf)))
    return low, high


def scale_kernels(weight: NDArray[np.float32], scaling: Scaling, whole: Numbers | None = None) -> NDArray[np.float32]:
    """Return (filters, channels, height, width) kernels in units of the colour scale, that of a ``whole`` layer.

    ``kernel`` spreads each kernel over 0 (black) to 1 (white), ``layer`` the layer as a whole, so that strengths can be
    compared within it; ``signed`` divides the layer by its greatest magnitude, so that 0 stays 0 within [-1, 1]. A
    constant kernel (or layer) is 0.5, a signed layer of zeros 0. A value that is not finite is NaN and does not count.
    """
    finite = np.isfinite(weight)
    values = np.where(finite, weight, 0).astype(np.float64)
    if scaling == "kernel":
        low = values.min((2, 3), keepdims=True, where=finite, initial=np.inf)
        high = values.max((2, 3), keepdims=True, where=finite, initial=-np.inf)
    else:
        low, high = map(np.float64, finite_range(weight if whole is None else whole))
    if scaling == "signed":
        greatest = np.maximum(np.abs(low), np.abs(high))
        scaled = values / np.where((greatest > 0) & np.isfinite(greatest), greatest, 1)
    else:
        spread = high - low
        scaled = np.where(spread > 0, (values - low) / np.where(spread > 0, spread, 1), 0.5)
    return np.where(finite, scaled, np.nan).astype(np.float32)


def lay_out(kernels: NDArray[np.float32], gap: int = GAP, beside: int | None = None) -> NDArray[np.float32]:
    """Return (rows, columns, height, width, ...) pictures as one, with NaN between: ``gap`` pixels, or ``beside``."""
    rows, columns, height, width, *colours = kernels.shape
    beside = gap if beside is None else beside
    framed = np.full((rows, columns, height + gap, width + beside, *colours), np.nan, np.float32)
    framed[:, :, :height, :width] = kernels
    tiled = framed.swapaxes(1, 2).reshape(rows * (height + gap), columns * (width + beside), *colours)
    return tiled[: len(tiled) - gap, : tiled.shape[1] - beside]


def lay_out_rows(kernels: NDArray[np.float32], across: int, beside: int = GAP) -> NDArray[np.float32]:
    """Return (filters, channels, height, width, ...) kernels as one picture, ``across`` filters in a row.

    The channels of a filter are placed in a row, ``beside`` pixels of NaN between filters, ``GAP`` elsewhere.
    """
    filters = np.stack([lay_out(each[None]) for each in kernels])
    rows = math.ceil(len(filters) / across)
    places = np.full((rows * across, *filters.shape[1:]), np.nan, np.float32)
    places[: len(filters)] = filters
    return lay_out(places.reshape(rows, across, *filters.shape[1:]), GAP, beside)


def rgb_kernels(weight: NDArray[np.float32], scaling: Scaling, whole: Numbers | None = None) -> NDArray[np.float32]:
    """Return the filters of a layer that sees colours as pictures (filters, height, width, 3) float32 in [0, 1].

    ``kernel`` spreads each filter over its three channels together, ``layer`` the ``whole`` layer, ``signed`` has
    gray for 0; a value that is not finite is NaN.

    Raises:
        ValueError: if the input channels are not three.
    """
    filters, channels, height, width = weight.shape
    if channels != 3:
        raise ValueError(f"a picture in colours needs 3 input channels, got {channels}")
    joined = scale_kernels(weight.reshape(filters, 1, channels * height, width), scaling, whole)
    if scaling == "signed":
        joined = joined / np.float32(2) + np.float32(0.5)
    return joined.reshape(weight.shape).transpose(0, 2, 3, 1)


def _chosen(count: int, choice: Choice, place: int, most: int) -> NDArray[np.int64]:
    if choice == "even" and count > most:
        return np.arange(most) * count // most
    return np.arange(most * place, min(most * (place + 1), count))


def _note(name: str, indices: NDArray[np.int64], count: int) -> str:
    first, last = indices[0] + 1, indices[-1] + 1
    if len(indices) == count:
        return ""
    if last - first == len(indices) - 1:
        return f"{name} {first}-{last} of {count}" if last > first else f"{name[:-1]} {first} of {count}"
    return f"{len(indices)} of {count} {name}, evenly spaced"


def _array(parameter: Tensor | None) -> NDArray[np.float32]:
    return np.zeros(0, np.float32) if parameter is None else np.array(parameter.detach().cpu().numpy(), np.float32)
