"""Kernels of files that Keras itself has written are Keras' own, in its order, under its names."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray

from regulens.weights.files import read_kernels
from regulens.weights.kernels import WeightsFile

Numbers = NDArray[np.floating]
SUFFIXES = [".keras", ".weights.h5", ".h5"]


def network() -> keras.Model:
    """Every kind of convolution, a network within the network, and an optimizer that keeps moments of each kernel."""
    inner = keras.Sequential(
        [
            keras.Input((12, 12, 4)),
            layers.Conv2D(5, 3, name="inner"),
            layers.DepthwiseConv2D(3, depth_multiplier=2, name="dw"),
        ],
        name="base",
    )
    image = keras.Input((16, 16, 3))
    x = inner(layers.Conv2D(4, (5, 4), padding="same", name="stem")(image)[:, 2:14, 2:14])
    x = layers.SeparableConv2D(6, 3, name="sep")(x)
    x = layers.Conv2DTranspose(7, (2, 3), name="up", use_bias=False)(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Conv2D(6, 2, name="a_last")(x)
    output = layers.Dense(3, name="logits")(layers.Flatten()(x))
    model = keras.Model(image, output, name="net")
    model.compile("adam", "mse", jit_compile=False)
    model.train_on_batch(np.random.default_rng(0).random((2, 16, 16, 3)), np.zeros((2, 3)))
    return model


def weights_of(model: keras.layers.Layer, *path: str) -> list[Numbers]:
    layer = model
    for name in path:
        layer = layer.get_layer(name)
    return [keras.ops.convert_to_numpy(variable.value).astype(np.float32) for variable in layer.weights]


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return network()


@pytest.fixture(scope="module")
def read(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], WeightsFile]:
    folder = tmp_path_factory.mktemp("keras")

    def reading(suffix: str) -> WeightsFile:
        path = folder / f"model{suffix}"
        logging.disable(logging.WARNING)  # Keras on its own older format
        (model.save_weights if suffix == ".weights.h5" else model.save)(path)
        logging.disable(logging.NOTSET)
        return read_kernels(path)

    return reading


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_convolution_comes_in_the_networks_order_and_in_torchs_layout(
    read: Callable[[str], WeightsFile], suffix: str
) -> None:
    found = read(suffix)
    assert [(layer.layer, layer.shape, len(layer.bias)) for layer in found.kernels] == [
        ("stem", "5x4x3x4", 4),
        ("base/inner", "3x3x4x5", 5),
        ("base/dw", "3x3x1x10", 10),
        ("sep/depthwise", "3x3x1x10", 0),
        ("sep/pointwise", "1x1x10x6", 6),
        ("up", "2x3x6x7", 0),
        ("a_last", "2x2x7x6", 6),
    ]
    assert found.kind == "Keras"
    assert found.notes == ()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_kernels_and_biases_are_those_of_keras(
    model: keras.Model, read: Callable[[str], WeightsFile], suffix: str
) -> None:
    found = {layer.layer: layer for layer in read(suffix).kernels}
    kernel, bias = weights_of(model, "stem")
    np.testing.assert_array_equal(found["stem"].weight, kernel.transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(found["stem"].bias, bias)
    kernel, bias = weights_of(model, "base", "inner")
    np.testing.assert_array_equal(found["base/inner"].weight, kernel.transpose(3, 2, 0, 1))
    [kernel] = weights_of(model, "up")
    np.testing.assert_array_equal(found["up"].weight, kernel.transpose(2, 3, 0, 1))
    kernel, bias = weights_of(model, "base", "dw")
    for channel, multiple in np.ndindex(5, 2):  # Keras puts the multiples of a channel beside each other
        np.testing.assert_array_equal(
            found["base/dw"].weight[2 * channel + multiple, 0], kernel[:, :, channel, multiple]
        )
    np.testing.assert_array_equal(found["base/dw"].bias, bias)


def test_a_depthwise_filter_does_to_an_image_what_the_layer_does(
    model: keras.Model, read: Callable[[str], WeightsFile]
) -> None:
    dw = next(layer for layer in read(".keras").kernels if layer.layer == "base/dw")
    patch = np.random.default_rng(1).random((1, 3, 3, 5)).astype(np.float32)
    theirs = keras.ops.convert_to_numpy(model.get_layer("base").get_layer("dw")(patch))[0, 0, 0]
    ours = [(dw.weight[f, 0] * patch[0, :, :, f // 2]).sum() + dw.bias[f] for f in range(10)]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_many_layers_of_mixed_kinds_keep_their_order_without_a_configuration(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((30, 30, 2))])
    names = []
    for place in range(13):
        kind = layers.DepthwiseConv2D if place % 3 == 1 else layers.Conv2D
        arguments = (2,) if place % 3 == 1 else (2, 2)
        names.append(f"layer_{'zyxwvutsrqpon'[place]}")
        model.add(kind(*arguments, name=names[-1]))
        model.add(layers.BatchNormalization())
    model.save_weights(tmp_path / "m.weights.h5")
    assert [layer.layer for layer in read_kernels(tmp_path / "m.weights.h5").kernels] == names


class Position(layers.Layer):
    """Adds a table of four dimensions, which is no kernel."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.table = self.add_weight(shape=(1, *shape[1:]), name="table")
        self.built = True

    def call(self, image: Any) -> Any:
        return image + self.table


