"""Tables of text, and how their numbers are written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from regulens.stats.contrasts import Level
from regulens.stats.intervals import Interval

NOTHING = "–"


@dataclass(frozen=True)
class TextTable:
    """Column names and rows; the first ``names`` columns name a row, the others hold its numbers."""

    names: int
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def place_text(levels: Mapping[str, Level]) -> str:
    """Return levels in words: ``depth 1, regularizer none``."""
    return ", ".join(f"{factor} {level}" for factor, level in levels.items())


def with_bounds(interval: Interval | None, digits: int, sign: str = "") -> str:
    """Write an estimate with its bounds in brackets, as far as there are any."""
    if interval is None:
        return NOTHING
    estimate = fixed(interval.estimate, digits, sign)
    return estimate if math.isnan(interval.low) else f"{estimate} {bounds_text(interval, digits, sign)}"


def bounds_text(interval: Interval, digits: int, sign: str = "") -> str:
    """Write the bounds of an interval in brackets."""
    if math.isnan(interval.low):
        return NOTHING
    return f"[{fixed(interval.low, digits, sign)}, {fixed(interval.high, digits, sign)}]"


def fixed(value: float, digits: int, sign: str = "") -> str:
    """Write a number with so many decimals, and with ``sign`` as in a format: ``+`` also of numbers above zero."""
    return NOTHING if math.isnan(value) else f"{round(value, digits) + 0.0:{sign}.{digits}f}"  # and no minus zero


def p_text(p: float) -> str:
    """Write a p value with four decimals."""
    if math.isnan(p):
        return NOTHING
    return f"{p:.4f}" if p >= 0.0001 else "< 0.0001"
