"""Which mistakes to look at. Probabilities and labels in, indices out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def most_confident_errors(probabilities: ArrayLike, labels: ArrayLike, count: int) -> NDArray[np.int64]:
    """Return the indices of up to ``count`` misclassified images, those the network is surest of first.

    Of equally sure ones (a softmax often says 1), that with the lower probability of its true class comes first,
    then that with the lower index. Rows that are not finite, of a run that diverged, are passed over.

    Args:
        probabilities: (N, classes).
        labels: (N,) true classes.
        count: how many.

    Raises:
        ValueError: if the arrays do not have these shapes.
    """
    p, truth = np.asarray(probabilities, np.float64), np.asarray(labels, np.int64)
    if p.ndim != 2 or truth.shape != p.shape[:1]:
        raise ValueError(f"probabilities must be (N, classes) and labels (N,), got {p.shape} and {truth.shape}")
    wrong = np.flatnonzero(np.isfinite(p).all(axis=1) & (p.argmax(axis=1) != truth))
    order = np.lexsort((p[wrong, truth[wrong]], -p[wrong].max(axis=1)))
    return wrong[order[:count]]
