"""Columns that a whole batch leaves at zero: nothing need be multiplied with them.

Behind a ReLU they are common: the corners of images are empty, and unscaled pixels or large steps leave networks with
filters that no image makes positive.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor


class LiveColumns:
    """The columns, half of them or fewer, that are not zero in all rows of a matrix.

    Attributes:
        count: how many they are.
    """

    def __init__(self, module: Any, index: Tensor, count: int) -> None:
        self._module = module
        self._index = index
        self.count = count

    @classmethod
    def of(cls, module: Any, rows: Tensor, weight: Tensor) -> Self | None:
        """Find them, or ``None`` where all columns are to be multiplied.

        Args:
            module: the native kernels.
            rows: (R, columns) float32, contiguous.
            weight: (O, columns), contiguous, what they are multiplied with: if it is not finite, zeros count as well.
        """
        columns = rows.shape[1]
        index = torch.empty(columns, dtype=torch.int32)
        count = module.live_columns(len(rows), columns, rows.data_ptr(), columns // 2, index.data_ptr())
        if count < 0 or not module.all_finite(weight.numel(), weight.data_ptr()):
            return None
        return cls(module, index, count)

    def room(self, rows: Tensor, memory: Tensor | None = None) -> Tensor:
        """Return room for the live columns of ``rows``, (R, count), in flat memory if some is given."""
        shape = len(rows), self.count
        return rows.new_empty(shape) if memory is None else memory[: shape[0] * shape[1]].view(shape)

    def pick(self, rows: Tensor, out: Tensor) -> Tensor:
        """Fill ``out`` (R, count) with the live columns of ``rows`` (R, columns); both are contiguous."""
        self._module.pick_columns(*rows.shape, self.count, self._index.data_ptr(), rows.data_ptr(), out.data_ptr())
        return out

    def spread(self, rows: Tensor, out: Tensor) -> Tensor:
        """Fill ``out`` (R, columns) with ``rows`` (R, count) and zeros elsewhere; both are contiguous."""
        self._module.spread_columns(*out.shape, self.count, self._index.data_ptr(), rows.data_ptr(), out.data_ptr())
        return out
