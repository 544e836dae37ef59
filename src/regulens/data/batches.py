"""Images on their way into a network: gathered, converted and scaled one batch at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from regulens.data.dataset import Dataset


def batches(dataset: Dataset, order: NDArray[np.int64], size: int, scale: float) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images at ``order`` in batches; a last smaller batch is kept.

    Yields:
        images (B, H, W, C) float32, pixels multiplied by ``scale``; labels (B,) int64.
    """
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        images = torch.from_numpy(dataset.images[chosen]).to(torch.float32)
        if scale != 1:
            images *= scale
        yield images, torch.from_numpy(dataset.labels[chosen].astype(np.int64))
