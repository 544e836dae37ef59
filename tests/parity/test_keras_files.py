"""Kernels of files that Keras itself has written are Keras' own, in its order, under its names."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

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


def weights_of(model: keras.Model, *path: str) -> list[Numbers]:
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


def test_half_precision_is_read(tmp_path: Path) -> None:
    for dtype in ("float16", "bfloat16"):
        model = keras.Sequential([keras.Input((4, 4, 1)), layers.Conv2D(2, 3, dtype=dtype, name="conv")])
        model.save_weights(tmp_path / "half.weights.h5")
        [layer] = read_kernels(tmp_path / "half.weights.h5").kernels
        kernel = keras.ops.convert_to_numpy(keras.ops.cast(model.get_layer("conv").kernel, "float32"))
        np.testing.assert_array_equal(layer.weight, kernel.transpose(3, 2, 0, 1))


def test_one_and_three_dimensional_convolutions_are_left_out_with_a_note(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((6, 6, 2)), layers.Conv2D(3, 3, name="flat")])
    model.add(layers.Reshape((4, 4, 3, 1)))
    model.add(layers.Conv3D(2, 2, name="deep"))
    model.add(layers.Reshape((-1, 2)))
    model.add(layers.Conv1D(2, 2, name="long"))
    model.save(tmp_path / "mixed.keras")
    found = read_kernels(tmp_path / "mixed.keras")
    assert [layer.layer for layer in found.kernels] == ["flat"]
    assert found.notes == (
        "left out, no 2D convolution (5 dimensions): deep",
        "left out, no 2D convolution (3 dimensions): long",
    )
