"""Kernels from TensorFlow Lite (LiteRT) files: stored weights of their convolutions, quantized ones dequantized."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from regulens.errors import UserError
from regulens.weights.kernels import Gathering, WeightsFile, readable
from regulens.weights.lazy import Lazy, mapped
from regulens.weights.rebuilding import widened
from regulens.weights.refusing import refusing

if TYPE_CHECKING:
    from regulens.weights.tflite_graph import Graph, Operation, Tensor

_NUMBERS_OF_A_LAYER = 256
"""What a layer takes besides its weight and bias, as so many numbers."""
_COMPUTED = "its weight is computed within the network"
_GIVEN = re.compile(r"(arith|tfl|tosa|stablehlo)\..*|(const|buffer|convolution|conv_transpose).*|", re.IGNORECASE)
"""Names that converters give to weights themselves."""
_SEPARABLE = re.compile(r"/separable_conv2d_?\d*/depthwise_?\d*(?P<depthwise>$)|/separable_conv2d_?\d*$")
_CONVOLUTION = re.compile(
    r"/(Conv[12]D|Conv2DBackpropInput|conv2d_transpose|convolution|conv_transpose|depthwise|DepthwiseConv2dNative"
    r"|separable_conv2d)_?\d*$"
)
_VARIABLE = re.compile(r"/([Kk]ernel|[Ww]eights?|weights_quant)_?\d*$")
_AROUND = re.compile(r"(/(BiasAdd|Relu6?|ReadVariableOp|FakeQuant\w*)_?\d*)+$")
"""What TensorFlow appends to the name of a layer."""
_UNPACKED = re.compile(r"_(dequantize|densify)\d*$")
_MOST_STEPS = 8
"""From a tensor back to the stored one that it is unpacked from."""


class _LeftOut(Exception):
    """Why numbers cannot be had."""


def read_tflite(path: Path) -> WeightsFile:
    """Read the kernels of a TensorFlow Lite file, in the order of its operations.

    A layer is named after its weight, which has the name of the network's layer, or else after what it gives.

    Raises:
        DataError: if it is damaged or holds no convolution.
        UserError: if flatbuffers is not installed.
    """
    try:
        from regulens.weights.tflite_graph import Model
    except ImportError as error:
        raise UserError(
            "reading TensorFlow Lite needs flatbuffers, which is not installed: pip install 'regulens[weights]'"
        ) from error
    gathering = Gathering(path, "TensorFlow Lite")
    with refusing(path, "TensorFlow Lite"), np.errstate(all="ignore"):  # a damaged scale may be anything
        for graph in Model(mapped(path)).graphs():
            for operation in graph.operations():
                _gather(operation, graph, gathering)
    return gathering.result()


def _gather(operation: Operation, graph: Graph, gathering: Gathering) -> None:
    if "conv" not in operation.kind.lower():
        return None
    turn = _TURNED.get(operation.kind)
    weight, name = operation.input(1), _name(operation)
    if turn is None or weight is None:
        return gathering.leave_out(name, f"an operation that is not known ({readable(operation.kind)})")
    gathering.reserve(name, (_NUMBERS_OF_A_LAYER,))
    try:
        filters = turn(_values(weight, graph, gathering, name))
    except _LeftOut as reason:
        return gathering.leave_out(name, str(reason))
    bias: NDArray[np.float32] | tuple[()] = ()
    try:
        bias = _bias(operation, graph, gathering, name, len(filters))
    except _LeftOut as reason:
        gathering.leave_out(name, f"the bias alone, {str(reason).replace('its weight', 'which')}")
    return gathering.add(name, filters, bias)


def _name(operation: Operation) -> str:
    """Return the name of a convolution's layer: TensorFlow appends those of operations, its converter joins several.

    Of several the one of a convolution counts: its batch normalization and activation are joined to it.
    """
    tensors = [each for each in (operation.input(1), operation.output(0)) if each is not None]
    joined = [_UNPACKED.sub("", part) for each in tensors for part in each.name.split(";")]
    given = [part for part in joined if not _GIVEN.fullmatch(part)]
    own = [part for part in given if _CONVOLUTION.search(_AROUND.sub("", part))]
    return _layer(next(iter([*own, *given, *joined]), "")) or operation.kind.lower()


def _layer(name: str) -> str:
    """Return a name without what TensorFlow appends, once each, as layers are often called so themselves."""
    name = _AROUND.sub("", name)
    if variable := _VARIABLE.search(name):
        return _VARIABLE.sub("", name[: variable.start()])
    if found := _SEPARABLE.search(name):
        return name[: found.start()] + ("/pointwise" if found["depthwise"] is None else "/depthwise")
    return _CONVOLUTION.sub("", name)


def _values(tensor: Tensor, graph: Graph, gathering: Gathering, name: str) -> Lazy:
    """Return the real numbers of a tensor, its own or those that it is dequantized from."""
    for _ in range(_MOST_STEPS):
        source = None if tensor.stored else graph.packed.get(tensor.place)
        tensor = tensor if source is None else source
    if tensor.sparse:
        raise _LeftOut("its weight is stored sparsely")
    if tensor.elsewhere:
        raise _LeftOut("its weight is in another file, which is not followed")
    if not tensor.stored:
        raise _LeftOut(_COMPUTED)
    if tensor.blocked:
        raise _LeftOut("quantized by blocks")
    if not tensor.numeric:
        raise _LeftOut("not stored as numbers that are known")
    gathering.reserve(name, tensor.shape)
    values = tensor.numbers()
    if tensor.real:
        return Lazy(widened, (values,))
    if not tensor.scale.size:
        raise _LeftOut("not stored as real numbers (quantized?)")
    steps = [np.broadcast_to(_along(parameter, tensor), values.shape) for parameter in (tensor.zero, tensor.scale)]
    return Lazy(_dequantized, (values, *steps))


def _dequantized(values: NDArray[Any], zero: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(all="ignore"):
        return (values.astype(np.float32) - zero) * scale


def _along(parameter: NDArray[Any], tensor: Tensor) -> NDArray[np.float32]:
    """Return a quantization's scales or zero points, one for all or one for each place along its dimension."""
    if parameter.size <= 1:
        return np.asarray(parameter.sum(), np.float32)
    if tensor.axis >= len(tensor.shape) or parameter.size != tensor.shape[tensor.axis]:
        raise _LeftOut("quantized by blocks")
    sides = [1] * len(tensor.shape)
    sides[tensor.axis] = parameter.size
    return parameter.astype(np.float32).reshape(sides)


