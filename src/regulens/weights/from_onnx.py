"""Kernels from ONNX graphs: the stored weights of their convolutions, quantized ones by their stored scales."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regulens.errors import DataError, UserError
from regulens.weights.kernels import Gathering, WeightsFile, readable
from regulens.weights.layouts import untransposed
from regulens.weights.lazy import Numbers
from regulens.weights.onnx_aside import Aside
from regulens.weights.onnx_graph import Scope, Visit, Walk
from regulens.weights.onnx_values import LeftOut, Values
from regulens.weights.refusing import refusing

_MAX_BYTES = 2**31 - 1
"""A protobuf is never larger."""


@dataclass(frozen=True)
class _Inputs:
    """Which inputs of an operation are its weight and its bias, and the scale and zero point of a quantized weight."""

    weight: int = 1
    bias: int | None = 2
    scale: int | None = None
    zero: int | None = None


_CONVOLUTIONS = {
    "Conv": _Inputs(),
    "ConvTranspose": _Inputs(),
    "ConvInteger": _Inputs(bias=None, zero=3),
    "DeformConv": _Inputs(bias=3),
    "QLinearConv": _Inputs(weight=3, bias=8, scale=4, zero=5),
    # of ONNX Runtime, https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
    "ConvTransposeWithDynamicPads": _Inputs(bias=3),
    "FusedConv": _Inputs(),
    "NhwcConv": _Inputs(),
    "NhwcFusedConv": _Inputs(),
}
_NUMBERS_OF_A_LAYER = 256
"""What a layer takes besides its weight and bias, as so many numbers."""
_MOST_STEPS = 3
"""From a ConvInteger to the product that makes its output real numbers."""
_DOMAINS = re.compile(r"|ai\.onnx|com\.(microsoft|ms)\b.*")
_BLOCKED = "com.microsoft.nchwc"


def read_onnx(path: Path) -> WeightsFile:
    """Read the kernels of an ONNX file, in the order of its nodes; data in other files is not followed.

    A layer is named after its node and the calls of functions that it lies in, else after its weight. A weight is
    followed through what only copies, turns, casts or dequantizes it.

    Raises:
        DataError: if it is damaged or holds no convolution.
        UserError: if onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise UserError("reading ONNX needs onnx, which is not installed: pip install 'regulens[weights]'") from error
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise DataError(f"{path}: is larger than an ONNX file can be (2 GiB); fetch it again")
    gathering = Gathering(path, "ONNX")
    with refusing(path, "ONNX"), np.errstate(all="ignore"):  # a damaged scale may be anything
        aside = Aside(path)
        walk = Walk(onnx.load_model_from_string(aside.model(), format="protobuf"), size, aside)
        for visit in walk.convolutions():
            _gather(visit, walk, gathering)
    return gathering.result()


def _gather(visit: Visit, walk: Walk, gathering: Gathering) -> None:
    node, scope = visit.node, visit.scope
    inputs = _CONVOLUTIONS.get(node.op_type) if _DOMAINS.fullmatch(node.domain) else None
    if inputs is None or not _input(node, inputs.weight):
        kind = readable(f"{node.domain}:{node.op_type}".lstrip(":"))
        return gathering.leave_out(visit.name or visit.calls + node.op_type, f"an operation that is not known ({kind})")
    given = node.input[inputs.weight]
    gathering.reserve(visit.name or given, (_NUMBERS_OF_A_LAYER,))
    values = Values(walk, gathering, visit.name or given)
    try:
        weight = _oriented(_weight(node, scope, inputs, values), node, scope)
    except LeftOut as reason:
        return gathering.leave_out(visit.name or given.removesuffix(".weight"), str(reason))
    name = visit.name or (values.first or given).removesuffix(".weight")
    bias: NDArray[np.float32] | tuple[()] = ()
    try:
        bias = _bias(node, scope, inputs, values, len(weight))
    except LeftOut as reason:
        if inputs.bias is not None:  # what is added to a ConvInteger's output need not be a bias
            gathering.leave_out(name, f"the bias alone, {str(reason).replace('its weight', 'which')}")
    spatial = weight.ndim - 2
    sides = (*weight.shape[:2], *(1, *weight.shape[2:])[-2:])
    return gathering.add(name, weight.reshape(*sides), bias, spatial)


