"""Channels that a whole batch leaves at zero: nothing need be multiplied with them.

Behind a ReLU they are common: unscaled pixels and large steps leave networks with filters that no image makes positive.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

_WORTH_IT = 3  # picking and spreading costs less than it spares where no more than one channel in so many lives


class LiveChannels:
    """The channels, a third of them or fewer, that some maps do not leave at zero.

    Attributes:
        share: how many of the channels they are, as (some, all).
    """

    def __init__(self, module: Any, index: Tensor, share: tuple[int, int]) -> None:
        self._module = module
        self._index = index
        self.share = share

    @classmethod
    def of(cls, module: Any, rows: Tensor, channels: int, weight: Tensor) -> Self | None:
        """Find them, or ``None`` where all channels are to be multiplied.

        Args:
            module: the native kernels.
            rows: maps as rows (N, H * W * channels), float32, contiguous.
            channels: how many there are.
            weight: what the rows are multiplied with, contiguous: where it is not finite, zeros make a difference.
        """
        index = torch.empty(channels, dtype=torch.int32)
        count = module.live_channels(rows.numel() // channels, channels, rows.data_ptr(), index.data_ptr())
        if count * _WORTH_IT > channels or not module.all_finite(weight.numel(), weight.data_ptr()):
            return None
        return cls(module, index, (count, channels))

    def room(self, rows: Tensor, memory: Tensor | None = None) -> Tensor:
        """Return room for the live channels of rows (R, P * all): (R, P * some), in flat memory if some is given."""
        some, channels = self.share
        shape = len(rows), rows.shape[1] // channels * some
        return rows.new_empty(shape) if memory is None else memory[: shape[0] * shape[1]].view(shape)

    def pick(self, rows: Tensor, out: Tensor) -> Tensor:
        """Fill ``out`` (R, P * some) with the live channels of rows (R, P * all); both are contiguous."""
        some, channels = self.share
        places = rows.numel() // channels
        self._module.pick_channels(places, channels, some, self._index.data_ptr(), rows.data_ptr(), out.data_ptr())
        return out

    def spread(self, rows: Tensor, out: Tensor) -> Tensor:
        """Fill ``out`` (R, P * all) with rows (R, P * some), zeros in all other channels; both are contiguous."""
        some, channels = self.share
        places = out.numel() // channels
        self._module.spread_channels(places, channels, some, self._index.data_ptr(), rows.data_ptr(), out.data_ptr())
        return out
