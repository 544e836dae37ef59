"""Kernels from ONNX graphs: the stored weights of their Conv and ConvTranspose nodes."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regulens.errors import DataError, UserError
from regulens.weights.kernels import Gathering, WeightsFile
from regulens.weights.layouts import untransposed
from regulens.weights.refusing import refusing

Tensors = ChainMap[str, Any]
"""The TensorProtos that a node can name."""

_MAX_BYTES = 2**31 - 1
"""A protobuf is never larger."""
_REAL = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE")


def read_onnx(path: Path) -> WeightsFile:
    """Read the kernels of an ONNX file, in the order of its nodes; data in other files is not followed.

    A layer is named after its node, else after its weight.

    Raises:
        DataError: if it is damaged or holds no 2D convolution.
        UserError: if onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise UserError("reading ONNX needs onnx, which is not installed: pip install 'regulens[weights]'") from error
    if path.stat().st_size > _MAX_BYTES:
        raise DataError(f"{path}: is larger than an ONNX file can be (2 GiB); fetch it again")
    gathering = Gathering(path, "ONNX")
    with refusing(path, "ONNX"):
        graph = onnx.load_model(path, format="protobuf", load_external_data=False).graph
        for node, tensors in _nodes(graph, ChainMap()):
            if node.op_type in {"Conv", "ConvTranspose"} and len(node.input) >= 2:
                _gather(node, tensors, gathering)
    return gathering.result()


def _nodes(graph: Any, outer: Tensors) -> Iterator[tuple[Any, Tensors]]:
    """Walk the nodes with the tensors in their scope, branches of conditions and bodies of loops included."""
    tensors = outer.new_child({tensor.name: tensor for tensor in graph.initializer})
    for node in graph.node:
        if node.op_type == "Constant":
            tensors.update((node.output[0], item.t) for item in node.attribute if item.name == "value" and node.output)
        yield node, tensors
        for attribute in node.attribute:
            for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from _nodes(inner, tensors)


def _gather(node: Any, tensors: Tensors, gathering: Gathering) -> None:
    weight = tensors.get(node.input[1])
    name = str(node.name or node.input[1].removesuffix(".weight"))
    if weight is None:
        return gathering.leave_out(name, "its weight is computed within the network")
    if reason := _unfit(weight, 4):
        return gathering.leave_out(name, reason)
    gathering.reserve(name, weight.dims)
    filters = _array(weight)
    if node.op_type == "ConvTranspose":
        groups = next((item.i for item in node.attribute if item.name == "group"), 1)
        filters = untransposed(filters, groups)
    bias = tensors.get(node.input[2]) if len(node.input) > 2 else None
    known = bias is not None and list(bias.dims) == [len(filters)] and not _unfit(bias, 1)
    return gathering.add(name, filters, _array(bias) if known else ())


def _unfit(tensor: Any, dimensions: int) -> str:
    """Say why a stored tensor cannot be taken, nothing if it can."""
    if len(tensor.dims) != dimensions:
        return f"no 2D convolution ({len(tensor.dims)} dimensions)"
    if tensor.data_location or tensor.external_data:
        return "its weight is in another file, which is not followed (onnx.save writes one file)"
    if tensor.data_type not in {tensor.DataType.Value(kind) for kind in _REAL}:
        return "not stored as real numbers (quantised?)"
    return "" if all(side > 0 for side in tensor.dims) else "empty"


def _array(tensor: Any) -> NDArray[np.float32]:
    from onnx import numpy_helper

    with np.errstate(over="ignore"):
        return numpy_helper.to_array(tensor).astype(np.float32)
