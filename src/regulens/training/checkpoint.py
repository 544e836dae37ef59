"""Trained networks on disk: weights as safetensors, probabilities as npz. No pickle is ever read."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from regulens.errors import DataError
from regulens.files import write_atomically
from regulens.models.cnn import CNN, build_model
from regulens.models.regularizers import build_regularizer
from regulens.spec import RunSpec
from regulens.training.loop import Trained

WEIGHTS = "weights.safetensors"
PREDICTIONS = "predictions.npz"
TEST_PREDICTIONS = "test_predictions.npz"


def save_run(folder: Path, trained: Trained) -> None:
    """Write a run's ``weights.safetensors`` and, if it has a validation part, ``predictions.npz``."""
    model = trained.model
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    metadata = {
        "regulens": trained.result.spec.model_dump_json(),
        "image_shape": json.dumps(model.image_shape),
        "classes": str(model.output.out_features),
    }
    write_atomically(folder / WEIGHTS, save(tensors, metadata))
    if trained.result.val_images:
        save_probabilities(folder / PREDICTIONS, trained.probabilities)


def save_probabilities(path: Path, probabilities: NDArray[np.float32]) -> None:
    """Write (N, classes) float32 class probabilities, in the order of the part's indices."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, probabilities=probabilities)
    write_atomically(path, buffer.getvalue())


def load_probabilities(path: Path) -> NDArray[np.float32]:
    """Read what ``save_probabilities`` wrote: (N, classes) float32."""
    with np.load(path, allow_pickle=False) as archive:
        return np.asarray(archive["probabilities"], np.float32)


def load_model(folder: Path) -> CNN:
    """Rebuild a run's network from its folder, in eval mode.

    Raises:
        DataError: if the weights are absent, damaged or not a run of Regulens.
    """
    path = folder / WEIGHTS
    try:
        with safe_open(path, framework="pt") as archive:
            metadata = archive.metadata() or {}
            state = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118  # safe_open is no dict
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: cannot be read ({error}); run the study again to train this network anew") from None
    if "regulens" not in metadata:
        raise DataError(f"{path}: was not written by Regulens: it does not say which network it holds")
    spec = RunSpec.model_validate_json(metadata["regulens"])
    height, width, channels = json.loads(metadata["image_shape"])
    regularizer = build_regularizer(spec.regularizer)
    model = build_model(spec.model, (height, width, channels), int(metadata["classes"]), regularizer)
    model.load_state_dict(state)
    return model.to(torch.float32).eval()
