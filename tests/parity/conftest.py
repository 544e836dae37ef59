"""Keras is imported here, once: on torch's backend and the CPU, deaf to the user's own Keras settings."""

from __future__ import annotations

from collections.abc import Iterator
from tempfile import TemporaryDirectory

import pytest

from regulens.training.environment import pinned_torch

with TemporaryDirectory() as keras_home, pytest.MonkeyPatch.context() as environment:
    environment.setenv("KERAS_BACKEND", "torch")
    environment.setenv("KERAS_TORCH_DEVICE", "cpu")
    environment.setenv("KERAS_HOME", keras_home)  # neither read nor write ~/.keras/keras.json
    import keras

if keras.backend.backend() != "torch":
    raise RuntimeError(f"parity needs Keras on torch, but Keras was imported before on {keras.backend.backend()}")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with pinned_torch():
        yield
