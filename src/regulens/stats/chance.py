"""The accuracy that guessing reaches. Plain Python, for what must say quickly which runs collapsed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

BEYOND = 0.001
"""The probability with which guessing may exceed its bound."""


def chance_bound(class_counts: Sequence[int]) -> float:
    """Return the accuracy that guessing the largest class exceeds with probability at most 0.001.

    The 99.9 % quantile of the binomial distribution of right guesses among the images, over their number
    (``scipy.stats.binom``). A run not above it is counted as collapsed.

    Args:
        class_counts: (classes,) number of images of each class in the part that is judged.

    Raises:
        ValueError: if there are no images.
    """
    images, largest = sum(class_counts), max(class_counts, default=0)
    if images == 0:
        raise ValueError("class_counts must hold at least one image, got none")
    above_mode = list(_falling(images, largest))  # of largest, largest + 1, ... right guesses
    below_mode = list(_falling(images, images - largest))  # of as many, and fewer: the wrong guesses, one more each
    allowed = BEYOND * (sum(above_mode) + sum(below_mode[1:]))
    beyond = sum(tail <= allowed for tail in accumulate(reversed(above_mode)))
    return (largest + len(above_mode) - 1 - beyond) / images


def _falling(images: int, mode: int) -> Iterator[float]:
    """Yield the probability of ``mode``, ``mode + 1``, ... successes at a chance of ``mode / images``, the first as 1.

    Until the rest is too small to matter.
    """
    probability, successes = 1.0, mode
    while probability > 1e-20:
        yield probability
        if successes == images:
            return
        probability *= (images - successes) / (successes + 1) * (mode / (images - mode))
        successes += 1
