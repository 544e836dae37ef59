"""Columns that a whole batch leaves at zero: nothing need be multiplied with them.

Behind a ReLU they are common: the corners of images are empty, and unscaled pixels or large steps leave networks with
filters that no image makes positive.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def live_columns(module: Any, rows: Tensor, weight: Tensor) -> Tensor | None:
    """Return which columns are not zero in all rows, (count,) int32, or ``None`` where all are to be multiplied.

    That is where more than half of them live, or what they are multiplied with is not finite: zeros count as well then.

    Args:
        module: the native kernels.
        rows: (R, columns) float32, contiguous.
        weight: (O, columns) float32, contiguous.
    """
    columns = rows.shape[1]
    index = torch.empty(columns, dtype=torch.int32)
    count = module.live_columns(len(rows), columns, rows.data_ptr(), columns // 2, index.data_ptr())
    if count < 0 or not module.all_finite(weight.numel(), weight.data_ptr()):
        return None
    return index[:count]
