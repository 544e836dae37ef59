"""Cells by the levels of their factors, and linear contrasts of independent estimates from the interval of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from regulens.stats.intervals import Interval
from regulens.stats.ties import cancelled

Level = bool | int | float | str
Levels = tuple[Level, ...]


def place_text(levels: Mapping[str, Level]) -> str:
    """Return levels in words: ``depth 1, regularizer none``."""
    return ", ".join(f"{factor} {level}" for factor, level in levels.items())


def mover_contrast(intervals: Sequence[Interval], weights: Sequence[float]) -> Interval:
    """Return the weighted sum of independent estimates from their intervals of one level (MOVER).

    Each bound is recovered from the bounds of the parts on the side that the weight turns them to (Zou and Donner
    2008, Statistics in Medicine 27, 1693-1702), so that the asymmetry of each part is kept; p has no place in it.

    Raises:
        ValueError: if the levels differ.
    """
    levels = {interval.level for interval in intervals}
    if len(levels) != 1:
        raise ValueError(f"the intervals must have one level, got {sorted(levels)}")
    terms = [
        (w * x.estimate, w * (x.low if w > 0 else x.high), w * (x.high if w > 0 else x.low))
        for x, w in zip(intervals, weights, strict=True)
    ]
    middles = [middle for middle, _, _ in terms]
    estimate = cancelled(sum(middles), middles)
    low = estimate - math.hypot(*(middle - low for middle, low, _ in terms))
    high = estimate + math.hypot(*(high - middle for middle, _, high in terms))
    return Interval(estimate, low, high, levels.pop())
