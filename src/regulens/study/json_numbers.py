"""Numbers as JSON has them."""

from __future__ import annotations

import math


def finite(value: float) -> float | None:
    """Return a number of Python's own, ``None`` for one that JSON does not have: NaN or infinite."""
    return float(value) if math.isfinite(value) else None
