"""Class probabilities on disk, as npz. No pickle is ever read, and no torch is needed."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regulens.data.dataset import Dataset
from regulens.errors import DataError
from regulens.files import write_atomically
from regulens.npz import packed_arrays
from regulens.weights.kernels import allowance

PREDICTIONS = "predictions.npz"
TEST_PREDICTIONS = "test_predictions.npz"


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
