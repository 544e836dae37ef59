"""Images, labels and class names as they are handed through the house, and how processes share them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regulens.errors import DataError, UserError, check_type


@dataclass(frozen=True, eq=False)
class Dataset:
    """A labelled set of images.

    Attributes:
        name: what it is called in study files.
        images: (N, H, W, C) uint8, 0..255, read-only.
        labels: (N,) uint8, an index into ``class_names``, read-only.
        class_names: one name per class.

    Raises:
        DataError: if the arrays do not have these shapes and types or a label has no name.
    """

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        check_type(self.name, str, "name", "a text")
        check_type(self.images, np.ndarray, "images", "a NumPy array (N, H, W, C) of uint8")
        check_type(self.labels, np.ndarray, "labels", "a NumPy array (N,) of uint8")
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise DataError(f"{self.name}: images must be (N, H, W, C) uint8, got {_kind(self.images)}")
        if self.labels.shape != self.images.shape[:1] or self.labels.dtype != np.uint8:
            raise DataError(f"{self.name}: labels must be ({len(self.images)},) uint8, got {_kind(self.labels)}")
        if len(self.labels) == 0:
            raise DataError(f"{self.name}: holds no images")
        for name in ("images", "labels"):
            view = getattr(self, name).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)
        if int(self.labels.max()) >= len(self.class_names):
            raise DataError(f"{self.name}: label {self.labels.max()} has no name among {len(self.class_names)} classes")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every image."""
        _, height, width, channels = self.images.shape
        return height, width, channels

    @cached_property
    def digest(self) -> str:
        """64 hexadecimal digits: sha256 over shape, pixels, labels and class names."""
        header = json.dumps([self.images.shape, self.class_names])
        hasher = hashlib.sha256(header.encode())
        hasher.update(np.ascontiguousarray(self.images).data)
        hasher.update(np.ascontiguousarray(self.labels).data)
        return hasher.hexdigest()


@dataclass(frozen=True)
class SharedDataset:
    """A data set laid out in a folder for other processes to map: a small picklable handle."""

    folder: Path
    name: str
    images: int
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    digest: str

    def open(self) -> Dataset:
        """Map the arrays read-only: every process that opens them shares the same memory."""
        images, labels = (np.load(self.folder / part, mmap_mode="r") for part in ("images.npy", "labels.npy"))
        dataset = Dataset(self.name, images, labels, self.class_names)
        dataset.__dict__["digest"] = self.digest  # known already: not hashed anew in every process
        return dataset


def share(dataset: Dataset, folder: Path) -> SharedDataset:
    """Write the arrays below ``folder``, from where any number of processes may map them.

    Raises:
        UserError: if they do not fit there.
    """
    target = folder / dataset.digest[:16]
    try:
        target.mkdir(parents=True, exist_ok=True)
        np.save(target / "images.npy", dataset.images)
        np.save(target / "labels.npy", dataset.labels)
    except OSError as error:  # NumPy's says only how many bytes there was space for
        raise UserError(
            f"{folder}: cannot hold the images for the workers ({error.strerror or error}); free some space on that "
            "disk and give the same command again"
        ) from None
    return SharedDataset(
        target, dataset.name, len(dataset.labels), dataset.image_shape, dataset.class_names, dataset.digest
    )


def _kind(array: NDArray[np.generic]) -> str:
    return f"{array.shape} {array.dtype}"
