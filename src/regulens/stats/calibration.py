"""Do probabilities mean what they say? Reliability, expected calibration error, Brier score, log loss.

Confidence is the probability of the predicted class, and a network is calibrated if of the images to which it gives
the confidence 0.8 it gets 80 % right.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regulens.stats.intervals import Interval
from regulens.stats.likelihood import negative_log_likelihood
from regulens.stats.means import mean_interval

Binning = Literal["width", "mass"]

BINS = 15
_CLEAR = 4
"""A gap counts for the lower bound by how far its square exceeds so many times the variance of its noise."""
_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Reliability:
    """Images by their confidence: what a reliability diagram shows.

    Attributes:
        edges: (bins + 1,) of confidence; a bin holds its upper edge.
        images: (bins,) how many.
        confidence: (bins,) their mean confidence, NaN in an empty bin.
        accuracy: (bins,) the share of them predicted right, NaN in an empty bin.
    """

    edges: NDArray[np.float64]
    images: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def plug_in_error(self) -> float:
        """The expected calibration error as it is usually printed: the images' mean of |accuracy - confidence|."""
        weights = self.images / self.images.sum()
        return float(np.nansum(weights * np.abs(self.accuracy - self.confidence)))


@dataclass(frozen=True)
class Calibration:
    """How far a network's probabilities can be trusted, over the images of one part.

    Attributes:
        images: how many.
        accuracy: share predicted right.
        confidence: mean probability of the predicted class.
        overconfidence: confidence - accuracy, with an interval over images; positive: it claims more than it keeps.
        error: expected calibration error without its bias, with an interval over images (see
            ``calibration_error``).
        plug_in_error: the same as it is usually printed, too large by the noise of the bins.
        brier: mean squared distance of the probabilities from the truth, 0 to 2 (Brier 1950).
        log_loss: mean of -log of the true class's probability, in nats.
    """

    images: int
    accuracy: float
    confidence: float
    overconfidence: Interval
    error: Interval
    plug_in_error: float
    brier: float
    log_loss: float


def calibration(
    probabilities: ArrayLike,
    labels: ArrayLike,
    rng: np.random.Generator,
    *,
    bins: int = BINS,
    binning: Binning = "width",
    level: float = 0.95,
) -> Calibration:
    """Measure the calibration of one network's probabilities.

    Args:
        probabilities: (N, classes).
        labels: (N,) the true classes.
        rng: consumed by the interval of the expected calibration error.
        bins: of the reliability diagram.
        binning: of equal ``width``, or of equal ``mass``.
        level: of the intervals.

    Raises:
        ValueError: if the shapes do not match, there are no images, or what is given is not probabilities.
    """
    p, truth = _checked(probabilities, labels)
    confidence, hit = _top(p, truth)
    table = _table(confidence, hit, bins, binning)
    residual = p.copy()
    residual[np.arange(len(p)), truth] -= 1
    return Calibration(
        len(p),
        float(hit.mean()),
        float(confidence.mean()),
        mean_interval(confidence - hit, level).within((-1.0, 1.0)),
        calibration_error(table, rng, level),
        table.plug_in_error,
        float((residual**2).sum(axis=1).mean()),
        float(negative_log_likelihood(p, truth).mean()),
    )


def reliability(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS, binning: Binning = "width"
) -> Reliability:
    """Sort images into bins by confidence (DeGroot and Fienberg 1983; Guo et al. 2017, ICML, 15 of equal width).

    Args:
        probabilities: (N, classes).
        labels: (N,) the true classes.
        bins: how many.
        binning: ``width`` divides 0 to 1 evenly, ``mass`` the images; where many images have the same confidence bins
            of equal mass are fewer.

    Raises:
        ValueError: if the shapes do not match, there are no images, or what is given is not probabilities.
    """
    return _table(*_top(*_checked(probabilities, labels)), bins, binning)


