"""How libraries lay out a convolution's weight, turned to torch's (filters, channels, height, width)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from regulens.weights.kernels import Gathering
from regulens.weights.lazy import Lazy, Numbers, Spill
from regulens.weights.parametrized import resolved
from regulens.weights.stored import StoredTensor, split_name

Bias = NDArray[np.float32]
_ATTENTION = ("query", "key", "value", "out", "attention_output")
"""How Flax and Keras call the projections of an attention, which are (features, heads, head features) or reversed."""


@dataclass(frozen=True)
class Convolution:
    """What the class of a layer says of its weight; ``groups`` is None where it does not say.

    ``other`` is the class of a layer that is no convolution.
    """

    transposed: bool = False
    groups: int | None = None
    other: str = ""


def gather_named(
    tensors: Mapping[str, StoredTensor], gathering: Gathering, kinds: Mapping[str, Convolution] = MappingProxyType({})
) -> None:
    """Take the convolutions among tensors named as modules name them: ``features.0.weight``, ``features.0.bias``.

    ``weight`` is laid out as torch does, ``kernel`` as Flax and Keras do. Weights that a module computes from others
    (weight and spectral normalization, pruning) are resolved. ``kinds`` are the layers whose class is known.
    """
    tensors = resolved(tensors)
    for name, tensor in tensors.items():
        layer, leaf = split_name(name)
        if len(tensor.shape) <= 2:
            continue  # dense layers, biases, statistics
        bias = tensors.get(f"{name[: len(name) - len(leaf)]}bias")
        if reason := _unfit(tensor, leaf) or _of_class(kinds.get(layer)) or _unlike(name, tensors, bias):
            gathering.leave_out(name, reason)
            continue
        fits = bias is not None and len(bias.shape) == 1 and bias.floating and not bias.unfit
        gathering.reserve(name, tensor.shape)
        fits = fits and bias is not None and bias.shape[0] <= math.prod(tensor.shape[:4])
        values = bias.read()[...] if bias is not None and fits else None
        weight = tensor.read()
        turned = _turned(weight, values, leaf, kinds.get(layer))
        gathering.add(layer or name, *turned, spatial=weight.ndim - 2)


def _turned(weight: Lazy, bias: Bias | None, leaf: str, kind: Convolution | None) -> tuple[Numbers, Bias]:
    """Return a weight of three or four dimensions as four, laid out as torch does, with its bias."""
    if leaf == "kernel":
        return keras_layout(weight.reshape(*(1, *weight.shape)[-4:]), bias)
    return torch_layout(weight.reshape(*weight.shape[:2], *(1, *weight.shape[2:])[-2:]), bias, kind)


def torch_layout(weight: Lazy, bias: Bias | None, kind: Convolution | None = None) -> tuple[Numbers, Bias]:
    """Return torch's weight with its bias, which tells a transposed convolution, (in, out / groups, height, width).

    Without a bias, or where both readings fit it, the weight is taken as (out, in / groups, height, width), unless its
    kind is known.
    """
    first, second = weight.shape[:2]
    transposed = kind.transposed if kind is not None else bias is not None and len(bias) != first
    if not transposed:
        return weight, _or_none(bias if bias is not None and len(bias) == first else None)
    groups = (kind.groups if kind is not None else None) or (1 if bias is None else len(bias) // second)
    if not groups or first % groups or (bias is not None and len(bias) != groups * second):
        return weight, _or_none(None)
    return untransposed(weight, groups), _or_none(bias)


def keras_layout(weight: Lazy, bias: Bias | None, kind: str = "", hint: str = "") -> tuple[Lazy, Bias]:
    """Return Keras' (height, width, in, out) weight with its bias.

    A depthwise convolution's is (height, width, in, multiplier), a transposed one's (height, width, out, in).

    Args:
        weight: of any of these.
        bias: (filters,), or none.
        kind: "ordinary", "depthwise" or "transpose"; unless the bias says otherwise, it is that.
        hint: a name that may hold a kind; it tells where neither kind nor bias does.
    """
    third, fourth = weight.shape[2:]
    filters = {"ordinary": fourth, "depthwise": third * fourth, "transpose": third}
    fitting = [each for each, count in filters.items() if bias is None or count == len(bias)]
    hinted = [each for each in fitting if each in hint.lower()]
    told = [each for each in [kind, *hinted, *fitting, kind] if each in fitting] or [kind or "ordinary"]
    if told[0] == "depthwise":
        turned = weight.transpose(2, 3, 0, 1)
        turned = turned.reshape(third * fourth, 1, *turned.shape[2:])
    else:
        turned = weight.transpose(2, 3, 0, 1) if told[0] == "transpose" else weight.transpose(3, 2, 0, 1)
    return turned, _or_none(bias if bias is not None and len(bias) == len(turned) else None)


def untransposed(weight: Numbers, groups: int) -> Numbers:
    """Return a transposed convolution's (in, out / groups, height, width) as (out, in / groups, height, width)."""
    entering, leaving, *size = weight.shape
    if groups == 1:
        return weight.swapaxes(0, 1)
    grouped = weight.reshape(groups, entering // groups, leaving, *size).swapaxes(1, 2)
    return Spill().keep(grouped).reshape(groups * leaving, entering // groups, *size)


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """Return a sorting key by which ``features.2`` comes before ``features.10``."""
    parts = re.split(r"(\d{1,18})", name)
    return tuple((int(part), "") if place % 2 else (-1, part) for place, part in enumerate(parts))


def _unfit(tensor: StoredTensor, leaf: str) -> str:
    """Say why a tensor of three dimensions or more is no convolution's weight, nothing if it can be one."""
    if len(tensor.shape) > 4:
        return f"no 1D or 2D convolution ({len(tensor.shape)} dimensions)"
    if leaf not in {"weight", "kernel"}:
        return 'not named "weight" or "kernel"'
    if tensor.unfit:
        return tensor.unfit
    if not tensor.floating:
        return "not stored as real numbers (quantized?)"
    return "" if all(tensor.shape) else "empty"


def _of_class(kind: Convolution | None) -> str:
    return f"not a convolution (class {kind.other})" if kind is not None and kind.other else ""


def _unlike(name: str, tensors: Mapping[str, StoredTensor], bias: StoredTensor | None) -> str:
    """Say what else than a convolution has a weight of this shape, nothing if none has."""
    tensor = tensors[name]
    if bias is not None and bias.shape == tensor.shape:
        return "a normalization (its bias has the shape of its weight)"
    if bias is not None and len(bias.shape) > 1:
        return f"no convolution (its bias has {len(bias.shape)} dimensions)"
    layer, leaf = split_name(name)
    own = split_name(layer)[1]
    query = f"{layer[: len(layer) - len(own)]}query{name[len(layer) :]}"
    attention = leaf == "kernel" and len(tensor.shape) == 3 and own in _ATTENTION and query in tensors
    return "an attention's projection" if attention else ""


def _or_none(bias: Bias | None) -> Bias:
    return np.zeros(0, np.float32) if bias is None else bias