def _input(node: Any, place: int | None) -> str:
    """Return the name of an input, nothing if it is not given."""
    return "" if place is None or place >= len(node.input) else str(node.input[place])


def _weight(node: Any, scope: Scope, inputs: _Inputs, values: Values) -> NDArray[np.float32]:
    """Return a convolution's weight as stored, (filters, channels, ...), dequantized where the operation does so."""
    if node.domain == _BLOCKED:
        raise LeftOut("stored in blocks for one kind of processor (ONNX Runtime's NCHWc); read the file it was made of")
    name = node.input[inputs.weight]
    if inputs.zero is None:
        weight = values.real(name, scope)
    else:
        whole = values.of(name, scope)
        scale = _scale(node, scope, values) if inputs.scale is None else values.real(node.input[inputs.scale], scope)
        zero = _input(node, inputs.zero)
        weight = values.dequantized(whole, scale, values.of(zero, scope) if zero else None)
    if weight.ndim not in {3, 4}:
        raise LeftOut(f"no 1D or 2D convolution ({weight.ndim} dimensions)")
    if not weight.size:
        raise LeftOut("empty")
    return weight


def _scale(node: Any, scope: Scope, values: Values) -> NDArray[np.float32]:
    """Return the scale of a ConvInteger's weight: ONNX Runtime multiplies by it and the image's."""
    _, factor, _ = _rescaled(node, scope)
    scales, within = scope.find(factor)
    for name in scales.input if getattr(scales, "op_type", "") == "Mul" else ():
        try:
            return values.real(name, within).ravel()
        except LeftOut:
            continue  # the image's
    raise LeftOut("whole numbers whose scale is not stored")


def _rescaled(node: Any, scope: Scope) -> tuple[str, str, str]:
    """Return the output of a ConvInteger as real numbers, its factor, and what is added before, if anything is.

    ONNX Runtime's quantizer casts the output and multiplies it; its older versions add the bias first.
    """
    output, added = str(node.output[0]), ""
    for _ in range(_MOST_STEPS):
        user: Any = scope.users.get(output)
        match getattr(user, "op_type", ""):
            case "Mul":
                return user.output[0], _other(user, output), added
            case "Add":
                added = _other(user, output)
            case "Cast":
                pass
            case _:
                break
        output = user.output[0]
    return "", "", ""


def _unrounded(name: str, scope: Scope) -> tuple[str, Scope]:
    """Return the bias that an older ONNX Runtime's quantizer rounds to the scale of each image; "" if it is another."""
    for kind in ("Reshape", "Cast", "Floor", "Div"):
        source, scope = scope.find(name)
        if getattr(source, "op_type", "") != kind:
            return "", scope
        name = str(source.input[0])
    return name, scope


def _other(node: Any, name: str) -> str:
    return next((each for each in node.input if each != name), "")


def _oriented(weight: NDArray[np.float32], node: Any, scope: Scope) -> Numbers:
    """Return a weight as (filters, channels, ...)."""
    if "Transpose" in node.op_type:
        groups = scope.attribute(node, "group")
        return untransposed(weight, 1 if groups is None else int(groups.i))
    size = scope.attribute(node, "kernel_shape")
    if (
        "nhwc" in f"{node.domain}{node.op_type}".lower()
        and size is not None
        and weight.shape[1:-1] == tuple(size.ints) != weight.shape[2:]
    ):
        return np.moveaxis(weight, -1, 1)
    return weight


def _bias(node: Any, scope: Scope, inputs: _Inputs, values: Values, filters: int) -> NDArray[np.float32] | tuple[()]:
    """Return a convolution's bias, (filters,), or none; that of a QLinearConv has the product of two scales."""
    name = _input(node, inputs.bias)
    if node.op_type == "ConvInteger":
        real, _, added = _rescaled(node, scope)
        user = scope.users.get(real)
        name = _other(user, real) if user is not None and user.op_type == "Add" else ""
        if added:
            name, scope = _unrounded(added, scope)
    if not name:
        return ()
    if inputs.scale is None:
        bias = values.real(name, scope)
    else:
        image, weight = (values.real(node.input[place], scope) for place in (1, inputs.scale))
        bias = values.dequantized(values.of(name, scope), image.ravel() * weight.ravel(), None)
    if bias.size != filters:
        raise LeftOut(f"which has {bias.size} numbers for {filters} filters")
    return bias.ravel()
