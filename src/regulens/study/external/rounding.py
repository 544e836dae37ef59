"""Numbers that are the same but for the precision that they went through."""

from __future__ import annotations

import math

import numpy as np

_ROUNDING = 1e-13  # relative, of sums such as 0.1 + 0.2
_NEAR = 1e-2  # relative: more than half precision rounds by


def same_number(a: float, b: float) -> bool:
    """Tell whether two numbers are equal up to rounding in double, single or half precision; whole ones if equal."""
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    if math.isclose(a, b, rel_tol=_ROUNDING):
        return True
    if isinstance(a, int) or isinstance(b, int) or not math.isclose(a, b, rel_tol=_NEAR):
        return False
    short, long = sorted((a, b), key=lambda number: len(repr(number)))
    of_single = _within(a, np.float32) and np.float32(a) == np.float32(b)
    return bool(of_single or (_within(short, np.float16) and long == float(np.float16(short))))


def in_single_precision(number: float) -> str:
    """Return the fewest digits that mean a number in single precision; all of them if it is whole, or too large."""
    return str(np.float32(number)) if number % 1 and _within(number, np.float32) else f"{number:.17g}"


def _within(number: float, kind: type[np.float32 | np.float16]) -> bool:
    """Tell whether a number is neither too small nor too large for all digits of a kind."""
    bounds = np.finfo(kind)
    return float(bounds.tiny) < abs(number) < float(bounds.max) / 2
