"""The lab's networks written in Keras, and what the parity tests need to run them beside ours."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import keras
import numpy as np
import torch
import torch.nn.functional as F
from keras.src.backend.common import dtypes
from numpy.typing import NDArray
from torch import Tensor

from regulens.models.cnn import CNN, build_model
from regulens.models.regularizers import Regularizer, build_regularizer
from regulens.notation import Term, parse_regularizer
from regulens.spec import ModelSpec, RunSpec, TrainSpec
from regulens.training.loop import build_optimizer, train_step
from regulens.training.optimizer import SGD
from regulens.training.static import differentiation_of

Array = NDArray[np.floating]
State = dict[str, Array]
"""Every weight and moving statistic by the name that ``expanded()`` gives it, laid out as plain torch has it."""

IMAGE_SHAPE = (28, 28, 1)
CLASSES = 10
OUR_NAMES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


@contextmanager
def keras_float64() -> Iterator[None]:
    """Let Keras compute in float64 throughout; what was set before is restored.

    On torch Keras mixes float32 into a float64 network (keras-team/keras#23704: ``result_type`` answers float32
    for two float64): its table is given the entry that it has on TensorFlow.
    """
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        with patch.dict(dtypes.BIT64_TO_BIT32_DTYPE, float64="float64"):
            yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)


def garments(images: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw (N, 28, 28, 1) uint8 images with Fashion-MNIST's statistics (half of it black), and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, images).astype(np.uint8)
    rows, columns = np.mgrid[-1:1:28j, -1:1:28j]
    width = 0.5 + 0.05 * labels[:, None, None]
    inside = (np.abs(columns) < width) & (np.abs(rows) < 1.3 - width)
    pixels = inside * (60 + 15 * labels[:, None, None] + rng.normal(0, 50, (images, 28, 28)))
    return pixels.clip(0, 255).astype(np.uint8)[..., np.newaxis], labels


def keras_model(
    spec: ModelSpec, regularizer: str, train: TrainSpec, image_shape: tuple[int, int, int] = IMAGE_SHAPE
) -> keras.Model:
    """Return the network as one writes it in Keras, its layers named as ``expanded()`` names ours."""
    terms = parse_regularizer(regularizer)
    strength = next((term.value for term in terms if term.kind == "l2"), None)
    model = keras.Sequential([keras.Input(image_shape)])
    for block in map(str, range(1, spec.depth + 1)):
        kernel_regularizer = None if strength is None else keras.regularizers.L2(strength)
        convolution = keras.layers.Conv2D(
            spec.filters,
            spec.kernel_size,
            padding=spec.padding,
            activation="relu",
            kernel_regularizer=kernel_regularizer,
            data_format="channels_last",
            name=f"conv{block}",
        )
        model.add(convolution)
        model.add(keras.layers.MaxPooling2D(spec.pool, data_format="channels_last"))
        _add_layers(model, terms, block)
    model.add(keras.layers.Flatten(data_format="channels_last"))
    model.add(keras.layers.Dense(spec.dense, activation="relu", name="dense"))
    _add_layers(model, terms, "")
    model.add(keras.layers.Dense(CLASSES, name="output"))
    model.compile(
        keras.optimizers.SGD(train.learning_rate, train.momentum),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    return model


def _add_layers(model: keras.Sequential, terms: tuple[Term, ...], suffix: str) -> None:
    for term in terms:
        if term.kind == "batchnorm":
            model.add(keras.layers.BatchNormalization(name=f"batchnorm{suffix}"))
        if term.kind == "dropout":
            model.add(keras.layers.Dropout(term.value, name=f"dropout{suffix}"))


def keras_state(model: keras.Model) -> State:
    """Return copies of all of a Keras model's weights and statistics."""
    return {
        f"{layer.name}.{OUR_NAMES[variable.name]}": _to_ours(keras.ops.convert_to_numpy(variable.value).copy())
        for layer in model.layers
        for variable in layer.weights
    }


def set_keras_state(model: keras.Model, state: State) -> None:
    """Overwrite all of a Keras model's weights and statistics."""
    for layer in model.layers:
        for variable in layer.weights:
            variable.assign(_to_keras(state[f"{layer.name}.{OUR_NAMES[variable.name]}"]))


def our_state(model: CNN) -> State:
    """Return copies of all of our model's weights and statistics."""
    return {name: tensor.numpy().copy() for name, tensor in model.expanded().state_dict().items()}


def set_our_state(model: CNN, state: State) -> None:
    """Overwrite all of our model's weights and statistics."""
    model.expanded().load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})


def _to_ours(array: Array) -> Array:
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def _to_keras(array: Array) -> Array:
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


