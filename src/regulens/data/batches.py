"""Images on their way into a network: gathered, converted and scaled one batch at a time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from regulens.data.dataset import Dataset
from regulens.kernels.ops import gather


class Feed:
    """A data set on a device: uint8 there, and float32 only in the buffers of one batch, which are used again.

    Args:
        dataset: whose images are fed; on the CPU they are not copied, if they are contiguous.
        scale: what pixels are multiplied by.
        device: where the batches are wanted; the whole set is laid there once.
    """

    def __init__(self, dataset: Dataset, scale: float, device: str | torch.device = "cpu") -> None:
        self.scale = scale
        self._images = _read_only(dataset.images).to(device)
        self._labels = torch.from_numpy(dataset.labels.astype(np.int64)).to(device)
        self._buffers: dict[int, Tensor] = {}

    def batch(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images at ``chosen`` (B,) int64, valid until the next call for as many.

        Returns:
            images (B, H, W, C) float32, pixels multiplied by the scale; labels (B,) int64.
        """
        size = len(chosen)
        if size not in self._buffers:
            self._buffers[size] = self._images.new_empty((size, *self._images.shape[1:]), dtype=torch.float32)
        images = gather(self._images, chosen, self.scale, out=self._buffers[size])
        return images, self._labels.index_select(0, chosen)

    def orders(self, indices: NDArray[np.int64], size: int) -> tuple[Tensor, ...]:
        """Return ``indices`` on the device, cut into pieces of ``size`` and one for what is left."""
        placed = torch.from_numpy(indices).to(self._labels.device)
        return torch.split(placed, size) if len(indices) else ()

    def batches(self, indices: NDArray[np.int64], size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the images at ``indices`` in batches as ``batch`` returns them; a last smaller batch is kept."""
        for chosen in self.orders(indices, size):
            yield self.batch(chosen)


def _read_only(array: NDArray[np.uint8]) -> Tensor:
    """Return a tensor on memory that nobody may write to, a mapped file for instance; here nobody does."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(array))
