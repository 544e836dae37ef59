"""How libraries lay out a convolution's weight, turned to torch's (filters, channels, height, width)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regulens.weights.kernels import Gathering

Weight = NDArray[np.float32]


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that is still in its file: its shape, whether it holds real numbers, and how to read it."""

    shape: tuple[int, ...]
    floating: bool
    read: Callable[[], NDArray[np.float32]]


def gather_named(tensors: Mapping[str, StoredTensor], gathering: Gathering) -> None:
    """Take the convolutions among tensors named as modules name them: ``features.0.weight``, ``features.0.bias``.

    ``weight`` is laid out as torch does, ``kernel`` as Flax and Keras do.
    """
    for name, tensor in tensors.items():
        layer, leaf = _split(name)
        if len(tensor.shape) <= 2:
            continue  # dense layers, biases, statistics
        if reason := _unfit(tensor, leaf):
            gathering.leave_out(name, reason)
            continue
        bias = tensors.get(f"{name[: len(name) - len(leaf)]}bias")
        fits = bias is not None and len(bias.shape) == 1 and bias.floating
        gathering.reserve(name, tensor.shape)
        values = bias.read() if bias is not None and fits and bias.shape[0] <= math.prod(tensor.shape[:4]) else None
        orient = keras_layout if leaf == "kernel" else torch_layout
        gathering.add(layer or name, *orient(tensor.read(), values))


def torch_layout(weight: Weight, bias: Weight | None) -> tuple[Weight, Weight]:
    """Return torch's weight with its bias, which tells a transposed convolution, (in, out / groups, height, width).

    Without a bias, or where both readings fit it, the weight is taken as (out, in / groups, height, width).
    """
    first, second = weight.shape[:2]
    if bias is None or len(bias) == first:
        return weight, _or_none(bias)
    groups, rest = divmod(len(bias), second)
    if not rest and groups and first % groups == 0:
        return untransposed(weight, groups), bias
    return weight, _or_none(None)


def keras_layout(weight: Weight, bias: Weight | None, hint: str = "") -> tuple[Weight, Weight]:
    """Return Keras' (height, width, in, out) weight with its bias.

    A depthwise convolution's is (height, width, in, multiplier), a transposed one's (height, width, out, in); ``hint``,
    the name of the layer's class or what there is of it, tells them, else the bias does.
    """
    third, fourth = weight.shape[2:]
    length = fourth if bias is None else len(bias)
    if "depthwise" in hint or length == third * fourth != fourth:
        filters = weight.transpose(2, 3, 0, 1)
        filters = filters.reshape(third * fourth, 1, *filters.shape[2:])
    elif "transpose" in hint or length == third != fourth:
        filters = weight.transpose(2, 3, 0, 1)
    else:
        filters = weight.transpose(3, 2, 0, 1)
    return filters, _or_none(bias if bias is not None and len(bias) == len(filters) else None)


def untransposed(weight: Weight, groups: int) -> Weight:
    """Return a transposed convolution's (in, out / groups, height, width) as (out, in / groups, height, width)."""
    entering, leaving, *size = weight.shape
    grouped = weight.reshape(groups, entering // groups, leaving, *size)
    return grouped.swapaxes(1, 2).reshape(groups * leaving, entering // groups, *size)


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """Return a sorting key by which ``features.2`` comes before ``features.10``."""
    parts = re.split(r"(\d{1,18})", name)
    return tuple((int(part), "") if place % 2 else (-1, part) for place, part in enumerate(parts))


def _split(name: str) -> tuple[str, str]:
    """Return the layer and the leaf of ``layer.leaf`` or ``layer/leaf``."""
    cut = max(name.rfind("."), name.rfind("/"))
    return name[: max(cut, 0)], name[cut + 1 :]


def _unfit(tensor: StoredTensor, leaf: str) -> str:
    """Say why a tensor of three dimensions or more is no 2D convolution's weight, nothing if it is one."""
    if len(tensor.shape) != 4:
        return f"no 2D convolution ({len(tensor.shape)} dimensions)"
    if leaf not in {"weight", "kernel"}:
        return 'not named "weight" or "kernel"'
    if not tensor.floating:
        return "not stored as real numbers (quantised?)"
    return "" if all(tensor.shape) else "empty"


def _or_none(bias: Weight | None) -> Weight:
    return np.zeros(0, np.float32) if bias is None else bias
