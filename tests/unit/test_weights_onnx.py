"""Kernels of ONNX files: every convolution is shown or named, its weight followed back to where it is stored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from weights_read import outcome, refusal

from regulens.weights.files import read_kernels
from regulens.weights.kernels import WeightsFile

Array = NDArray[Any]
WEIGHT = np.random.default_rng(0).normal(size=(4, 3, 2, 5)).astype(np.float32)
BIAS = np.arange(4, dtype=np.float32)
VENDOR = "com.microsoft"


def onnx_file(
    path: Path, nodes: list[Any], initializers: list[Any], functions: Sequence[Any] = (), **graph: Any
) -> Path:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    made = helper.make_graph(nodes, "g", [*inputs, *graph.pop("inputs", [])], outputs, initializers, **graph)
    onnx.save(helper.make_model(made, functions=list(functions)), path)
    return path


def read(path: Path, nodes: list[Any], stored: dict[str, Array], *functions: Any, **graph: Any) -> WeightsFile:
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()]
    return read_kernels(onnx_file(path / "w.onnx", nodes, initializers, functions, **graph))


def conv(*inputs: str, name: str = "c", kind: str = "Conv", **attributes: Any) -> Any:
    return helper.make_node(kind, list(inputs), ["y"], name=name, **attributes)


def function(name: str, inputs: list[str], nodes: list[Any], outputs: Sequence[str] = ("y",), **more: Any) -> Any:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_function("own", name, inputs, list(outputs), nodes, opsets, **more)


class TestGraphs:
    def test_convolutions_are_named_after_their_nodes_in_the_graphs_order(self, tmp_path: Path) -> None:
        nodes = [
            helper.make_node("Conv", ["x", "z.weight", "z.bias"], ["h"], name="/features/0/Conv"),
            helper.make_node("Conv", ["h", "a.weight"], ["y"]),
        ]
        bias = np.arange(4, dtype=np.float32)
        stored = {"a.weight": WEIGHT[:, :1], "z.weight": WEIGHT, "z.bias": bias, "fc.weight": WEIGHT}
        path = onnx_file(tmp_path / "w", nodes, [numpy_helper.from_array(v, k) for k, v in stored.items()])
        found = read_kernels(path)
        assert found.kind == "ONNX"
        assert [layer.layer for layer in found.kernels] == ["/features/0/Conv", "a"]
        np.testing.assert_array_equal(found.kernels[0].weight, WEIGHT)
        np.testing.assert_array_equal(found.kernels[0].bias, bias)
        assert found.kernels[1].bias.shape == (0,)

    @pytest.mark.parametrize("raw", [True, False])
    @pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE])
    def test_every_kind_of_real_number_is_read_raw_or_not(self, tmp_path: Path, kind: int, raw: bool) -> None:
        values = np.round(WEIGHT * 4) / 4  # all of them exact in every kind
        dtype = helper.tensor_dtype_to_np_dtype(kind)
        content = values.astype(dtype).tobytes() if raw else values.astype(dtype).ravel()
        tensor = helper.make_tensor("w", kind, values.shape, content, raw=raw)
        path = onnx_file(tmp_path / "w.onnx", [helper.make_node("Conv", ["x", "w"], ["y"])], [tensor])
        np.testing.assert_array_equal(read_kernels(path).kernels[0].weight, values)

    def test_constants_branches_and_transposed_convolutions_are_read(self, tmp_path: Path) -> None:
        constant = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(WEIGHT))
        inner = helper.make_graph(
            [helper.make_node("ConvTranspose", ["x", "w"], ["y"], name="up", group=2)],
            "then",
            [],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        )
        branch = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
        [layer, again] = read_kernels(onnx_file(tmp_path / "w.onnx", [constant, branch], [])).kernels
        assert (layer.layer, layer.shape, again.layer) == ("up", "2x5x2x6", "up (2)")
        np.testing.assert_array_equal(layer.weight[4], WEIGHT[2:, 1])  # second group, second of its three filters

    def test_external_data_is_never_followed(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_bytes(WEIGHT.tobytes())
        tensor = TensorProto(name="w", dims=WEIGHT.shape, data_type=TensorProto.FLOAT, data_location=1)
        tensor.external_data.add(key="location", value="secret")
        path = onnx_file(tmp_path / "w.onnx", [helper.make_node("Conv", ["x", "w"], ["y"], name="c")], [tensor])
        assert "its weight is in another file, which is not followed" in refusal(path)

    def test_a_computed_or_quantized_weight_is_left_out_with_a_note(self, tmp_path: Path) -> None:
        nodes = [
            helper.make_node("Mul", ["w", "w"], ["v"]),
            helper.make_node("Conv", ["x", "v"], ["h"], name="computed"),
            helper.make_node("Conv", ["h", "q"], ["i"], name="whole"),
            helper.make_node("Conv", ["i", "w"], ["y"], name="plain"),
        ]
        stored = [numpy_helper.from_array(WEIGHT, "w"), numpy_helper.from_array(WEIGHT.astype(np.int8), "q")]
        found = read_kernels(onnx_file(tmp_path / "w.onnx", nodes, stored))
        assert [layer.layer for layer in found.kernels] == ["plain"]
        assert found.notes == (
            "left out, its weight is computed within the network: computed",
            "left out, not stored as real numbers (quantized?): whole",
        )

    @pytest.mark.parametrize("dims", [(10**6, 10**6, 3, 3), (2, 1, 3, 4), (-1, 3, 2, 5)])
    def test_a_shape_that_lies_is_refused(self, tmp_path: Path, dims: tuple[int, ...]) -> None:
        tensor = TensorProto(name="w", dims=dims, data_type=TensorProto.FLOAT, raw_data=WEIGHT.tobytes())
        path = onnx_file(tmp_path / "w.onnx", [helper.make_node("Conv", ["x", "w"], ["y"], name="c")], [tensor])
        refusal(path)

    def test_noise_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "w.onnx").write_bytes(np.random.default_rng(0).bytes(1000))
        assert "cannot be read as ONNX" in refusal(tmp_path / "w.onnx")


class TestOperations:
    @pytest.mark.parametrize(
        ("kind", "domain"),
        [("FusedConv", VENDOR), ("NhwcConv", VENDOR), ("NhwcFusedConv", VENDOR), ("Conv", "com.ms.internal.nhwc")],
    )
    def test_convolutions_of_onnx_runtime_are_shown(self, tmp_path: Path, kind: str, domain: str) -> None:
        node = conv("x", "w", "b", kind=kind, domain=domain, kernel_shape=[2, 5])
        [layer] = read(tmp_path, [node], {"w": WEIGHT, "b": BIAS}).kernels
        np.testing.assert_array_equal(layer.weight, WEIGHT)
        np.testing.assert_array_equal(layer.bias, BIAS)

    def test_a_weight_whose_channels_are_last_is_told_by_the_shape_of_its_kernel(self, tmp_path: Path) -> None:
        node = conv("x", "w", kind="NhwcConv", domain=VENDOR, kernel_shape=[2, 5])
        [layer] = read(tmp_path, [node], {"w": WEIGHT.transpose(0, 2, 3, 1)}).kernels
        np.testing.assert_array_equal(layer.weight, WEIGHT)

    def test_a_deformable_convolution_has_its_bias_after_its_offsets(self, tmp_path: Path) -> None:
        [layer] = read(tmp_path, [conv("x", "w", "offset", "b", kind="DeformConv")], {"w": WEIGHT, "b": BIAS}).kernels
        np.testing.assert_array_equal(layer.weight, WEIGHT)
        np.testing.assert_array_equal(layer.bias, BIAS)

    def test_a_1d_convolution_is_a_strip(self, tmp_path: Path) -> None:
        nodes = [conv("x", "w", "b", name="line"), conv("x", "t", name="up", kind="ConvTranspose")]
        line, up = read(tmp_path, nodes, {"w": WEIGHT[:, :, 0], "t": WEIGHT[:, :, 0], "b": BIAS}).kernels
        assert (line.shape, line.spatial, line.weight.shape, len(line.bias)) == ("5x3x4", 1, (4, 3, 1, 5), 4)
        np.testing.assert_array_equal(up.weight, WEIGHT[:, :, :1].swapaxes(0, 1))

    def test_every_convolution_by_its_name_is_shown_or_named(self, tmp_path: Path) -> None:
        nodes = [
            conv("x", "w", name="plain"),
            conv("x", "o", "m", "w", name="warped", kind="MMCVModulatedDeformConv2d", domain="mmcv"),
            conv("x", "w", name="other", domain="somebody"),
            conv("x", "w", name="fallback", kind="ATen", domain="org.pytorch.aten", operator="_convolution"),
            conv("x", "cube", name="cube"),
            conv("x", "w", name="blocked", domain="com.microsoft.nchwc"),
            conv("x", name="bare"),
            conv("x", "x", name="free"),
            conv("x", "nowhere", name="lost"),
            helper.make_node("ConvertColors", ["x"], ["z"], name="no convolution"),
        ]
        found = read(tmp_path, nodes, {"w": WEIGHT, "cube": WEIGHT[..., None]})
        assert [layer.layer for layer in found.kernels] == ["plain"]
        blocked = "stored in blocks for one kind of processor (ONNX Runtime's NCHWc); read the file it was made of"
        assert found.notes == (
            "left out, an operation that is not known (mmcv:MMCVModulatedDeformConv2d): warped",
            "left out, an operation that is not known (somebody:Conv): other",
            "left out, an operation that is not known (org.pytorch.aten:ATen): fallback",
            "left out, no 1D or 2D convolution (5 dimensions): cube",
            f"left out, {blocked}: blocked",
            "left out, an operation that is not known (Conv): bare",
            "left out, its weight is an input of the network: free",
            "left out, its weight is not in the file: lost",
        )

    def test_a_bias_that_is_not_stored_is_said(self, tmp_path: Path) -> None:
        nodes = [
            helper.make_node("Mul", ["b", "b"], ["c"]),
            conv("x", "w", "c", name="a"),
            conv("x", "w", "s", name="b"),
        ]
        found = read(tmp_path, nodes, {"w": WEIGHT, "b": BIAS, "s": BIAS[:3]})
        assert [len(layer.bias) for layer in found.kernels] == [0, 0]
        assert found.notes == (
            "left out, the bias alone, which is computed within the network: a",
            "left out, the bias alone, which has 3 numbers for 4 filters: b",
        )


class TestQuantized:
    whole = np.random.default_rng(1).integers(-100, 100, (4, 3, 2, 5), dtype=np.int8)
    scales = np.array([0.5, 0.25, 2, 1], np.float32)
    zeros = np.array([0, 1, -2, 3], np.int8)

    @property
    def expected(self) -> Array:
        return (self.whole - self.zeros.astype(np.float32)[:, None, None, None]) * self.scales[:, None, None, None]

    def stored(self) -> dict[str, Array]:
        numbers = {"w": self.whole, "s": self.scales, "z": self.zeros, "b": np.array([4, 8, -2, 6], np.int32)}
        return {**numbers, "xs": np.float32(0.5), "xz": np.uint8(3), "bs": self.scales * np.float32(0.5)}

    @pytest.mark.parametrize("domain", ["", VENDOR])
    def test_qlinearconv_is_dequantized_by_its_scales(self, tmp_path: Path, domain: str) -> None:
        node = conv("x", "xs", "xz", "w", "s", "z", "xs", "xz", "b", kind="QLinearConv", domain=domain)
        [layer] = read(tmp_path, [node], self.stored()).kernels
        np.testing.assert_array_equal(layer.weight, self.expected)
        np.testing.assert_array_equal(layer.bias, [1, 1, -2, 3])

    def test_qlinearconv_with_one_scale(self, tmp_path: Path) -> None:
        node = conv("x", "xs", "xz", "w", "xs", "", "xs", "xz", kind="QLinearConv")
        [layer] = read(tmp_path, [node], self.stored()).kernels
        np.testing.assert_array_equal(layer.weight, self.whole * np.float32(0.5))

    @pytest.mark.parametrize("domain", ["", VENDOR])
    def test_a_dequantized_weight_and_bias_are_read(self, tmp_path: Path, domain: str) -> None:
        nodes = [
            helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"], axis=0, domain=domain),
            helper.make_node("DequantizeLinear", ["b", "bs"], ["bd"], axis=0, domain=domain),
            conv("x", "wd", "bd"),
        ]
        [layer] = read(tmp_path, nodes, self.stored()).kernels
        np.testing.assert_array_equal(layer.weight, self.expected)
        np.testing.assert_array_equal(layer.bias, [1, 1, -2, 3])

    def test_a_weight_rounded_within_the_graph_is_as_onnx_computes_it(self, tmp_path: Path) -> None:
        from onnx.reference import ReferenceEvaluator

        rounding = [
            helper.make_node("QuantizeLinear", ["f", "s", "z"], ["q"], axis=0),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], axis=0),
        ]
        weight, scales = WEIGHT * 30, self.scales / 8
        stored = {"f": weight, "s": scales, "z": self.zeros}
        [layer] = read(tmp_path, [*rounding, conv("x", "d")], stored).kernels
        wanted = [helper.make_tensor_value_info("d", TensorProto.FLOAT, None)]
        named = [numpy_helper.from_array(value, name) for name, value in stored.items()]
        model = helper.make_model(helper.make_graph(rounding, "g", [], wanted, named))
        np.testing.assert_array_equal(layer.weight, ReferenceEvaluator(model).run(None, {})[0])
        assert not np.array_equal(layer.weight, weight)

    @pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT4, TensorProto.INT16, TensorProto.UINT8])
    def test_whole_numbers_of_every_width_are_dequantized(self, tmp_path: Path, kind: int) -> None:
        values = np.arange(4 * 3 * 2 * 5).reshape(WEIGHT.shape) % 8
        tensor = helper.make_tensor("w", kind, values.shape, values.ravel().tolist())
        nodes = [helper.make_node("DequantizeLinear", ["w", "s"], ["d"]), conv("x", "d")]
        half = numpy_helper.from_array(np.float32(0.5), "s")
        [layer] = read_kernels(onnx_file(tmp_path / "w.onnx", nodes, [tensor, half])).kernels
        np.testing.assert_array_equal(layer.weight, values / 2)

    def test_convinteger_is_scaled_as_onnx_runtime_scales_its_output(self, tmp_path: Path) -> None:
        def nodes(*scales: str) -> list[Any]:
            return [
                helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
                helper.make_node("Mul", [*scales], ["product"]),
                helper.make_node("ConvInteger", ["xq", "w", "xz", "z0"], ["i"], name="c"),
                helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
                helper.make_node("Mul", ["f", "product"], ["r"]),
                helper.make_node("Reshape", ["b", "shape"], ["br"]),
                helper.make_node("Add", ["r", "br"], ["y"]),
            ]

        bias, shape = np.arange(4, dtype=np.float32), np.array([1, -1, 1, 1])
        stored = {"w": self.whole, "z0": np.int8(2), "ws": np.float32(0.5), "b": bias, "shape": shape}
        for scales in (("xs", "ws"), ("ws", "xs")):
            [layer] = read(tmp_path, nodes(*scales), stored).kernels
            np.testing.assert_array_equal(layer.weight, (self.whole - np.float32(2)) * np.float32(0.5))
            np.testing.assert_array_equal(layer.bias, bias)

    def test_a_bias_added_before_the_scale_is_the_stored_one(self, tmp_path: Path) -> None:
        nodes = [  # as ONNX Runtime 1.4 wrote it
            helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
            helper.make_node("Mul", ["xs", "ws"], ["bs"]),
            helper.make_node("Div", ["b", "bs"], ["bd"]),
            helper.make_node("Floor", ["bd"], ["bf"]),
            helper.make_node("Cast", ["bf"], ["bq"], to=TensorProto.INT32),
            helper.make_node("ConvInteger", ["xq", "w", "xz", "z0"], ["i"], name="c"),
            helper.make_node("Reshape", ["bq", "shape"], ["br"]),
            helper.make_node("Add", ["i", "br"], ["a"]),
            helper.make_node("Cast", ["a"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["xs", "ws"], ["product"]),
            helper.make_node("Mul", ["f", "product"], ["y"]),
        ]
        bias, shape = np.arange(4, dtype=np.float32), np.array([1, -1, 1, 1])
        stored = {"w": self.whole, "z0": np.int8(2), "ws": np.float32(0.5), "b": bias, "shape": shape}
        [layer] = read(tmp_path, nodes, stored).kernels
        np.testing.assert_array_equal(layer.weight, (self.whole - np.float32(2)) * np.float32(0.5))
        np.testing.assert_array_equal(layer.bias, bias)

    def test_whole_numbers_without_a_scale_and_blocks_are_left_out(self, tmp_path: Path) -> None:
        nodes = [
            conv("x", "f", name="plain"),
            conv("x", "w", kind="ConvInteger", name="whole"),
            helper.make_node("DequantizeLinear", ["w", "blocks"], ["d"], axis=1, block_size=3),
            conv("x", "d", name="blocks"),
            conv("x", "w", name="raw"),
        ]
        found = read(tmp_path, nodes, {"f": WEIGHT, "w": self.whole, "blocks": np.ones((4, 1, 2, 5), np.float32)})
        assert [layer.layer for layer in found.kernels] == ["plain"]
        assert found.notes == (
            "left out, whole numbers whose scale is not stored: whole",
            "left out, quantized by blocks: blocks",
            "left out, not stored as real numbers (quantized?): raw",
        )


class TestFollowed:
    def test_a_weight_is_followed_through_what_only_moves_its_numbers(self, tmp_path: Path) -> None:
        steps = [
            ("Identity", ["w"], {}),
            ("Cast", ["v0"], {"to": TensorProto.BFLOAT16}),
            ("Cast", ["v1"], {"to": TensorProto.FLOAT}),
            ("Reshape", ["v2", "flat"], {}),
            ("Flatten", ["v3"], {}),
            ("CastLike", ["v4", "x"], {}),
            ("Reshape", ["v5", "back"], {}),
            ("Unsqueeze", ["v6", "one"], {}),
            ("Squeeze", ["v7", "one"], {}),
            ("Unsqueeze", ["v8"], {"axes": [0]}),  # before opset 13
            ("Squeeze", ["v9"], {}),
            ("Transpose", ["v10"], {"perm": [3, 2, 0, 1]}),
        ]
        nodes = [
            helper.make_node(kind, inputs, [f"v{place}"], **more) for place, (kind, inputs, more) in enumerate(steps)
        ]
        shape = {"flat": np.array([0, -1]), "back": np.array([2, 5, 3, 4]), "one": np.array([1])}
        kernel = WEIGHT.transpose(2, 3, 1, 0)  # as TensorFlow has it
        [layer] = read(tmp_path, [*nodes, conv("x", "v11")], {"w": kernel, **shape}).kernels
        np.testing.assert_array_equal(layer.weight, WEIGHT.astype(ml_dtypes.bfloat16).astype(np.float32))

    def test_shared_weights_come_under_each_name(self, tmp_path: Path) -> None:
        nodes = [
            helper.make_node("Identity", ["a.weight"], ["b.weight"]),
            helper.make_node("Identity", ["a.bias"], ["b.bias"]),
            conv("x", "a.weight", "a.bias", name="/a/Conv"),
            conv("h", "b.weight", "b.bias", name="/b/Conv"),
        ]
        first, second = read(tmp_path, nodes, {"a.weight": WEIGHT, "a.bias": BIAS}).kernels
        assert (first.layer, second.layer) == ("/a/Conv", "/b/Conv")
        np.testing.assert_array_equal(second.weight, WEIGHT)
        np.testing.assert_array_equal(second.bias, BIAS)

    @pytest.mark.parametrize("kind", ["FLOAT8E4M3FN", "FLOAT8E5M2", "FLOAT16", "BFLOAT16"])
    def test_a_narrow_float_is_cast(self, tmp_path: Path, kind: str) -> None:
        values = np.round(WEIGHT * 2) / 2
        dtype = helper.tensor_dtype_to_np_dtype(TensorProto.DataType.Value(kind))
        nodes = [helper.make_node("Cast", ["w"], ["f"], to=TensorProto.FLOAT), conv("x", "f")]
        tensor = helper.make_tensor(
            "w", TensorProto.DataType.Value(kind), values.shape, values.astype(dtype).tobytes(), raw=True
        )
        [layer] = read_kernels(onnx_file(tmp_path / "w.onnx", nodes, [tensor])).kernels
        np.testing.assert_array_equal(layer.weight, values)

    def test_constants_of_every_form_are_read_or_named(self, tmp_path: Path) -> None:
        sparse = helper.make_sparse_tensor(
            numpy_helper.from_array(BIAS, "thin"), numpy_helper.from_array(np.arange(4)), list(WEIGHT.shape)
        )
        nodes = [
            helper.make_node("Constant", [], ["f"], value_floats=[1.0, 2.0]),
            helper.make_node("Constant", [], ["s"], value_ints=[1, 2, 1, 1]),
            helper.make_node("Reshape", ["f", "s"], ["w"]),
            conv("x", "w", name="numbers"),
            helper.make_node("Constant", [], ["one"], value_float=0.0),
            helper.make_node("Reshape", ["one", "ones"], ["dot"]),
            conv("x", "dot", name="dot"),
            helper.make_node("Constant", [], ["few"], sparse_value=sparse),
            conv("x", "few", name="few"),
            conv("x", "thin", name="thin"),
            helper.make_node("ConstantOfShape", ["ones"], ["same"]),
            conv("x", "same", name="same"),
        ]
        found = read(tmp_path, nodes, {"ones": np.array([1, 1, 1, 1])}, sparse_initializer=[sparse])
        assert [(layer.layer, layer.weight.ravel().tolist()) for layer in found.kernels] == [
            ("numbers", [1, 2]),
            ("dot", [0]),
        ]
        assert found.notes == (
            "left out, its weight is stored sparsely: few, thin",
            "left out, its weight is computed within the network: same",
        )

    def test_a_stored_weight_may_be_an_input_too_and_lie_outside_of_a_branch(self, tmp_path: Path) -> None:
        output = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
        branch = helper.make_graph([conv("x", "w", name="inner")], "then", [], output)
        shadowed = helper.make_graph(
            [conv("x", "w", name="own")], "else", [], output, [numpy_helper.from_array(2 * WEIGHT, "w")]
        )
        node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=shadowed)
        given = [helper.make_tensor_value_info("w", TensorProto.FLOAT, WEIGHT.shape)]
        found = {layer.layer: layer.weight for layer in read(tmp_path, [node], {"w": WEIGHT}, inputs=given).kernels}
        np.testing.assert_array_equal(found["inner"], WEIGHT)
        np.testing.assert_array_equal(found["own"], 2 * WEIGHT)


class TestFunctions:
    def call(self, name: str, *inputs: str, kind: str = "Block", **attributes: Any) -> Any:
        return helper.make_node(kind, list(inputs), [f"{name}_y"], name=name, domain="own", **attributes)

    def test_each_call_of_a_function_is_a_layer_of_its_own(self, tmp_path: Path) -> None:
        block = function("Block", ["x", "w", "b"], [conv("x", "w", "b", name="conv")])
        nodes = [
            conv("x", "w1", name="stem"),
            self.call("block1", "y", "w1", "b1"),
            self.call("block2", "y", "w2", ""),
            self.call("", "y", "w1", "b1"),
        ]
        found = read(tmp_path, nodes, {"w1": WEIGHT, "w2": 2 * WEIGHT, "b1": BIAS}, block)
        assert [layer.layer for layer in found.kernels] == ["stem", "block1/conv", "block2/conv", "Block/conv"]
        np.testing.assert_array_equal(found.kernels[2].weight, 2 * WEIGHT)
        assert [len(layer.bias) for layer in found.kernels] == [0, 4, 0, 4]
        assert found.notes == ("left out, the bias alone, which is not given to its function: block2/conv",)

    def test_functions_within_functions_have_their_arguments_and_attributes(self, tmp_path: Path) -> None:
        turned = helper.make_node("Transpose", ["w"], ["t"])
        turned.attribute.add(name="perm", ref_attr_name="order", type=onnx.AttributeProto.INTS)
        up = conv("x", "t", name="up", kind="ConvTranspose")
        up.attribute.add(name="group", ref_attr_name="groups", type=onnx.AttributeProto.INT)
        inner = function(
            "Inner",
            ["x", "w"],
            [turned, up],
            attributes=["order"],
            attribute_protos=[helper.make_attribute("groups", 2)],
        )
        middle = self.call("deep", "x", "w", kind="Inner")
        middle.attribute.add(name="order", ref_attr_name="permutation", type=onnx.AttributeProto.INTS)
        outer = function("Outer", ["x", "w"], [middle], ["deep_y"], attributes=["permutation"])
        nodes = [self.call("top", "x", "w", kind="Outer", permutation=[3, 2, 0, 1])]
        [layer] = read(tmp_path, nodes, {"w": WEIGHT.transpose(2, 3, 1, 0)}, inner, outer).kernels
        assert (layer.layer, layer.shape) == ("top/deep/up", "2x5x2x6")
        np.testing.assert_array_equal(layer.weight[4], WEIGHT[2:, 1])

    def test_a_weight_that_a_function_turns_is_followed(self, tmp_path: Path) -> None:
        turn = function("Turn", ["w"], [helper.make_node("Transpose", ["w"], ["y"], perm=[3, 2, 0, 1])])
        nodes = [self.call("turn", "w", kind="Turn"), conv("x", "turn_y")]
        [layer] = read(tmp_path, nodes, {"w": WEIGHT.transpose(2, 3, 1, 0)}, turn).kernels
        np.testing.assert_array_equal(layer.weight, WEIGHT)

    def test_an_unnamed_convolution_is_named_after_its_stored_weight(self, tmp_path: Path) -> None:
        block = function("Block", ["x", "w"], [conv("x", "w", name="")])
        nodes = [self.call("a", "x", "a.weight"), self.call("b", "x", "b.weight")]
        found = read(tmp_path, nodes, {"a.weight": WEIGHT, "b.weight": WEIGHT}, block)
        assert [layer.layer for layer in found.kernels] == ["a", "b"]

    def test_a_function_called_a_convolution_that_holds_none_is_named(self, tmp_path: Path) -> None:
        product = function("FancyConv2d", ["x", "w"], [helper.make_node("MatMul", ["x", "w"], ["y"])])
        nodes = [conv("x", "w"), self.call("fancy", "x", "w", kind="FancyConv2d")]
        found = read(tmp_path, nodes, {"w": WEIGHT}, product)
        assert found.notes == ("left out, an operation that is not known (own:FancyConv2d): fancy",)


class TestHostile:
    def doubling(self, depth: int, inner: list[Any]) -> list[Any]:
        """Return functions each of which calls the one before twice."""

        def twice(place: int) -> list[Any]:
            return [helper.make_node(f"F{place - 1}", ["x", "w"], [f"y{n}"], domain="own") for n in range(2)]

        return [function(f"F{place}", ["x", "w"], twice(place) if place else inner, ["y0"]) for place in range(depth)]

    @pytest.mark.parametrize("kind", ["Conv", "Relu"])
    def test_a_function_called_without_end_is_refused(self, tmp_path: Path, kind: str) -> None:
        functions = self.doubling(30, [helper.make_node(kind, ["x", "w"], ["y0"], name="c")])
        nodes = [helper.make_node("F29", ["x", "w"], ["y"], domain="own")]
        path = onnx_file(tmp_path / "w.onnx", nodes, [numpy_helper.from_array(WEIGHT, "w")], functions)
        assert "its functions, written out, are far more than the file can hold" in refusal(path)

    def test_a_function_that_calls_itself_is_refused(self, tmp_path: Path) -> None:
        loop = function("F", ["x", "w"], [helper.make_node("F", ["x", "w"], ["y"], domain="own")])
        path = onnx_file(tmp_path / "w.onnx", [helper.make_node("F", ["x", "w"], ["y"], domain="own")], [], [loop])
        assert "its functions or graphs lie more than 64 deep in each other" in refusal(path)

    @pytest.mark.parametrize(
        "nodes",
        [
            [helper.make_node("Identity", ["v"], ["v"])],
            [helper.make_node("Transpose", ["u"], ["v"]), helper.make_node("Cast", ["v"], ["u"], to=1)],
            [helper.make_node("Cast", [f"v{n}"], [f"v{n + 1}" if n < 999 else "v"], to=1) for n in range(1000)],
            [helper.make_node("DequantizeLinear", [f"s{n}"] * 3, [f"s{n + 1}"]) for n in range(40)]
            + [helper.make_node("DequantizeLinear", ["v0", "s40"], ["v"])],
        ],
        ids=["self", "cycle", "chain", "tree"],
    )
    def test_a_weight_that_is_led_in_circles_is_left_out(self, tmp_path: Path, nodes: list[Any]) -> None:
        found = read(
            tmp_path, [*nodes, conv("x", "v", name="lost"), conv("x", "v0")], {"v0": WEIGHT, "s0": np.float32(1)}
        )
        assert found.notes == ("left out, its weight is computed within the network: lost",)

    def test_one_weight_of_many_layers_is_bounded_in_all(self, tmp_path: Path) -> None:
        nodes = [conv("x", "w", name=f"c{place}") for place in range(4000)]
        path = onnx_file(
            tmp_path / "w.onnx", nodes, [numpy_helper.from_array(np.zeros((50, 10, 10, 10), np.float32), "w")]
        )
        assert "far more than its" in refusal(path)

    def test_damaged_files_are_refused_in_a_line_or_read(self, tmp_path: Path) -> None:
        block = function("Block", ["x", "w"], [conv("x", "w", name="conv")])
        nodes = [
            helper.make_node("DequantizeLinear", ["q", "s"], ["d"], axis=0),
            helper.make_node("Block", ["x", "d"], ["y"], domain="own"),
            conv("x", "w", kind="ConvTranspose", group=2),
        ]
        stored = {"q": np.ones((2, 1, 2, 2), np.int8), "s": np.ones(2, np.float32), "w": WEIGHT[:, :1, :1, :1]}
        read(tmp_path, nodes, stored, block)
        content = (tmp_path / "w.onnx").read_bytes()
        rng = np.random.default_rng(0)
        results = []
        for place in range(0, len(content), 3):
            flipped = bytearray(content)
            flipped[place] = rng.integers(256)
            for damaged in (content[:place], bytes(flipped)):
                (tmp_path / "w.onnx").write_bytes(damaged)
                results.append(outcome(tmp_path / "w.onnx"))
        assert not any("\n" in result for result in results if isinstance(result, str))
        assert {type(result) for result in results} == {str, WeightsFile}