class Block(layers.Layer):
    """Keeps two convolutions as attributes, whose alphabetical order is not that of the network."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.wide = layers.Conv2D(filters, 3, padding="same")
        self.narrow = layers.Conv2D(filters, 1)

    def build(self, shape: tuple[int, ...]) -> None:
        self.wide.build(shape)
        self.narrow.build((*shape[:-1], self.wide.filters))
        self.position = Position()
        self.position.build((None, 4, 2, self.wide.filters))
        self.built = True

    def call(self, image: Any) -> Any:
        return self.narrow(self.wide(image))


class Subclassed(keras.Model):
    """Keeps layers as attributes, whose names are not of their kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise_reduce = layers.Conv2D(16, 1)
        self.dw = layers.DepthwiseConv2D(3, depth_multiplier=2)
        self.blocks = [Block(4), Block(5)]
        self.transpose_not = layers.Conv2D(5, 3)
        self.upwards = layers.Conv2DTranspose(6, 2)
        self.line = layers.Conv1D(2, 3, name="line")

    def call(self, image: Any) -> Any:
        image = self.dw(self.depthwise_reduce(image))
        for block in self.blocks:
            image = block(image)
        image = self.upwards(self.transpose_not(image))
        return self.line(keras.ops.reshape(image, (1, -1, 6)))


def saved(model: keras.Model, path: Path) -> Path:
    logging.disable(logging.WARNING)  # Keras on its own older format
    (model.save_weights if path.name.endswith(".weights.h5") else model.save)(path)
    logging.disable(logging.NOTSET)
    return path


def shapes(found: WeightsFile) -> list[tuple[str, str, int]]:
    return [
        (layer.layer.rpartition("/")[2].rstrip("_0123456789"), layer.shape, len(layer.bias)) for layer in found.kernels
    ]


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_kinds_are_those_of_classes_and_like_layers_are_in_the_networks_order(tmp_path: Path, suffix: str) -> None:
    model = Subclassed()
    model(np.zeros((1, 12, 12, 6), np.float32))
    found = read_kernels(saved(model, tmp_path / f"sub{suffix}"))
    assert [each for each in shapes(found) if each[0] == "conv2d"] == [
        ("conv2d", "1x1x6x16", 16),
        ("conv2d", "3x3x32x4", 4),
        ("conv2d", "1x1x4x4", 4),
        ("conv2d", "3x3x4x5", 5),
        ("conv2d", "1x1x5x5", 5),
        ("conv2d", "3x3x5x5", 5),
    ]
    assert {each for each in shapes(found) if each[0] != "conv2d"} == {
        ("depthwise_conv2d", "3x3x1x32", 32),
        ("conv2d_transpose", "2x2x5x6", 6),
        ("line", "3x6x2", 2),
    }
    kernel, bias = weights_of(model.depthwise_reduce)
    np.testing.assert_array_equal(found.kernels[0].weight, kernel.transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(found.kernels[0].bias, bias)
    [note] = found.notes
    assert note.startswith("left out, not a convolution by its name and its shape, of a table (1, ...): blocks/block")


def test_layers_that_are_written_into_gaps_keep_their_place(tmp_path: Path) -> None:
    sizes = ((32, 3), (64, 3), (10, 1), (12, 3), (4, 1))
    model = keras.Sequential([keras.Input((28, 28, 3)), *(layers.Conv2D(*size) for size in sizes)])
    found = read_kernels(saved(model, tmp_path / "tail.weights.h5"))
    assert [layer.layer for layer in found.kernels] == [layer.name for layer in model.layers]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_weight_of_four_dimensions_that_is_no_kernel_is_left_out(tmp_path: Path, suffix: str) -> None:
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(6, 3, name="conv"), Position(name="where")])
    found = read_kernels(saved(model, tmp_path / f"position{suffix}"))
    assert shapes(found) == [("conv", "3x3x3x6", 6)]
    assert found.notes == (
        f"left out, not a convolution (class {'P' if suffix != '.weights.h5' else 'p'}osition): where",
    )


