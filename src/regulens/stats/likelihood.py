"""The negative log-likelihood of single images. NumPy alone, for what must start quickly."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAST = float(np.finfo(np.float32).tiny)
"""A probability of the true class below this counts as this: the smallest normal number of float32, 87.3 nats."""


def negative_log_likelihood(probabilities: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """Return minus the log of each image's probability of its true class, in nats, at most ``-log(LEAST)``.

    The mean is the cross-entropy that training minimizes, which is not bounded: it is computed from logits.

    Args:
        probabilities: (N, classes); what is NaN gives NaN.
        labels: (N,) the true classes.
    """
    p, truth = np.asarray(probabilities), np.asarray(labels, np.int64)
    return -np.log(np.maximum(p[np.arange(len(p)), truth].astype(np.float64), LEAST))