def _bias(
    operation: Operation, graph: Graph, gathering: Gathering, name: str, filters: int
) -> NDArray[np.float32] | tuple[()]:
    bias = operation.input(3 if operation.kind == "TRANSPOSE_CONV" else 2)
    if bias is None:
        return ()
    values = _values(bias, graph, gathering, name)[...]
    if values.size != filters:
        raise _LeftOut(f"which has {values.size} numbers for {filters} filters")
    return values.ravel()


def _ordinary(weight: Lazy) -> Lazy:
    """Turn (filters, height, width, channels), of transposed convolutions too."""
    return _flat(weight).transpose(0, 3, 1, 2)


def _depthwise(weight: Lazy) -> Lazy:
    """Turn (1, height, width, filters)."""
    return _flat(weight).transpose(3, 0, 1, 2)


def _flat(weight: Lazy) -> Lazy:
    if weight.ndim != 4:
        raise _LeftOut(f"no 1D or 2D convolution ({weight.ndim} dimensions)")
    if not weight.size:
        raise _LeftOut("empty")
    return weight


_TURNED: dict[str, Callable[[Lazy], Lazy]] = {
    "CONV_2D": _ordinary,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _ordinary,
    "CONV_3D": _flat,
    "CONV_3D_TRANSPOSE": _flat,
}
