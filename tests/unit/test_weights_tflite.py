"""Kernels of TensorFlow Lite files: every kind of convolution, quantized in every way that converters have."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from numpy.typing import NDArray
from weights_read import outcome, refusal

from regulens.errors import UserError
from regulens.weights.files import read_kernels
from regulens.weights.kernels import WeightsFile

Array = NDArray[Any]
Put = Callable[[flatbuffers.Builder], Any]

CONV, DEPTHWISE, DEQUANTIZE, CUSTOM, TRANSPOSED, DENSIFY, CONV_3D = 3, 4, 6, 32, 67, 124, 132
TYPES = {"float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int64": 4, "int16": 7, "int8": 9, "float64": 10}
WEIGHT = np.random.default_rng(0).normal(size=(4, 2, 5, 3)).astype(np.float32)
BIAS = np.arange(4, dtype=np.float32)


def table(builder: flatbuffers.Builder, fields: dict[int, tuple[str, Any]]) -> int:
    """Write a table of fields by their places, each a number of a type or the place of what was written before."""
    builder.StartObject(max(fields, default=0) + 1)
    for slot, (kind, value) in fields.items():
        put = getattr(builder, "PrependUOffsetTRelativeSlot" if kind == "at" else f"Prepend{kind}Slot")
        put(slot, value, 0)
    return int(builder.EndObject())


def tables(builder: flatbuffers.Builder, places: Sequence[int]) -> int:
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):
        builder.PrependUOffsetTRelative(place)
    return int(builder.EndVector())


def vector(builder: flatbuffers.Builder, values: Array) -> tuple[str, int]:
    return "at", int(builder.CreateNumpyVector(values))


@dataclass
class Tensor:
    name: str
    values: Array | None = None
    shape: tuple[int, ...] | None = None
    kind: int | None = None
    scale: Sequence[float] = ()
    zero: Sequence[int] = ()
    axis: int = 0
    more: dict[int, tuple[str, Any]] = field(default_factory=dict)
    details: int = 0
    sparse: bool = False


@dataclass
class Operation:
    code: int
    inputs: list[int]
    outputs: list[int]
    custom: str = ""


def tflite_file(
    path: Path, tensors: list[Tensor], operations: list[Operation], times: int = 1, behind: bool = False
) -> Path:
    builder = flatbuffers.Builder(1024)
    stored = [table(builder, {})]
    late = []
    for tensor in tensors:
        raw = np.zeros(0, np.uint8) if tensor.values is None else np.frombuffer(tensor.values.tobytes(), np.uint8)
        if behind and raw.size:
            late.append(raw.tobytes())
            stored.append(table(builder, {1: ("Uint64", 2**20 * len(late)), 2: ("Uint64", raw.size)}))
        else:
            stored.append(table(builder, {0: vector(builder, raw)}))
    buffers = tables(builder, stored)
    found = []
    for place, tensor in enumerate(tensors, 1):
        shape = tensor.shape if tensor.values is None or tensor.shape is not None else tensor.values.shape
        kind = (
            TYPES[tensor.values.dtype.name] if tensor.kind is None and tensor.values is not None else tensor.kind or 0
        )
        fields = {
            0: vector(builder, np.array(shape or (), np.int32)),
            1: ("Int8", kind),
            2: ("Uint32", place if tensor.values is not None else 0),
            3: ("at", builder.CreateString(tensor.name)),
            **tensor.more,
        }
        if len(tensor.scale) or tensor.details:
            quantization = {
                2: vector(builder, np.array(tensor.scale, np.float32)),
                3: vector(builder, np.array(tensor.zero, np.int64)),
                4: ("Uint8", tensor.details),
                6: ("Int32", tensor.axis),
            }
            fields[4] = ("at", table(builder, quantization))
        if tensor.sparse:
            fields[6] = ("at", table(builder, {}))
        found.append(table(builder, fields))
    codes, nodes = [], []
    for place, operation in enumerate(operations):
        code = {0: ("Int8", min(operation.code, 127)), 3: ("Int32", operation.code)}
        if operation.custom:
            code[1] = ("at", builder.CreateString(operation.custom))
        codes.append(table(builder, code))
        inputs, outputs = (np.array(each, np.int32) for each in (operation.inputs, operation.outputs))
        nodes.append(table(builder, {0: ("Uint32", place), 1: vector(builder, inputs), 2: vector(builder, outputs)}))
    graph = {0: ("at", tables(builder, found)), 3: ("at", tables(builder, nodes))}
    graphs = tables(builder, [table(builder, graph)] * times)
    root = {0: ("Uint32", 3), 1: ("at", tables(builder, codes)), 2: ("at", graphs), 4: ("at", buffers)}
    builder.Finish(table(builder, root), b"TFL3")
    content = bytes(builder.Output())
    for place, raw in enumerate(late, 1):
        content = content.ljust(2**20 * place, b"\0") + raw
    path.write_bytes(content)
    return path


def read(folder: Path, tensors: list[Tensor], *operations: Operation, **more: Any) -> WeightsFile:
    return read_kernels(tflite_file(folder / "net.bin", tensors, list(operations), **more))


IMAGE, GIVEN = Tensor("image"), Tensor("net/conv/Relu;net/conv/BiasAdd")


class TestKinds:
    def test_a_convolution_is_turned_and_has_its_bias(self, tmp_path: Path) -> None:
        tensors = [IMAGE, Tensor("net/first/Conv2D", WEIGHT), Tensor("net/first/BiasAdd", BIAS), GIVEN]
        found = read(tmp_path, tensors, Operation(CONV, [0, 1, 2], [3]))
        assert found.kind == "TensorFlow Lite"
        [layer] = found.kernels
        assert (layer.layer, layer.shape) == ("net/first", "2x5x3x4")
        np.testing.assert_array_equal(layer.weight, WEIGHT.transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(layer.bias, BIAS)

    def test_depthwise_and_transposed_convolutions_are_turned(self, tmp_path: Path) -> None:
        depthwise = np.random.default_rng(1).normal(size=(1, 2, 3, 4)).astype(np.float32)
        tensors = [
            IMAGE,
            Tensor("deep/depthwise", depthwise),
            Tensor("up/conv_transpose", WEIGHT),
            Tensor("b", BIAS),
            GIVEN,
        ]
        operations = [Operation(DEPTHWISE, [0, 1, 3], [4]), Operation(TRANSPOSED, [0, 2, 0, 3], [4])]
        deep, up = read(tmp_path, tensors, *operations).kernels
        assert (deep.layer, deep.shape, up.layer, up.shape) == ("deep", "2x3x1x4", "up", "2x5x3x4")
        np.testing.assert_array_equal(deep.weight[:, 0], depthwise[0].transpose(2, 0, 1))
        np.testing.assert_array_equal(up.weight, WEIGHT.transpose(0, 3, 1, 2))
        assert len(deep.bias) == len(up.bias) == 4

    @pytest.mark.parametrize("name", ["", "arith.constant3", "tfl.pseudo_qconst7", "convolution"])
    def test_a_weight_that_the_converter_named_has_the_name_of_what_it_gives(self, tmp_path: Path, name: str) -> None:
        [layer] = read(tmp_path, [IMAGE, Tensor(name, WEIGHT), GIVEN], Operation(CONV, [0, 1, -1], [2])).kernels
        assert (layer.layer, len(layer.bias)) == ("net/conv", 0)

    @pytest.mark.parametrize(
        ("weight", "given", "name"),
        [
            ("conv2d/Kernel_dequantize", "conv2d", "conv2d"),
            ("m/conv2d_transpose_1/conv2d_transpose1", "m/add/add", "m/conv2d_transpose_1"),
            ("m/conv1d_2/Conv1D1", "m/conv1d_2/Conv1D2", "m/conv1d_2"),
            ("m/separable_conv2d/separable_conv2d/depthwise", "m/x", "m/separable_conv2d/depthwise"),
            ("m/separable_conv2d/separable_conv2d", "m/x", "m/separable_conv2d/pointwise"),
            ("m/first/Conv2D_dequantize2", "m/relu/Relu;m/norm/FusedBatchNormV3;m/first/Conv2D", "m/first"),
            ("m/norm/FusedBatchNormV3;m/deep/depthwise;m/deep_9/depthwise_dequantize", "m/relu/Relu", "m/deep"),
            ("arith.constant1", "m/relu/Relu;m/norm/batchnorm/add_1;m/first/convolution;m/norm/sub", "m/first"),
        ],
    )
    def test_a_layer_has_the_name_of_the_convolution_not_of_what_is_joined_to_it(
        self, tmp_path: Path, weight: str, given: str, name: str
    ) -> None:
        tensors = [IMAGE, Tensor(weight, WEIGHT), Tensor(given)]
        [layer] = read(tmp_path, tensors, Operation(CONV, [0, 1, -1], [2])).kernels
        assert layer.layer == name

    def test_every_subgraph_is_read(self, tmp_path: Path) -> None:
        found = read(tmp_path, [IMAGE, Tensor("c", WEIGHT), GIVEN], Operation(CONV, [0, 1], [2]), times=2)
        assert [layer.layer for layer in found.kernels] == ["c", "c (2)"]

    def test_buffers_behind_the_tables_are_read(self, tmp_path: Path) -> None:
        tensors = [IMAGE, Tensor("c", WEIGHT), Tensor("b", BIAS), GIVEN]
        [layer] = read(tmp_path, tensors, Operation(CONV, [0, 1, 2], [3]), behind=True).kernels
        np.testing.assert_array_equal(layer.weight, WEIGHT.transpose(0, 3, 1, 2))
        content = (tmp_path / "net.bin").read_bytes()
        (tmp_path / "net.bin").write_bytes(content[:-1])
        assert "cannot be read as TensorFlow Lite" in refusal(tmp_path / "net.bin")

    def test_what_is_not_shown_is_named(self, tmp_path: Path) -> None:
        tensors = [
            IMAGE,
            Tensor("plain", WEIGHT),
            Tensor("cube", WEIGHT[None]),
            Tensor("free"),
            Tensor("thin", WEIGHT, sparse=True),
            Tensor("apart", more={10: ("Uint32", 1)}),
            Tensor("words", WEIGHT, kind=5),
            Tensor("whole", WEIGHT.astype(np.int8)),
            Tensor("blocks", WEIGHT.astype(np.int8), scale=[1], details=2),
            Tensor("odd", WEIGHT.astype(np.int8), scale=[1, 2, 3]),
            GIVEN,
        ]
        operations = [Operation(CONV_3D if place == 2 else CONV, [0, place], [10]) for place in range(1, 10)]
        operations.append(Operation(CUSTOM, [0, 1], [10], "Convolution2DTransposeBias"))
        operations.append(Operation(CUSTOM, [0, 1], [10], "Detection"))
        operations.append(Operation(CONV, [0, 1, 2], [10]))
        found = read(tmp_path, tensors, *operations)
        assert [layer.layer for layer in found.kernels] == ["plain", "plain (2)"]
        assert found.notes == (
            "left out, no 1D or 2D convolution (5 dimensions): cube",
            "left out, its weight is computed within the network: free",
            "left out, its weight is stored sparsely: thin",
            "left out, its weight is in another file, which is not followed: apart",
            "left out, not stored as numbers that are known: words",
            "left out, not stored as real numbers (quantized?): whole",
            "left out, quantized by blocks: blocks, odd",
            "left out, an operation that is not known (Convolution2DTransposeBias): plain",
            "left out, the bias alone, which has 120 numbers for 4 filters: plain",
        )


class TestQuantized:
    whole = np.random.default_rng(2).integers(-100, 100, WEIGHT.shape, dtype=np.int8)

    @pytest.mark.parametrize("axis", [0, 3])
    def test_every_channel_has_its_scale_and_zero_point(self, tmp_path: Path, axis: int) -> None:
        count = WEIGHT.shape[axis]
        scale, zero = np.linspace(0.5, 2, count, dtype=np.float32), np.arange(count)
        weight = Tensor("c", self.whole, scale=scale, zero=zero, axis=axis)
        bias = Tensor("b", np.array([2, 4, 6, 8], np.int32), scale=[0.5, 1, 1, 2], zero=[0] * 4)
        [layer] = read(tmp_path, [IMAGE, weight, bias, GIVEN], Operation(CONV, [0, 1, 2], [3])).kernels
        sides = [count if place == axis else 1 for place in range(4)]
        wanted = (self.whole.astype(np.float32) - zero.reshape(sides)) * scale.reshape(sides)
        np.testing.assert_allclose(layer.weight, wanted.transpose(0, 3, 1, 2), rtol=1e-6)
        np.testing.assert_array_equal(layer.bias, [1, 4, 6, 16])

    @pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int16])
    def test_one_scale_is_of_all(self, tmp_path: Path, kind: type) -> None:
        values = np.abs(self.whole).astype(kind)
        [layer] = read(
            tmp_path, [IMAGE, Tensor("c", values, scale=[0.5], zero=[3]), GIVEN], Operation(CONV, [0, 1], [2])
        ).kernels
        np.testing.assert_array_equal(layer.weight, ((values.astype(np.float32) - 3) / 2).transpose(0, 3, 1, 2))

    def test_two_numbers_of_four_bits_are_in_a_byte(self, tmp_path: Path) -> None:
        weight = Tensor("c", np.array([0x21, 0xF8], np.uint8), (1, 1, 3, 1), kind=17, scale=[2])
        [layer] = read(tmp_path, [IMAGE, weight, GIVEN], Operation(CONV, [0, 1], [2])).kernels
        np.testing.assert_array_equal(layer.weight.ravel(), [2, 4, -16])

    @pytest.mark.parametrize("kind", ["float16", "float64", "bfloat16"])
    def test_real_numbers_of_every_width_are_read(self, tmp_path: Path, kind: str) -> None:
        values = np.round(WEIGHT * 4) / 4
        weight = Tensor("c", values.astype(np.float16 if kind == "float16" else np.float64))
        if kind == "bfloat16":
            weight = Tensor("c", (values.view(np.uint32) >> 16).astype(np.uint16), WEIGHT.shape, kind=18)
        [layer] = read(tmp_path, [IMAGE, weight, GIVEN], Operation(CONV, [0, 1], [2])).kernels
        np.testing.assert_array_equal(layer.weight, values.transpose(0, 3, 1, 2))

    def test_a_weight_that_is_dequantized_first_is_read(self, tmp_path: Path) -> None:
        half = Tensor("c/Conv2D", WEIGHT.astype(np.float16))
        tensors = [IMAGE, half, Tensor("c/Conv2D"), GIVEN]
        operations = [Operation(DEQUANTIZE, [1], [2]), Operation(CONV, [0, 2], [3])]
        [layer] = read(tmp_path, tensors, *operations).kernels
        assert layer.layer == "c"
        np.testing.assert_array_equal(layer.weight, WEIGHT.astype(np.float16).transpose(0, 3, 1, 2))

    def test_a_weight_that_is_stored_sparsely_is_named_as_such_behind_what_fills_it_in(self, tmp_path: Path) -> None:
        sparse = Tensor("c/Conv2D", WEIGHT.astype(np.float16), sparse=True)
        tensors = [IMAGE, sparse, Tensor("c/Conv2D_densify"), Tensor("c/Conv2D_dequantize"), GIVEN]
        tensors += [Tensor("d/Conv2D", WEIGHT)]
        operations = [Operation(DENSIFY, [1], [2]), Operation(DEQUANTIZE, [2], [3])]
        operations += [Operation(CONV, [0, 3], [4]), Operation(CONV, [4, 5], [4])]
        found = read(tmp_path, tensors, *operations)
        assert [layer.layer for layer in found.kernels] == ["d"]
        assert found.notes == ("left out, its weight is stored sparsely: c",)


class TestHostile:
    def content(self, folder: Path) -> bytes:
        weight = Tensor("c", np.ones((2, 1, 1, 1), np.int8), scale=[0.5, 1], zero=[0, 0])
        tensors = [IMAGE, weight, Tensor("d"), GIVEN]
        read(
            folder, tensors, Operation(CONV, [0, 1], [3]), Operation(DEQUANTIZE, [1], [2]), Operation(CONV, [0, 2], [3])
        )
        return (folder / "net.bin").read_bytes()

    def test_a_file_that_is_cut_off_is_refused(self, tmp_path: Path) -> None:
        content = self.content(tmp_path)
        for length in range(8, len(content) - 4, 3):
            (tmp_path / "net.bin").write_bytes(content[:length])
            assert "\n" not in refusal(tmp_path / "net.bin")

    def test_a_damaged_file_is_refused_in_a_line_or_read(self, tmp_path: Path) -> None:
        content, rng = self.content(tmp_path), np.random.default_rng(0)
        results = []
        for place in range(8, len(content), 3):
            damaged = bytearray(content)
            damaged[place] = rng.integers(256)
            (tmp_path / "net.bin").write_bytes(damaged)
            results.append(outcome(tmp_path / "net.bin"))
        assert not any("\n" in result for result in results if isinstance(result, str))
        assert {type(result) for result in results} == {str, WeightsFile}

    def test_a_shape_that_lies_is_refused(self, tmp_path: Path) -> None:
        weight = Tensor("c", WEIGHT, (10**5, 10**5, 3, 3))
        path = tflite_file(tmp_path / "net.tflite", [IMAGE, weight, GIVEN], [Operation(CONV, [0, 1], [2])])
        assert "announces 100,000 x 100,000 x 3 x 3 numbers for 'c'" in refusal(path)

    def test_a_graph_listed_without_end_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from regulens.weights import tflite_graph

        monkeypatch.setattr(tflite_graph, "_MOST_OPERATIONS", 1000)
        tensors = [IMAGE, Tensor("c", WEIGHT), GIVEN]
        for code in (CONV, DEQUANTIZE):
            path = tflite_file(tmp_path / "net.tflite", tensors, [Operation(code, [0, 1], [2])], times=1001)
            assert "it has more than 1,000 operations" in refusal(path)

    def test_a_missing_library_names_the_extra(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "net.tflite").write_bytes(bytes(4) + b"TFL3")
        monkeypatch.setitem(sys.modules, "flatbuffers", None)
        monkeypatch.delitem(sys.modules, "regulens.weights.tflite_graph", raising=False)
        message = refusal(tmp_path / "net.tflite", UserError)
        assert "needs flatbuffers, which is not installed: pip install 'regulens[weights]'" in message
