"""Descriptions of what the runs of a cell came to. Arrays in, numbers out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom

COLLAPSE_QUANTILE = 0.999


def chance_bound(class_counts: ArrayLike) -> float:
    """Return the accuracy that guessing the largest class exceeds with probability at most 0.001.

    The 99.9 % quantile of the binomial distribution of right guesses among the images, over their number
    (``scipy.stats.binom``). A run not above it is counted as collapsed.

    Args:
        class_counts: (classes,) number of images of each class in the part that is judged.

    Raises:
        ValueError: if there are no images.
    """
    counts = np.asarray(class_counts)
    images = int(counts.sum())
    if images == 0:
        raise ValueError("class_counts must hold at least one image, got none")
    return float(binom.ppf(COLLAPSE_QUANTILE, images, counts.max() / images) / images)


@dataclass(frozen=True)
class Summary:
    """Of n values: median, mean, sample standard deviation (NaN for n = 1), smallest and largest."""

    n: int
    median: float
    mean: float
    sd: float
    low: float
    high: float


def summarize(values: ArrayLike) -> Summary:
    """Describe (n,) values.

    Raises:
        ValueError: if there are none.
    """
    x: NDArray[np.float64] = np.asarray(values, np.float64)
    if x.ndim != 1 or len(x) == 0:
        raise ValueError(f"values must be a non-empty vector, got shape {x.shape}")
    sd = float(x.std(ddof=1)) if len(x) > 1 else float("nan")
    return Summary(len(x), float(np.median(x)), float(x.mean()), sd, float(x.min()), float(x.max()))
