"""The kernels of a network's convolutions, and their tiling into one picture. Module in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from regulens.models.cnn import CNN

Scaling = Literal["kernel", "layer"]
GAP = 1


@dataclass(frozen=True, eq=False)
class ConvKernels:
    """One convolution's numbers: weight (filters, input channels, height, width), bias (filters,), float32."""

    layer: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    @property
    def shape(self) -> str:
        """Height x width x input channels x filters, the order in which Keras prints it."""
        filters, channels, height, width = self.weight.shape
        return f"{height}x{width}x{channels}x{filters}"


def conv_kernels(model: CNN) -> list[ConvKernels]:
    """Return copies of the kernels and biases of every convolution."""
    layers = model.expanded().named_children()
    return [
        ConvKernels(name, _array(layer.weight), _array(layer.bias))
        for name, layer in layers
        if isinstance(layer, nn.Conv2d)
    ]


def tile_kernels(weight: NDArray[np.float32], scaling: Scaling) -> NDArray[np.float32]:
    """Lay kernels out as one image: a row per filter, a column per input channel, NaN between them.

    Args:
        weight: (filters, channels, height, width).
        scaling: ``kernel`` spreads each kernel over black to white, ``layer`` the layer as a whole, so that
            strengths can be compared within it. A constant kernel (or layer) is mid-gray, one that holds a value
            that is not finite is NaN.

    Returns:
        (filters * (height + 1) - 1, channels * (width + 1) - 1) float32 in [0, 1].
    """
    filters, channels, height, width = weight.shape
    axes = (2, 3) if scaling == "kernel" else (0, 1, 2, 3)
    low = weight.min(axis=axes, keepdims=True)
    with np.errstate(invalid="ignore"):
        spread = weight.max(axis=axes, keepdims=True) - low
        scaled = np.where(spread == 0, 0.5, (weight - low) / np.where(spread == 0, 1, spread))
    scaled[~np.isfinite(spread + np.zeros_like(weight))] = np.nan
    framed = np.full((filters, channels, height + GAP, width + GAP), np.nan, np.float32)
    framed[:, :, :height, :width] = scaled
    tiled = framed.transpose(0, 2, 1, 3).reshape(filters * (height + GAP), channels * (width + GAP))
    return tiled[:-GAP, :-GAP]


def _array(parameter: Tensor | None) -> NDArray[np.float32]:
    assert parameter is not None  # every convolution here has a bias
    return np.array(parameter.detach().cpu().numpy(), np.float32)