def calibration_error(table: Reliability, rng: np.random.Generator, level: float = 0.95, draws: int = 4000) -> Interval:
    """Return the expected calibration error of the binned confidences, without its bias, with an interval over images.

    The plug-in error ``T = sum_b w_b |a_b - c_b|`` (w: share of images, a: accuracy, c: confidence) takes noise for
    miscalibration: that of a calibrated network is not 0 (Broecker 2012; Kumar, Liang and Ma 2019, NeurIPS). So the
    test is inverted: were the true gaps ``s g_b``, with s >= 0, then T would be distributed as
    ``T(s) = sum_b w_b |s g_b + e_b|``, with e_b normal, of the variance of an accuracy in that bin, and a term for the
    images falling into other bins. The estimate is the error ``s sum_b w_b g_b`` at which T is the median of T(s), or
    0, the gaps g_b being the observed ones. The upper bound is where P(T(s) <= T) is half of 1 - level times
    P(T(0) <= T), T being taken to be no less than the T(0) of that probability: both keep it above 0 if the noise
    happens to be small (Read 2002, Journal of Physics G 28, 2693-2704). The lower bound is where P(T(s) >= T) is half
    of 1 - level, or 0, with gaps less their noise, ``sqrt(max((a_b - c_b)^2 - 4 v_b, 0))``: one bin that is off
    shall not be spread over all. How often the interval covers: docs/measures.md.

    Args:
        table: of one network.
        rng: consumed.
        level: e.g. 0.95.
        draws: of T(s), the same for all s, each with its mirror image.
    """
    kept = table.images > 0
    images = table.images[kept].astype(np.float64)
    gap = np.abs(table.accuracy - table.confidence)[kept]
    likely = (images * table.accuracy[kept] + table.confidence[kept] + 0.5) / (images + 2)  # never without noise
    variance = likely * (1 - likely) / images
    normal = rng.standard_normal((draws, len(images) + 1))
    normal = np.concatenate([normal, -normal])
    raw = _Gaps(gap if gap.any() else np.sqrt(variance), images / images.sum(), variance, float(images.sum()))
    cleared = np.sqrt(np.maximum(gap**2 - _CLEAR * variance, 0))
    clear = replace(raw, sizes=cleared) if cleared.any() else raw
    plug_in, tail = float(raw.weights @ gap), (1 - level) / 2
    low = clear.error_where(normal, plug_in, 1 - tail)
    estimate = raw.error_where(normal, plug_in, 0.5)
    seen = max(plug_in, float(np.quantile(raw.drawn(normal, 0.0), tail)))  # less than noise says nothing
    high = raw.error_where(normal, seen, tail * raw.at_most(normal, seen, 0.0))
    return Interval(estimate, min(low, estimate), high, level)


@dataclass(frozen=True, eq=False)
class _Gaps:
    """Assumed gaps of the bins up to a factor, (bins,), the bins' shares and noise variances, the number of images."""

    sizes: NDArray[np.float64]
    weights: NDArray[np.float64]
    variances: NDArray[np.float64]
    images: float

    @property
    def error(self) -> float:
        """The expected calibration error if these are the gaps."""
        return float(self.weights @ self.sizes)

    def drawn(self, normal: NDArray[np.float64], s: float) -> NDArray[np.float64]:
        """Return (draws,) of T(s) from (draws, bins + 1) normal numbers, the last for the images' places."""
        moved = math.sqrt(max(float(self.weights @ self.sizes**2) - self.error**2, 0.0) / self.images)
        noise = normal[:, :-1] * np.sqrt(self.variances)
        return np.asarray(np.abs(s * self.sizes + noise) @ self.weights + s * moved * normal[:, -1])

    def at_most(self, normal: NDArray[np.float64], plug_in: float, s: float) -> float:
        """Return P(T(s) <= plug_in)."""
        return float(np.mean(self.drawn(normal, s) <= plug_in))

    def error_where(self, normal: NDArray[np.float64], plug_in: float, share: float) -> float:
        """Return the least error in [0, 1] under which the plug-in error is not exceeded with this probability."""
        scale = _first(lambda s: self.at_most(normal, plug_in, s) <= share, 1 / self.error)
        return scale * self.error


def _first(reached: Callable[[float], bool], most: float) -> float:
    """Return the least s in [0, most] from which on a condition holds, ``most`` if it never does."""
    if reached(0.0):
        return 0.0
    low, high = 0.0, most
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _checked(probabilities: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    p, truth = np.asarray(probabilities, np.float64), np.asarray(labels, np.int64)
    if p.ndim != 2 or truth.shape != p.shape[:1] or not p.size:
        raise ValueError(f"probabilities must be (images, classes), labels (images,), got {p.shape}, {truth.shape}")
    wrong = ~(np.isfinite(p).all(axis=1) & (p >= 0).all(axis=1) & (np.abs(p.sum(axis=1) - 1) <= _TOLERANCE))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(f"probabilities of image {row} are not finite, positive and of sum 1: {p[row][:5]}")
    if truth.min() < 0 or truth.max() >= p.shape[1]:
        raise ValueError(f"labels must be 0 to {p.shape[1] - 1}, got {truth.min()} to {truth.max()}")
    return p, truth


def _top(p: NDArray[np.float64], truth: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (N,) the probability of the predicted class, at most 1, and 1.0 where it is the true one, else 0.0."""
    return np.minimum(p.max(axis=1), 1.0), (p.argmax(axis=1) == truth).astype(np.float64)


def _table(confidence: NDArray[np.float64], hit: NDArray[np.float64], bins: int, binning: Binning) -> Reliability:
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    edges = np.linspace(0, 1, bins + 1)
    if binning == "mass":
        inner = np.quantile(confidence, edges[1:-1], method="inverted_cdf")
        edges = np.unique([0.0, *inner, 1.0])
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, len(edges) - 2)
    images = np.bincount(place, minlength=len(edges) - 1)
    per_image = np.where(images > 0, 1 / np.maximum(images, 1), np.nan)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(place, values, len(images)) * per_image, np.float64)

    return Reliability(edges, images, mean(confidence), mean(hit))
