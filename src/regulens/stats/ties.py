"""What is equal but for rounding: values, sums and orders that floating point alone tells apart.

Accuracies such as 0.8123 or 7,311 / 9,000 are rounded when they are stored, and differences of them once more: what
ties on paper then differs in the last places. Ranks, the choice of the best, and the comparison with an edge must not
depend on that.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
from numpy.typing import ArrayLike, NDArray

ROUNDING = 2.0**-47
"""Relative to its largest term, 64 times the rounding of one: what a sum is right to (7e-15)."""

COMPUTED = 2.0**-40
"""Relative: numbers that agree to twelve digits are one number, got in two ways, as 0.91 - 0.87 and 0.95 - 0.91."""

_DIGITS = ((np.float32, 6), (np.float64, 15))  # a decimal of so many digits comes back from the type as it was written
_LARGEST_DENOMINATOR = 100_000
_LARGEST_WHOLE = 2**52
_UNSURE = 0.02  # of a step: where rounding is more, many a denominator would fit


def constant(*values: NDArray[np.float64]) -> bool:
    """Tell whether all values of some arrays are the same but for rounding."""
    lowest = min(float(each.min()) for each in values)
    highest = max(float(each.max()) for each in values)
    return highest - lowest <= ROUNDING * max(-lowest, highest)


def cancelled(total: float, terms: ArrayLike) -> float:
    """Return a sum, zero where it is not above what rounding leaves of such terms when they cancel."""
    return 0.0 if abs(total) <= ROUNDING * float(np.abs(terms).max()) else total


def best_of_equals(values: Sequence[float], higher: bool = True) -> list[int]:
    """Return the indices of the highest (or lowest) value and of those equal to it but for rounding."""
    merit = np.asarray(values, np.float64) * (1 if higher else -1)
    best = merit.max()
    return [int(index) for index in np.flatnonzero(merit >= best - COMPUTED * abs(best))]


def first_best(merit: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return (rows,) the place of the highest of each row of merits, the first of those equal but for rounding."""
    best = merit.max(axis=1, keepdims=True)
    return np.asarray(np.argmax(merit >= best - COMPUTED * np.abs(best), axis=1), np.int64)


def joined(groups: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Return the groups with values that differ by rounding alone, in any of them, made the same: their lowest.

    Decimals as they were written differ if they are written differently. Otherwise rounding is measured by the median
    size of all values, so that one that diverged does not join the others, and by a value's own where that is larger.
    """
    every = np.concatenate(groups)
    if all(_decimal(float(value)) is not None for value in every):
        return list(groups)
    order = np.argsort(every, kind="stable")
    ordered = every[order]
    size = np.maximum(np.median(np.abs(every)), np.abs(ordered[1:]))
    starts = np.append(True, np.diff(ordered) > COMPUTED * size)
    lowest = ordered[np.maximum.accumulate(np.where(starts, np.arange(len(ordered)), 0))]
    every[order] = lowest
    return np.split(every, np.cumsum([len(group) for group in groups])[:-1])


def whole_steps(values: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """Return (n,) values as whole numbers of one step above the lowest, exact; ``None`` where they have no such step.

    The step is a power of ten where all values are decimals of few digits, in double or single precision, otherwise
    one over the number of judged images, up to 100,000: then the numbers are those that were meant, before anything
    was rounded.
    """
    numbers = _decimal_steps(values)
    if numbers is None:
        numbers = _fraction_steps(values, np.float64)
    if numbers is None and np.abs(values).max() <= float(np.finfo(np.float32).max):
        single = np.array_equal(values, values.astype(np.float32))
        numbers = _fraction_steps(values, np.float32) if single else None
    return numbers


def _decimal_steps(values: NDArray[np.float64]) -> NDArray[np.int64] | None:
    unique, place = np.unique(values, return_inverse=True)
    decimals = [_decimal(float(value)) for value in unique]
    known = [each for each in decimals if each is not None]
    if len(known) < len(decimals):
        return None
    places = max(-int(each.as_tuple().exponent) for each in known)
    numbers = [int(each.scaleb(places)) for each in known]
    above = [number - min(numbers) for number in numbers]
    return np.array(above, np.int64)[place] if max(above) <= _LARGEST_WHOLE else None


def _decimal(value: float) -> Decimal | None:
    """Return the decimal that a value was written as, ``None`` if it has more digits than its type keeps."""
    for kind, digits in _DIGITS:
        if abs(value) <= float(np.finfo(kind).max) and float(kind(value)) == value:
            written = Decimal(str(kind(value))).normalize()
            if len(written.as_tuple().digits) <= digits:
                return written
    return None


def _fraction_steps(values: NDArray[np.float64], kind: type[np.float64] | type[np.float32]) -> NDArray[np.int64] | None:
    """Return whole numbers over the least denominator of which all values are multiples, as far as the type tells."""
    rounding = 2 * float(np.finfo(kind).eps)  # of a quotient, and of what it was taken from
    most = min(_LARGEST_DENOMINATOR, _UNSURE / (rounding * float(np.abs(values).max())))
    denominators = np.arange(1, int(most) + 1, dtype=np.float64)
    for value in np.unique(values):
        product = value * denominators
        denominators = denominators[np.abs(product - np.rint(product)) <= rounding * np.abs(product)]
        if not len(denominators):
            return None
    numbers = np.rint(values * denominators[0])
    return np.asarray(numbers - numbers.min(), np.int64)
