"""Trained networks on disk: weights as safetensors, probabilities as npz. No pickle is ever read."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from regulens.data.dataset import Dataset
from regulens.errors import DataError, UserError
from regulens.files import write_atomically
from regulens.models.cnn import CNN, build_model
from regulens.npz import packed_arrays
from regulens.spec import RunSpec
from regulens.training.loop import Trained
from regulens.weights.kernels import allowance

WEIGHTS = "weights.safetensors"
PREDICTIONS = "predictions.npz"
TEST_PREDICTIONS = "test_predictions.npz"


def save_run(folder: Path, trained: Trained, dataset: Dataset) -> None:
    """Write a run's ``weights.safetensors`` and, if it has a validation part, ``predictions.npz``."""
    model = trained.model
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    metadata = {
        "regulens": trained.result.spec.model_dump_json(),
        "image_shape": json.dumps(model.image_shape),
        "classes": str(model.output.out_features),
    }
    if trained.scaling.mean:  # otherwise the spec says it all
        metadata["pixels"] = json.dumps(asdict(trained.scaling))
    write_atomically(folder / WEIGHTS, save(tensors, metadata))
    if trained.result.val_images:
        save_predictions(folder / PREDICTIONS, trained.probabilities, trained.val_indices, dataset)


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a run says of some images: (N, classes) float32, with their (N,) indices in the data set and (N,) labels."""

    probabilities: NDArray[np.float32]
    indices: NDArray[np.int64]
    labels: NDArray[np.uint8]


def save_predictions(
    path: Path, probabilities: NDArray[np.float32], indices: NDArray[np.int64], dataset: Dataset
) -> None:
    """Write (N, classes) float32 probabilities with the (N,) indices and labels of their images."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, probabilities=probabilities, indices=indices, labels=dataset.labels[indices])
    write_atomically(path, buffer.getvalue())


def load_predictions(path: Path) -> Predictions:
    """Read what ``save_predictions`` wrote.

    Raises:
        DataError: if the file is absent or damaged.
    """
    try:
        with packed_arrays(path) as arrays:
            packed = [arrays[name] for name in ("probabilities", "indices", "labels")]
            if sum(array.bytes for array in packed) > allowance(path.stat().st_size):
                raise ValueError("its arrays are far larger than it can hold")
            return Predictions(*(array.read() for array in packed))
    except (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); run the study again: it is made again from the weights"
        ) from None


def agrees(predictions: Predictions, images: int, accuracy: float) -> bool:
    """Tell whether predictions are of so many images and give the accuracy that was recorded of them.

    What is most probable by less than the rounding of float32, or not a number, may count either way.
    """
    probabilities, labels = predictions.probabilities, predictions.labels.astype(np.int64)
    if probabilities.ndim != 2 or {len(probabilities), *labels.shape, *predictions.indices.shape} != {images}:
        return False
    if not 0 <= labels.min(initial=0) <= labels.max(initial=0) < probabilities.shape[1]:
        return False
    unknown = ~np.isfinite(probabilities).all(1)
    best = probabilities.max(1, keepdims=True)
    possible = unknown | (np.take_along_axis(probabilities, labels[:, None], 1) == best)[:, 0]
    sure = possible & ~unknown & ((probabilities == best).sum(1) == 1)
    return bool(sure.sum() - 0.5 < accuracy * images < possible.sum() + 0.5)


def saved_spec(folder: Path) -> RunSpec | None:
    """Return which run the weights in a folder are of, by their header alone; ``None`` where they cannot be read."""
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as archive:
            return RunSpec.model_validate_json((archive.metadata() or {}).get("regulens", ""))
    except (OSError, SafetensorError, UserError):
        return None


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
        raise DataError(
            f"{path}: cannot be read ({error}); move it elsewhere and run the study again to train this network anew"
        ) from None
    if "regulens" not in metadata:
        raise DataError(f"{path}: was not written by Regulens: it does not say which network it holds")
    try:
        return _rebuilt(metadata, state)
    except (ValueError, KeyError, TypeError, RuntimeError, UserError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise DataError(
            f"{path}: does not hold the network that it describes ({reason}); move it elsewhere and run the study "
            f"again to train this network anew"
        ) from None


def _rebuilt(metadata: Mapping[str, str], state: Mapping[str, torch.Tensor]) -> CNN:
    spec = RunSpec.model_validate_json(metadata["regulens"])
    height, width, channels = json.loads(metadata["image_shape"])
    shape = (spec.model, (height, width, channels), int(metadata["classes"]))
    with torch.device("meta"):  # without memory: what is described may be far larger than what is stored
        described = sum(parameter.numel() for parameter in build_model(*shape).parameters())
    if described > sum(tensor.numel() for tensor in state.values()):
        raise ValueError(f"it has {described:,} weights")
    model = build_model(*shape, spec.regularizer)
    model.load_state_dict(state)
    return model.to(torch.float32).eval()
