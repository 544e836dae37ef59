"""The kernels of a network's convolutions, and their tiling into one picture. Module in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from regulens.models.cnn import CNN
from regulens.weights.kernels import ConvKernels

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
    """Which filters and input channels are drawn, as indices from 0; ``note`` says so in words if not all are."""

    filters: NDArray[np.int64]
    channels: NDArray[np.int64]
    note: str


def choose_kernels(filters: int, channels: int, choice: Choice = "first", page: int = 1, most: int = MOST) -> Shown:
    """Choose at most ``most`` filters and input channels of a layer that has more.

    Args:
        filters: number of filters of the layer.
        channels: number of its input channels.
        choice: ``first`` takes a page of neighbouring filters and the first channels, ``even`` takes both evenly
            spaced over the layer.
        page: which filters ``first`` takes, from 1.
        most: of each.

    Raises:
        ValueError: if there is no such page.
    """
    pages = -(-filters // most) if choice == "first" else 1
    if not 1 <= page <= pages:
        raise ValueError(f"page must be from 1 to {pages}, got {page}")
    rows, columns = _chosen(filters, choice, page, most), _chosen(channels, choice, 1, most)
    notes = [_note("filters", rows, filters), _note("input channels", columns, channels)]
    return Shown(rows, columns, ", ".join(note for note in notes if note))


def scale_kernels(weight: NDArray[np.float32], scaling: Scaling) -> NDArray[np.float32]:
    """Return (filters, channels, height, width) kernels in units of the colour scale.

    ``kernel`` spreads each kernel over 0 (black) to 1 (white), ``layer`` the layer as a whole, so that strengths can be
    compared within it; ``signed`` divides the layer by its greatest magnitude, so that 0 stays 0 within [-1, 1]. A
    constant kernel (or layer) is 0.5, a signed layer of zeros 0. A value that is not finite is NaN and does not count.
    """
    axes = (2, 3) if scaling == "kernel" else (0, 1, 2, 3)
    finite = np.isfinite(weight)
    values = np.where(finite, weight, 0).astype(np.float64)
    low = values.min(axes, keepdims=True, where=finite, initial=np.inf)
    high = values.max(axes, keepdims=True, where=finite, initial=-np.inf)
    if scaling == "signed":
        greatest = np.maximum(np.abs(low), np.abs(high))
        scaled = values / np.where(greatest > 0, greatest, 1)
    else:
        spread = high - low
        scaled = np.where(spread > 0, (values - low) / np.where(spread > 0, spread, 1), 0.5)
    return np.where(finite, scaled, np.nan).astype(np.float32)


def tile_kernels(
    weight: NDArray[np.float32], scaling: Scaling, shown: Shown | None = None, gap: int = GAP
) -> NDArray[np.float32]:
    """Lay kernels out as one image: a row per filter, a column per input channel, NaN between them.

    Args:
        weight: (filters, channels, height, width).
        scaling: as in ``scale_kernels``, of the whole layer whatever is shown of it.
        shown: what is laid out; by default all.
        gap: pixels between kernels.

    Returns:
        (filters * (height + gap) - gap, channels * (width + gap) - gap) float32 in [0, 1], signed in [-1, 1].
    """
    scaled = scale_kernels(weight, scaling)
    return lay_out(scaled if shown is None else scaled[np.ix_(shown.filters, shown.channels)], gap)


def lay_out(kernels: NDArray[np.float32], gap: int = GAP) -> NDArray[np.float32]:
    """Return (rows, columns, height, width, ...) pictures as one, with NaN between them."""
    rows, columns, height, width, *colours = kernels.shape
    framed = np.full((rows, columns, height + gap, width + gap, *colours), np.nan, np.float32)
    framed[:, :, :height, :width] = kernels
    tiled = framed.swapaxes(1, 2).reshape(rows * (height + gap), columns * (width + gap), *colours)
    return tiled[: len(tiled) - gap, : tiled.shape[1] - gap]


def rgb_kernels(weight: NDArray[np.float32], scaling: Scaling) -> NDArray[np.float32]:
    """Return the filters of a layer that sees colours as pictures (filters, height, width, 3) float32 in [0, 1].

    ``kernel`` spreads each filter over its three channels together, ``layer`` the layer as a whole, ``signed`` has
    gray for 0; a value that is not finite is NaN.

    Raises:
        ValueError: if the input channels are not three.
    """
    filters, channels, height, width = weight.shape
    if channels != 3:
        raise ValueError(f"a picture in colours needs 3 input channels, got {channels}")
    joined = scale_kernels(weight.reshape(filters, 1, channels * height, width), scaling)
    if scaling == "signed":
        joined = joined / np.float32(2) + np.float32(0.5)
    return joined.reshape(weight.shape).transpose(0, 2, 3, 1)


def _chosen(count: int, choice: Choice, page: int, most: int) -> NDArray[np.int64]:
    if choice == "even" and count > most:
        return np.arange(most) * count // most
    return np.arange(most * (page - 1), min(most * page, count))


def _note(name: str, indices: NDArray[np.int64], count: int) -> str:
    first, last = indices[0] + 1, indices[-1] + 1
    if len(indices) == count:
        return ""
    if last - first == len(indices) - 1:
        return f"{name} {first}-{last} of {count}" if last > first else f"{name[:-1]} {first} of {count}"
    return f"{len(indices)} of {count} {name}, evenly spaced"


def _array(parameter: Tensor | None) -> NDArray[np.float32]:
    return np.zeros(0, np.float32) if parameter is None else np.array(parameter.detach().cpu().numpy(), np.float32)
