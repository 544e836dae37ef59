"""The lab's networks written in Keras, and what the parity tests need to run them beside ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import keras
import numpy as np
import torch
from keras.src.backend.common import dtypes
from numpy.typing import NDArray
from torch import Tensor

from regulens.models.cnn import CNN, build_model
from regulens.models.regularizers import Regularizer, build_regularizer
from regulens.notation import Term, parse_regularizer
from regulens.spec import ModelSpec, RunSpec, TrainSpec
from regulens.training.loop import build_optimizer, train_step

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
    optimizer: torch.optim.Optimizer
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
        loss, _ = train_step(self.ours, self.optimizer, self.regularizer, images, torch.from_numpy(labels).long())
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


def assert_close(ours: State, theirs: State, tolerance: float) -> None:
    """Require every tensor to agree to ``tolerance`` of Keras' largest absolute value in it."""
    assert ours.keys() == theirs.keys()
    for name, reference in theirs.items():
        assert ours[name].shape == reference.shape, name
        assert ours[name].dtype == reference.dtype, name
        error = np.abs(ours[name] - reference).max()
        bound = tolerance * np.abs(reference).max()
        assert error <= bound, f"{name} differs by {error:.3g}, allowed {bound:.3g}"