@pytest.mark.parametrize(
    ("dtype", "suffix"),
    [*(("bfloat16", suffix) for suffix in SUFFIXES), ("mixed_bfloat16", ".h5"), ("float16", ".h5"), ("float64", ".h5")],
)
def test_every_type_is_read_in_every_format(tmp_path: Path, dtype: str, suffix: str) -> None:
    model = keras.Sequential([keras.Input((4, 4, 1)), layers.Conv2D(2, 3, dtype=dtype, name="conv")])
    [layer] = read_kernels(saved(model, tmp_path / f"typed{suffix}")).kernels
    kernel = keras.ops.convert_to_numpy(keras.ops.cast(model.get_layer("conv").kernel, "float32"))
    assert layer.layer == "conv"
    np.testing.assert_array_equal(layer.weight, kernel.transpose(3, 2, 0, 1))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_wrapped_recurrent_and_1d_convolutions_are_read(tmp_path: Path, suffix: str) -> None:
    model = keras.Sequential(
        [
            keras.Input((4, 12, 12, 3)),
            layers.TimeDistributed(layers.Conv2D(4, 3, name="each"), name="times"),
            layers.Bidirectional(layers.ConvLSTM2D(2, 3, return_sequences=True, name="memory"), name="both"),
            layers.ConvLSTM2D(3, 3, name="lone"),
            layers.Reshape((-1, 3)),
            layers.Conv1D(4, 2, name="line"),
            layers.SeparableConv1D(5, 2, name="parted"),
            layers.DepthwiseConv1D(2, name="depth"),
            layers.Conv1DTranspose(6, 3, name="up"),
            layers.Dense(4),
        ]
    )
    found = read_kernels(saved(model, tmp_path / f"wrapped{suffix}"))
    assert [(layer.layer, layer.shape, len(layer.bias)) for layer in found.kernels] == [
        ("times/each", "3x3x3x4", 4),
        ("both/forward_memory/kernel", "3x3x4x8", 8),
        ("both/forward_memory/recurrent_kernel", "3x3x2x8", 0),
        ("both/backward_memory/kernel", "3x3x4x8", 8),
        ("both/backward_memory/recurrent_kernel", "3x3x2x8", 0),
        ("lone/kernel", "3x3x4x12", 12),
        ("lone/recurrent_kernel", "3x3x3x12", 0),
        ("line", "2x3x4", 4),
        ("parted/depthwise", "2x1x4", 0),
        ("parted/pointwise", "1x4x5", 5),
        ("depth", "2x1x5", 5),
        ("up", "3x5x6", 6),
    ]
    assert found.notes == ()
    kernel, _ = weights_of(model, "line")
    np.testing.assert_array_equal(found.kernels[7].weight[:, :, 0], kernel.transpose(2, 1, 0))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_shared_layers_come_once_and_attention_is_no_convolution(tmp_path: Path, suffix: str) -> None:
    image = keras.Input((8, 8, 3))
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    first = keras.Sequential([keras.Input((8, 8, 3)), shared], name="first")
    second = keras.Sequential([keras.Input((8, 8, 3)), shared, layers.Conv2D(3, 1, name="own")], name="second")
    rows = layers.Reshape((64, 3))(second(first(image)))
    rows = layers.MultiHeadAttention(2, 3, name="attention")(rows, rows)
    rows = layers.EinsumDense("abc,cde->abde", (None, 2, 4), bias_axes="e", name="product")(rows)
    found = read_kernels(saved(keras.Model(image, rows), tmp_path / f"shared{suffix}"))
    assert [layer.layer for layer in found.kernels] == ["first/shared", "second/own"]
    assert len(found.notes) == 2


def test_three_dimensional_convolutions_are_left_out_with_a_note(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((6, 6, 2)), layers.Conv2D(3, 3, name="flat")])
    model.add(layers.Reshape((4, 4, 3, 1)))
    model.add(layers.Conv3D(2, 2, name="deep"))
    found = read_kernels(saved(model, tmp_path / "mixed.keras"))
    assert [layer.layer for layer in found.kernels] == ["flat"]
    assert found.notes == ("left out, no 1D or 2D convolution (5 dimensions): deep",)
