"""Linear probes: how well a linear classifier reads the classes off each stage of a network."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from regulens.interpret.activations import Batches
from regulens.interpret.representations import layer_features, stages

TRAIN_IMAGES = 5000
VALIDATION_IMAGES = 3000
"""How many images of each part a probe is fitted and scored on, where the part has so many (docs/measures.md)."""
MOST_FEATURES = 1024
"""Maps of more numbers than these are averaged over areas until they are no more."""
INVERSE_STRENGTH = 0.01
"""scikit-learn's C: the sum of the losses counts this times as much as half the squared weights."""
MOST_ITERATIONS = 500
_CONSTANT = 1e-6


def probe_accuracies(
    network: nn.Sequential,
    train: Batches,
    validation: Batches,
    layers: Sequence[str] | None = None,
    most_features: int = MOST_FEATURES,
) -> dict[str, float]:
    """Return the validation accuracy of a linear probe at each stage of a network (Alain and Bengio 2016).

    The network is in eval mode and is left as it was; only the probes learn.

    Args:
        network: the ``expanded()`` form of a CNN.
        train: batches of images (B, H, W, C) float32 scaled and labels (B,) that the probes are fitted on.
        validation: those that they are scored on.
        layers: names of ``representations.stages``; by default all but the logits. The input's probe is the same for
            all networks of one scaling: measure it once.
        most_features: maps of more numbers are averaged over areas, see ``pooled``.

    Returns:
        for each stage the accuracy in [0, 1], see ``linear_probe``.

    Raises:
        UserError: if a stage is not in the network, or there are no images.
    """
    wanted = [name for name in stages(network) if name != "output"] if layers is None else layers
    reduce = partial(pooled, most=most_features)
    fitted_on, train_labels = layer_features(network, train, wanted, reduce)
    scored_on, labels = layer_features(network, validation, wanted, reduce)
    return {name: linear_probe(fitted_on[name], train_labels, scored_on[name], labels) for name in wanted}


def linear_probe(
    train_features: ArrayLike, train_labels: ArrayLike, val_features: ArrayLike, val_labels: ArrayLike
) -> float:
    """Fit multinomial logistic regression and return its accuracy on other images.

    Features are standardized with the mean and standard deviation of the fitted images; those constant among them are
    left out. Then scikit-learn's ``LogisticRegression`` with C = 0.01, L-BFGS from zero to a largest gradient entry of
    0.001 or 500 iterations: nothing is drawn at random and nothing is tuned, so that stages and networks compare. Where
    no feature varies, or the fitted images have one class, the probe says the commonest class.

    Args:
        train_features: (n, p).
        train_labels: (n,) integers.
        val_features: (m, p).
        val_labels: (m,) integers; a class not fitted counts as an error.

    Returns:
        accuracy in [0, 1]; NaN if a feature is not finite: the network diverged.

    Raises:
        ValueError: if the shapes do not match or there are no images.
    """
    x, y = np.asarray(train_features, np.float32), np.asarray(train_labels)
    z, truth = np.asarray(val_features, np.float32), np.asarray(val_labels)
    if x.ndim != 2 or z.shape[1:] != x.shape[1:] or y.shape != x.shape[:1] or truth.shape != z.shape[:1]:
        raise ValueError(f"features and labels do not match: {x.shape}, {y.shape}, {z.shape}, {truth.shape}")
    if not len(x) or not len(z):
        raise ValueError(f"a probe needs images to be fitted and scored on, got {len(x)} and {len(z)}")
    if not (np.isfinite(x).all() and np.isfinite(z).all()):
        return math.nan
    x, z = _standardized(x, z)
    constant = x.shape[1] == 0 or len(np.unique(y)) == 1
    model = (
        DummyClassifier() if constant else LogisticRegression(C=INVERSE_STRENGTH, max_iter=MOST_ITERATIONS, tol=1e-3)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of iterations is part of what the probe is
        model.fit(x, y)
    return float(np.mean(model.predict(z) == truth))


def pooled(maps: Tensor, most: int = MOST_FEATURES) -> Tensor:
    """Average maps (B, H, W, C) over areas of a grid that leaves at most ``most`` numbers, at least one per channel.

    Maps that have no more are returned as they are; the grid is as square as the maps are.
    """
    _, height, width, channels = maps.shape
    if height * width * channels <= most:
        return maps
    areas = max(1, most // channels)
    rows = min(max(1, int(math.sqrt(areas * height / width))), height, areas)
    size = rows, min(areas // rows, width)
    return F.adaptive_avg_pool2d(maps.permute(0, 3, 1, 2), size).permute(0, 2, 3, 1)


def _standardized(x: NDArray[np.float32], z: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return both without the features constant in x, with its mean 0 and its standard deviation 1."""
    mean, sd = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    varies = sd > _CONSTANT * np.abs(x).max(axis=0)
    mean, sd = mean[varies], sd[varies]
    return ((x[:, varies] - mean) / sd).astype(np.float32), ((z[:, varies] - mean) / sd).astype(np.float32)