@dataclass(frozen=True)
class Twins:
    """Our network and Keras' with the same initial weights, to be trained on the same batches."""

    spec: RunSpec
    regularizer: Regularizer
    ours: CNN
    optimizer: SGD
    theirs: keras.Model
    dtype: torch.dtype

    @classmethod
    def build(cls, spec: RunSpec, dtype: str, image_shape: tuple[int, int, int] = IMAGE_SHAPE) -> Twins:
        """Build both; ``dtype`` is ``float32``, or ``float64`` within ``keras_float64``."""
        regularizer = build_regularizer(spec.regularizer)
        ours = build_model(spec.model, image_shape, CLASSES, regularizer, seed=1).to(getattr(torch, dtype))
        theirs = keras_model(spec.model, spec.regularizer, spec.train, image_shape)
        set_keras_state(theirs, our_state(ours))
        return cls(spec, regularizer, ours, build_optimizer(spec, ours, regularizer), theirs, getattr(torch, dtype))

    def step(self, pixels: NDArray[np.uint8], labels: NDArray[np.uint8]) -> tuple[float, float]:
        """Take one training step in both; return our loss and Keras'."""
        images = self.images(pixels)
        ours = self.ours, self.optimizer, self.regularizer, images, torch.from_numpy(labels).long()
        loss, _ = train_step(*ours, differentiate=differentiation_of(self.ours))
        their_loss, _ = self.theirs.train_on_batch(images.numpy(), labels)
        return loss.item(), float(their_loss)

    def logits(self, pixels: NDArray[np.uint8]) -> tuple[Array, Array]:
        """Return our logits and Keras' as they predict, that is, in eval mode."""
        images = self.images(pixels)
        with torch.no_grad():
            ours = self.ours.eval()(images).numpy()
        self.ours.train()
        return ours, self.theirs.predict_on_batch(images.numpy())

    def images(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Return uint8 pixels as both networks are given them."""
        return torch.from_numpy(pixels).to(self.dtype) * self.spec.data.scale


def clear_of_ties(model: CNN, images: Tensor) -> NDArray[np.int64]:
    """Return the images (indices) of which no ReLU and no pooling of ``model`` is within float32 rounding of a tie.

    There the gradient jumps: two right float32 computations of it may differ by a whole term. Batch norm joins the
    images of a batch, so that leaving some out moves the others: it is done until nothing more is to leave out.
    """
    network, kept = copy.deepcopy(model).double(), torch.arange(len(images))
    with torch.no_grad():
        while not (clear := _clear_of_ties(network, images[kept].double())).all():
            kept = kept[clear]
    return kept.numpy()


def _clear_of_ties(network: CNN, x: Tensor) -> Tensor:
    clear = torch.ones(len(x), dtype=torch.bool)
    for block in network.blocks:
        x, conv = x.permute(0, 3, 1, 2), block.conv
        maps = conv(x)
        rounding = _rounding(F.conv2d(x.abs(), conv.weight.abs(), conv.bias.abs(), padding=conv.padding))
        clear &= ((maps.abs() > rounding) | (rounding == 0)).flatten(1).all(1)
        first, second = _windows(maps).topk(2, dim=2).values.unbind(2)
        apart = (first - second > _windows(rounding).amax(2)) | (first == second) | (first < 0)
        clear &= apart.reshape(len(x), -1).all(1)
        pooled = F.max_pool2d(F.relu(maps), 2).permute(0, 2, 3, 1)
        x = pooled if block.regularizer is None else block.regularizer(pooled)
    x, dense = x.flatten(1), network.dense
    rounding = _rounding(F.linear(x.abs(), dense.weight.abs(), dense.bias.abs()))
    return clear & (dense(x).abs() > rounding).all(1)


def _rounding(sum_of_absolute_terms: Tensor) -> Tensor:
    """Return by how much float32 may err in a sum, what it is made of being inexact itself."""
    return 8 * torch.finfo(torch.float32).eps * sum_of_absolute_terms


def _windows(maps: Tensor) -> Tensor:
    """Return (N * C, windows, 4) for (N, C, H, W)."""
    return F.unfold(maps.flatten(0, 1)[:, None], 2, stride=2).transpose(1, 2)


def assert_close(ours: State, theirs: State, tolerance: float) -> None:
    """Require every tensor to agree to ``tolerance`` of Keras' largest absolute value in it."""
    assert ours.keys() == theirs.keys()
    for name, reference in theirs.items():
        assert ours[name].shape == reference.shape, name
        assert ours[name].dtype == reference.dtype, name
        error = np.abs(ours[name] - reference).max()
        bound = tolerance * np.abs(reference).max()
        assert error <= bound, f"{name} differs by {error:.3g}, allowed {bound:.3g}"
