"""The stored numbers behind a name of an ONNX model: followed through what only copies, turns or dequantizes them."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regulens.weights.kernels import Gathering
from regulens.weights.onnx_graph import Absent, Argument, Scope, Walk, is_standard

Array = NDArray[Any]

COMPUTED = "its weight is computed within the network"
_ELSEWHERE = "its weight is in another file, which is not followed (onnx.save writes one file)"
_REAL = re.compile("FLOAT.*|BFLOAT16|DOUBLE")
_INTEGER = re.compile(r"U?INT\d+")
_WHOLE_BYTES = re.compile(r"FLOAT(16|8.*)?|BFLOAT16|DOUBLE|U?INT(8|16|32|64)")
_MOST_STEPS = 128
"""From a convolution back to its stored weight, scales included."""


class LeftOut(Exception):
    """Why numbers cannot be had."""


class Values:
    """The numbers behind the names of one convolution; all that it loads is counted first."""

    def __init__(self, walk: Walk, gathering: Gathering, layer: str) -> None:
        self._walk = walk
        self._gathering = gathering
        self._layer = layer
        self._steps = _MOST_STEPS
        self.first = ""
        """The name of the tensor that was loaded first."""

    def real(self, name: str, scope: Scope) -> NDArray[np.float32]:
        """Return the real numbers behind a name.

        Raises:
            LeftOut: if they are not stored, or not as real numbers.
        """
        values = self.of(name, scope)
        if values.dtype != np.float32:
            raise LeftOut("not stored as real numbers (quantized?)")
        return values

    def of(self, name: str, scope: Scope) -> Array:
        """Return the numbers behind a name: real ones as float32, whole ones as they are stored.

        Raises:
            LeftOut: if they are not stored.
        """
        self._steps -= 1
        if self._steps < 0:
            raise LeftOut(COMPUTED)
        source, scope = scope.find(name)
        if isinstance(source, Absent):
            raise LeftOut(source.reason)
        if isinstance(source, Argument):
            return self.of(source.name, source.scope)
        if source.DESCRIPTOR.name == "TensorProto":
            return self.load(source)
        if called := self._walk.call(source, scope):
            function, inner = called
            place = list(source.output).index(name)
            return self.of(function.output[place], inner)
        step = _STEPS.get(source.op_type) if is_standard(source) else None
        if step is None:
            raise LeftOut(COMPUTED)
        return step(self, source, scope)

    def dequantized(self, values: Array, scale: Array, zero: Array | None, axis: int = 0) -> NDArray[np.float32]:
        """Return ``(values - zero) * scale``, with one scale for all or one for each place along the axis.

        Raises:
            LeftOut: if there are other numbers of scales.
        """
        shift = np.zeros(1) if zero is None else zero
        scale, shift = _along(scale, values, axis), _along(shift, values, axis)
        return np.asarray((values.astype(np.float32) - shift.astype(np.float32)) * scale, np.float32)

    def load(self, tensor: Any) -> Array:
        """Return the numbers of a stored tensor: real ones as float32, whole ones as they are."""
        kind = tensor.DataType.Name(tensor.data_type)
        if tensor.data_location or tensor.external_data:
            raise LeftOut(_ELSEWHERE)
        if not _REAL.fullmatch(kind) and not _INTEGER.fullmatch(kind):
            raise LeftOut(f"stored as {kind.lower()}")
        if min(tensor.dims, default=1) < 0:
            raise ValueError("it has a tensor of negative size")
        self._gathering.reserve(self._layer, tensor.dims)
        self.first = self.first or tensor.name
        values = self._stored(tensor, kind)
        return values.astype(np.float32, copy=False) if _REAL.fullmatch(kind) else values

    def _stored(self, tensor: Any, kind: str) -> Array:
        from onnx import helper, numpy_helper

        raw = self._walk.aside.find(tensor.raw_data)
        if raw is not None and sys.byteorder == "little" and _WHOLE_BYTES.fullmatch(kind):
            found: Array = np.frombuffer(raw, helper.tensor_dtype_to_np_dtype(tensor.data_type)).reshape(tensor.dims)
            return found
        if raw is not None:
            tensor.raw_data = bytes(raw)
        return numpy_helper.to_array(tensor)

    def whole(self, name: str, scope: Scope) -> list[int]:
        """Return a short list of whole numbers."""
        values = self.of(name, scope)
        if values.size > 16 or values.dtype.kind not in "iu":
            raise LeftOut(COMPUTED)
        return [int(value) for value in values.ravel()]


def _along(scale: Array, values: Array, axis: int) -> Array:
    if scale.size == 1:
        return scale.reshape(())
    if scale.ndim != 1 or not -values.ndim <= axis < values.ndim or scale.size != values.shape[axis]:
        raise LeftOut("quantized by blocks")
    sides = [1] * values.ndim
    sides[axis] = scale.size
    return scale.reshape(sides)


def _given(node: Any, place: int) -> str:
    return str(node.input[place]) if len(node.input) > place else ""


def _integer(node: Any, scope: Scope, name: str, default: int = 0) -> int:
    attribute = scope.attribute(node, name)
    return default if attribute is None else int(attribute.i)


def _copied(values: Values, node: Any, scope: Scope) -> Array:
    return values.of(node.input[0], scope)


def _constant(values: Values, node: Any, scope: Scope) -> Array:
    if (attribute := scope.attribute(node, "value")) is not None:
        return values.load(attribute.t)
    for name, kind in (("value_float", np.float32), ("value_int", np.int64)):
        if (attribute := scope.attribute(node, name)) is not None:
            return np.array(attribute.f if kind is np.float32 else attribute.i, kind)
        if (attribute := scope.attribute(node, f"{name}s")) is not None:
            return np.array(attribute.floats if kind is np.float32 else attribute.ints, kind)
    raise LeftOut("its weight is stored sparsely" if scope.attribute(node, "sparse_value") else COMPUTED)


def _transposed(values: Values, node: Any, scope: Scope) -> Array:
    order = scope.attribute(node, "perm")
    return values.of(node.input[0], scope).transpose(list(order.ints) if order is not None else None)


def _cast(values: Values, node: Any, scope: Scope) -> Array:
    from onnx import TensorProto, helper

    kind = TensorProto.DataType.Name(_integer(node, scope, "to"))
    if not _REAL.fullmatch(kind):
        raise LeftOut(COMPUTED)
    array = values.of(node.input[0], scope)
    rounded = array.astype(helper.tensor_dtype_to_np_dtype(TensorProto.DataType.Value(kind)))
    return rounded.astype(np.float32)


def _reshaped(values: Values, node: Any, scope: Scope) -> Array:
    array = values.of(node.input[0], scope)
    sides = values.whole(_given(node, 1), scope)
    if not _integer(node, scope, "allowzero"):
        sides = [array.shape[place] if side == 0 else side for place, side in enumerate(sides)]
    return array.reshape(sides)


def _flattened(values: Values, node: Any, scope: Scope) -> Array:
    array, axis = values.of(node.input[0], scope), _integer(node, scope, "axis", 1)
    return array.reshape(math.prod(array.shape[:axis]), -1)


def _cast_alike(values: Values, node: Any, scope: Scope) -> Array:
    """Return real numbers as they are: what they are cast to is that of an image."""
    return values.real(node.input[0], scope)


def _axes(values: Values, node: Any, scope: Scope) -> tuple[int, ...]:
    """Return the axes of Squeeze and Unsqueeze: an input, before opset 13 an attribute."""
    if _given(node, 1):
        return tuple(values.whole(node.input[1], scope))
    attribute = scope.attribute(node, "axes")
    return tuple(attribute.ints) if attribute is not None else ()


def _squeezed(values: Values, node: Any, scope: Scope) -> Array:
    return np.squeeze(values.of(node.input[0], scope), _axes(values, node, scope) or None)


def _unsqueezed(values: Values, node: Any, scope: Scope) -> Array:
    return np.expand_dims(values.of(node.input[0], scope), _axes(values, node, scope))


def _dequantize(values: Values, node: Any, scope: Scope) -> Array:
    if _integer(node, scope, "block_size"):
        raise LeftOut("quantized by blocks")
    array = values.of(node.input[0], scope)
    scale = values.real(node.input[1], scope)
    zero = values.of(node.input[2], scope) if _given(node, 2) else None
    return values.dequantized(array, scale, zero, _integer(node, scope, "axis", 1))


def _quantize(values: Values, node: Any, scope: Scope) -> Array:
    """Round real numbers to the steps of a quantization, as training for it leaves them in the graph."""
    if _integer(node, scope, "block_size"):
        raise LeftOut("quantized by blocks")
    array, axis = values.real(node.input[0], scope), _integer(node, scope, "axis", 1)
    scale = _along(values.real(node.input[1], scope), array, axis)
    zero = values.of(node.input[2], scope) if _given(node, 2) else np.zeros(1, np.uint8)
    low, high = _range(zero.dtype.name)
    steps = np.rint(array / scale) + _along(zero, array, axis).astype(np.float32)
    return np.asarray(np.clip(steps, low, high), np.int32)


def _range(kind: str) -> tuple[int, int]:
    """Return the least and the greatest number of int8, uint4 and the like."""
    if not (bits := re.fullmatch(r"u?int(\d+)", kind)) or int(bits[1]) > 16:
        raise LeftOut(COMPUTED)
    count = 2 ** int(bits[1])
    return (0, count - 1) if kind.startswith("u") else (-count // 2, count // 2 - 1)


_STEPS: dict[str, Callable[[Values, Any, Scope], Array]] = {
    "Cast": _cast,
    "CastLike": _cast_alike,
    "Constant": _constant,
    "DequantizeLinear": _dequantize,
    "Flatten": _flattened,
    "Identity": _copied,
    "QuantizeLinear": _quantize,
    "Reshape": _reshaped,
    "Squeeze": _squeezed,
    "Transpose": _transposed,
    "Unsqueeze": _unsqueezed,
}
