"""Kernels of Keras files: kinds, names and order by what the file stores, in the forms that its versions have had."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from weights_read import outcome, shapes

from regulens.weights.files import read_kernels
from regulens.weights.layouts import keras_layout

Array = NDArray[Any]


def zeros(*shape: int) -> Array:
    return np.zeros(shape, np.float32)


def numbers(*shape: int) -> Array:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def h5_file(path: Path, arrays: Mapping[str, Array], names: Mapping[str, str] | None = None, **attributes: Any) -> Path:
    with h5py.File(path, "w") as file:
        for place, array in arrays.items():
            file[place] = array
        for group, name in (names or {}).items():
            file.require_group(group).attrs["name"] = name
        for key, value in attributes.items():
            file.attrs[key] = value
    return path


def keras_file(path: Path, config: Any, arrays: Mapping[str, Array]) -> Path:
    h5_file(path.with_suffix(".h5"), arrays)
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(path.with_suffix(".h5"), "model.weights.h5")
        archive.writestr("config.json", json.dumps(config))
    return path


def layer(class_name: str, name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": class_name, "config": {"name": name, **config}}


class TestWeightsWithoutConfiguration:
    def test_the_stored_name_is_asked_before_the_attribute(self, tmp_path: Path) -> None:
        arrays = {
            "depthwise_reduce/vars/0": zeros(1, 1, 6, 6),
            "depthwise_reduce/vars/1": zeros(6),
            "plain/vars/0": zeros(3, 3, 4, 1),
            "up/vars/0": zeros(2, 2, 4, 4),
        }
        names = {
            "depthwise_reduce/vars": "conv2d",
            "plain/vars": "depthwise_conv2d_2",
            "up/vars": "conv2d_transpose",
            "vars": "net",
        }
        assert shapes(h5_file(tmp_path / "w.weights.h5", arrays, names)) == [
            ("conv2d", "1x1x6x6", 6),
            ("depthwise_conv2d_2", "3x3x1x4", 0),
            ("conv2d_transpose", "2x2x4x4", 0),
        ]

    def test_the_bias_is_asked_before_the_attribute(self, tmp_path: Path) -> None:
        arrays = {"depthwise/vars/0": zeros(1, 1, 6, 16), "depthwise/vars/1": zeros(16), "vars/0": zeros(2)}
        assert shapes(h5_file(tmp_path / "w.weights.h5", arrays)) == [("depthwise", "1x1x6x16", 16)]

    def test_the_attribute_tells_where_nothing_else_does(self, tmp_path: Path) -> None:
        arrays = {"my_depthwise/vars/0": zeros(3, 3, 6, 2), "vars/0": zeros(2)}
        assert shapes(h5_file(tmp_path / "w.weights.h5", arrays)) == [("my_depthwise", "3x3x1x12", 0)]

    def test_layers_of_a_list_are_in_the_order_of_their_numbers(self, tmp_path: Path) -> None:
        places = [f"layers/conv2d{f'_{place}' if place else ''}" for place in range(12)]
        arrays = {f"{place}/vars/0": zeros(3, 3, 1, 2) for place in reversed(places)}  # written backwards
        found = read_kernels(h5_file(tmp_path / "w.weights.h5", arrays))
        assert [each.layer for each in found.kernels] == [place.removeprefix("layers/") for place in places]

    def test_attributes_are_in_the_order_in_which_keras_numbered_them(self, tmp_path: Path) -> None:
        made = {"stem": "conv2d", "blocks/conv2d": "conv2d_1", "blocks/conv2d_1": "conv2d_2", "a_head": "conv2d_3"}
        arrays = {f"{path}/vars/0": zeros(3, 3, 2, 2) for path in sorted(made)}
        names = {"vars": "net", **{f"{path}/vars": name for path, name in made.items()}}
        found = read_kernels(h5_file(tmp_path / "w.weights.h5", arrays, names))
        assert [each.layer for each in found.kernels] == ["conv2d", "blocks/conv2d_1", "blocks/conv2d_2", "conv2d_3"]

    def test_a_table_of_a_users_class_is_left_out(self, tmp_path: Path) -> None:
        arrays = {"layers/conv2d/vars/0": zeros(3, 3, 1, 2), "layers/pos_table/vars/0": zeros(3, 3, 2, 2)}
        found = read_kernels(h5_file(tmp_path / "w.weights.h5", arrays))
        assert found.notes == ("left out, not a convolution (class pos_table): pos_table",)
        arrays = {"layers/my_conv/vars/0": zeros(3, 3, 1, 2)}
        assert shapes(h5_file(tmp_path / "w.weights.h5", arrays)) == [("my_conv", "3x3x1x2", 0)]


class TestConfiguration:
    def test_a_file_without_names_has_those_of_its_configuration(self, tmp_path: Path) -> None:
        inner = layer("Sequential", "encoder", layers=[layer("InputLayer", "in"), layer("Conv2D", "first")])
        listed = [
            layer("TimeDistributed", "each", layer=layer("DepthwiseConv2D", "deep")),
            inner,
            layer("Conv2D", "last"),
        ]
        arrays = {
            "layers/conv2d/vars/0": zeros(1, 1, 6, 2),
            "layers/sequential/layers/conv2d/vars/0": zeros(3, 3, 6, 6),
            "layers/time_distributed/layer/vars/0": zeros(3, 3, 3, 2),
        }
        path = keras_file(tmp_path / "w.keras", layer("Functional", "net", layers=listed), arrays)
        assert shapes(path) == [("each/deep", "3x3x1x6", 0), ("encoder/first", "3x3x6x6", 0), ("last", "1x1x6x2", 0)]

    def test_equal_names_in_different_models_keep_their_classes_and_places(self, tmp_path: Path) -> None:
        def model(name: str, class_name: str) -> dict[str, Any]:
            return layer("Sequential", name, layers=[layer(class_name, "conv")])

        arrays = {
            "layers/sequential_1/layers/conv2d/vars/0": zeros(3, 3, 4, 4),
            "layers/sequential/layers/depthwise_conv2d/vars/0": zeros(3, 3, 4, 1),
        }
        config = layer("Functional", "net", layers=[model("a", "DepthwiseConv2D"), model("b", "Conv2D")])
        assert shapes(keras_file(tmp_path / "w.keras", config, arrays)) == [
            ("a/conv", "3x3x1x4", 0),
            ("b/conv", "3x3x4x4", 0),
        ]

    def test_wrappers_nested_without_end_are_read_or_refused(self, tmp_path: Path) -> None:
        wrapped = layer("Conv2D", "c")
        for place in range(200):
            wrapped = layer("Bidirectional", f"b{place}", layer=wrapped)
        path = keras_file(
            tmp_path / "w.keras", layer("Sequential", "n", layers=[wrapped]), {"layers/x/vars/0": zeros(2)}
        )
        assert isinstance(outcome(path), str)


class TestOlderFormat:
    def test_kinds_are_of_the_configuration_and_names_are_below_the_model(self, tmp_path: Path) -> None:
        inner = layer("Sequential", "encoder", layers=[layer("Conv2DTranspose", "up")])
        listed = [layer("DepthwiseConv2D", "first"), inner, layer("Custom>Pos", "pos")]
        arrays = {
            "model_weights/first/net/first/kernel": zeros(3, 3, 4, 4),  # Keras 3 begins with the model
            "model_weights/encoder/up/kernel:0": zeros(2, 2, 4, 4),  # Keras 2 begins within the nested one
            "model_weights/pos/pos/kernel:0": zeros(3, 3, 4, 4),
        }
        config = json.dumps(layer("Functional", "net", layers=listed))
        path = h5_file(tmp_path / "w.h5", arrays, model_config=config)
        assert {name: shape for name, shape, _ in shapes(path)} == {"first": "3x3x1x16", "encoder/up": "2x2x4x4"}
        assert read_kernels(path).notes == ("left out, not a convolution (class Pos): pos",)

    def test_a_layer_made_anew_in_one_session_has_its_own_name(self, tmp_path: Path) -> None:
        arrays = {
            "conv2d_1/conv2d_1_1/kernel:0": zeros(3, 3, 2, 4),
            "separable_conv2d_1/separable_conv2d_1_1/depthwise_kernel:0": zeros(3, 3, 4, 1),
            "separable_conv2d_1/separable_conv2d_1_1/pointwise_kernel:0": zeros(1, 1, 4, 5),
            "block/block_1/kernel:0": zeros(3, 3, 2, 4),
        }
        names = [name for name, _, _ in shapes(h5_file(tmp_path / "w.h5", arrays))]
        separable = ["separable_conv2d_1/depthwise", "separable_conv2d_1/pointwise"]
        assert sorted(names) == ["block/block_1", "conv2d_1", *separable]

    def test_only_kernels_are_convolutions(self, tmp_path: Path) -> None:
        arrays = {
            "conv/conv/kernel:0": zeros(3, 3, 1, 2),
            "conv/conv/mask:0": zeros(3, 3, 1, 2),
            "where/where/table:0": zeros(3, 3, 2, 2),
            "old/old_W:0": zeros(3, 3, 2, 2),
        }
        found = read_kernels(h5_file(tmp_path / "w.h5", arrays))
        assert [each.layer for each in found.kernels] == ["conv", "old"]
        assert found.notes == (
            'left out, named "mask", not "kernel": conv',
            'left out, named "table", not "kernel": where',
        )

    def test_bfloat16_has_no_name_there(self, tmp_path: Path) -> None:
        values = numbers(3, 3, 1, 2)
        upper = (values.view(np.uint32) >> 16).astype(np.uint16).view("V2").reshape(values.shape)
        [found] = read_kernels(h5_file(tmp_path / "w.h5", {"conv/conv/kernel": upper})).kernels
        np.testing.assert_array_equal(found.weight, values.transpose(3, 2, 0, 1))

    def test_quantized_kernels_are_named(self, tmp_path: Path) -> None:
        arrays = {"conv/conv/kernel": np.ones((3, 3, 1, 2), np.int8), "plain/plain/kernel": zeros(3, 3, 1, 2)}
        found = read_kernels(h5_file(tmp_path / "w.h5", arrays))
        assert found.notes == ("left out, not stored as real numbers (quantized?): conv",)

    def test_a_layer_that_two_models_share_comes_once_and_equal_names_do_not(self, tmp_path: Path) -> None:
        shared, own = numbers(3, 3, 1, 2), zeros(3, 3, 1, 2)
        arrays = {"a/c/kernel:0": shared, "b/c/kernel:0": shared, "d/c/kernel:0": own}
        assert [name for name, *_ in shapes(h5_file(tmp_path / "w.h5", arrays))] == ["a/c", "d/c"]


class TestLayout:
    @pytest.mark.parametrize(
        ("shape", "bias", "kind", "hint", "filters"),
        [
            ((1, 1, 6, 16), 16, "", "depthwise_reduce", 16),
            ((1, 1, 6, 16), 16, "depthwise", "", 16),  # a name that the bias contradicts
            ((1, 1, 6, 16), 96, "", "", 96),
            ((1, 1, 6, 16), 6, "", "", 6),
            ((1, 1, 6, 16), None, "transpose", "", 6),
            ((1, 1, 6, 16), None, "", "a_transpose", 6),
            ((1, 1, 6, 6), 6, "transpose", "", 6),
            ((1, 1, 6, 1), 6, "ordinary", "", 6),
            ((1, 1, 6, 16), 5, "depthwise", "", 96),  # no bias at all
        ],
    )
    def test_the_kind_tells_unless_the_bias_says_otherwise(
        self, shape: tuple[int, ...], bias: int | None, kind: str, hint: str, filters: int
    ) -> None:
        weight, biases = keras_layout(zeros(*shape), None if bias is None else zeros(bias), kind, hint)
        assert len(weight) == filters
        assert len(biases) in {0, filters}


def test_damaged_files_are_refused_in_a_line_or_read(tmp_path: Path) -> None:
    arrays = {"layers/conv2d/vars/0": numbers(3, 3, 1, 2), "layers/conv2d/vars/1": zeros(2)}
    path = keras_file(tmp_path / "w.keras", layer("Sequential", "n", layers=[layer("Conv2D", "c")]), arrays)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(len(content), size=8):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged if place % 2 else content[:place])
        result = outcome(path)
        assert not isinstance(result, str) or "\n" not in result
