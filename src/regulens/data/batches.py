"""Images on their way into a network: gathered, converted and scaled one batch at a time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from regulens.data.dataset import Dataset
from regulens.errors import UserError
from regulens.kernels.ops import gather
from regulens.spec import DataSpec

_COUNTED_AT_ONCE = 1000


@dataclass(frozen=True)
class PixelScaling:
    """What becomes of pixels 0..255: times ``scale``; if standardized, then less ``mean`` and divided by ``sd``.

    ``mean`` and ``sd`` have one number per channel, in scaled units, and are empty otherwise.
    """

    scale: float
    mean: tuple[float, ...] = ()
    sd: tuple[float, ...] = ()


def scaled(pixels: Tensor, scaling: PixelScaling) -> Tensor:
    """Return pixels (..., C) in 0 to 255 as a network's inputs are, as ``Feed`` does; gradients pass through."""
    x = pixels * scaling.scale
    return (x - x.new_tensor(scaling.mean)) / x.new_tensor(scaling.sd) if scaling.mean else x


def pixel_scaling(dataset: Dataset, spec: DataSpec, fitted_on: NDArray[np.int64]) -> PixelScaling:
    """Return the one scaling of all images of a run: decided by its spec and the images it is fitted on.

    Mean and (population) standard deviation are over all pixels of a channel, counted value by value: exact, and
    the same in whatever order the images are named.

    Raises:
        UserError: if a channel that is to be standardized is the same everywhere.
    """
    if not spec.standardize:
        return PixelScaling(spec.scale)
    values = np.arange(256)
    means, deviations = [], []
    for channel, counts in enumerate(_counts_of_values(dataset, fitted_on)):
        if np.count_nonzero(counts) < 2:
            raise UserError(
                f"data.standardize = true: channel {channel} of {dataset.name} has the same value in every pixel of "
                f"the images fitted on; set it to false"
            )
        mean = float(counts @ values / counts.sum())
        means.append(spec.scale * mean)
        deviations.append(spec.scale * float(counts @ (values - mean) ** 2 / counts.sum()) ** 0.5)
    return PixelScaling(spec.scale, tuple(means), tuple(deviations))


def _counts_of_values(dataset: Dataset, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (C, 256): how many pixels of these images have each value; few images at a time, to save memory."""
    channels = dataset.image_shape[2]
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, len(indices), _COUNTED_AT_ONCE):
        pixels = dataset.images[indices[start : start + _COUNTED_AT_ONCE]].reshape(-1, channels)
        for channel in range(channels):
            counts[channel] += np.bincount(pixels[:, channel], minlength=256)
    return counts


class Feed:
    """A data set on a device: uint8 there, and float32 only in the buffers of one batch, which are used again.

    Args:
        dataset: whose images are fed; on the CPU they are not copied, if they are contiguous.
        scaling: what becomes of the pixels.
        device: where the batches are wanted; the whole set is laid there once.
    """

    def __init__(self, dataset: Dataset, scaling: PixelScaling, device: str | torch.device = "cpu") -> None:
        self.scaling = scaling
        constants = (scaling.mean, scaling.sd)
        self._mean, self._sd = (torch.tensor(each, dtype=torch.float32, device=device) for each in constants)
        self._images = _read_only(dataset.images).to(device)
        self._labels = torch.from_numpy(dataset.labels.astype(np.int64)).to(device)
        self._buffers: dict[int, Tensor] = {}

    def batch(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images at ``chosen`` (B,) int64, valid until the next call for as many.

        Returns:
            images (B, H, W, C) float32, scaled; labels (B,) int64.
        """
        size = len(chosen)
        if size not in self._buffers:
            self._buffers[size] = self._images.new_empty((size, *self._images.shape[1:]), dtype=torch.float32)
        images = gather(self._images, chosen, self.scaling.scale, out=self._buffers[size])
        if self.scaling.mean:
            images.sub_(self._mean).div_(self._sd)
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
