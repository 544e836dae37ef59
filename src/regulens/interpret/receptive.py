"""Which pixels a position of a map looks at. Network in, boxes in input pixels out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

Pair = tuple[int, int]
"""One number along the rows, one along the columns."""


@dataclass(frozen=True)
class ReceptiveField:
    """The pixels that a map's positions see, in input pixels along (rows, columns).

    Position (0, 0) sees ``size`` pixels from ``start`` on (negative where the convolution is padded), and each step
    on the map moves that window by ``jump``.
    """

    start: Pair = (0, 0)
    jump: Pair = (1, 1)
    size: Pair = (1, 1)

    def box(self, y: int, x: int) -> tuple[int, int, int, int]:
        """Return (top, left, bottom, right) of position (y, x), the last two exclusive; it may reach outside."""
        top, left = self.start[0] + y * self.jump[0], self.start[1] + x * self.jump[1]
        return top, left, top + self.size[0], left + self.size[1]

    def cut(self, image: NDArray[np.generic], y: int, x: int) -> NDArray[np.float32]:
        """Return what position (y, x) sees of an image (H, W, C): (*size, C), NaN outside the image."""
        top, left, bottom, right = self.box(y, x)
        patch = np.full((*self.size, image.shape[2]), np.nan, np.float32)
        inside = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        at = max(-top, 0), max(-left, 0)
        patch[at[0] : at[0] + inside.shape[0], at[1] : at[1] + inside.shape[1]] = inside
        return patch


def receptive_fields(network: nn.Sequential) -> dict[str, ReceptiveField]:
    """Return the receptive field of every layer up to the last convolution's pooling, in the network's order.

    A window of k positions grows the field by (k - 1) jumps, its stride multiplies the jump (Araujo, Norris and Sim
    2019, "Computing receptive fields of convolutional neural networks", Distill).
    """
    fields: dict[str, ReceptiveField] = {}
    field = ReceptiveField()
    for name, layer in network.named_children():
        if isinstance(layer, nn.Flatten):
            break
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            field = _behind(field, layer)
        fields[name] = field
    return fields


def _behind(field: ReceptiveField, layer: nn.Conv2d | nn.MaxPool2d) -> ReceptiveField:
    window, stride, dilation = (_pair(each) for each in (layer.kernel_size, layer.stride, layer.dilation))
    spans = tuple(d * (k - 1) for d, k in zip(dilation, window, strict=True))
    if isinstance(layer.padding, str):
        before = tuple(span // 2 if layer.padding == "same" else 0 for span in spans)
    else:
        before = _pair(layer.padding)
    axes = list(zip(field.start, field.jump, field.size, spans, stride, before, strict=True))
    start, jump, size = zip(*((s - b * j, j * t, n + span * j) for s, j, n, span, t, b in axes), strict=True)
    return replace(field, start=start, jump=jump, size=size)


def _pair(value: int | tuple[int, ...]) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
