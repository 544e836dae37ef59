"""Is a picture like the images that networks were trained on? Told from pixels alone, before any network sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regulens.data.dataset import Dataset
from regulens.data.split import Split

USUAL = 0.99
"""The part of the training images' borders, and of the validation images' distances, that counts as usual."""
REFERENCES = 1000
"""Validation images, the first of the split's random order, whose distances a picture's is compared with."""
_AT_ONCE = 2000
_MIDDLE = 127.5

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Usual:
    """A value of a picture beside what is usual: ``middle`` the median, ``low`` and ``high`` the ends."""

    value: float
    low: float
    middle: float
    high: float

    @property
    def outside(self) -> bool:
        """Whether the value is beyond the ends."""
        return not self.low <= self.value <= self.high


@dataclass(frozen=True)
class Novelty:
    """What tells a picture from the training images, in gray levels from 0 to 255.

    Attributes:
        border: median of its outermost pixels, beside the central 99 % of the training images'.
        brightness: mean of its pixels, beside the range of all training images'.
        contrast: their standard deviation, likewise.
        distance: root mean square difference from the nearest training image, beside that of validation images from
            theirs: from none to the 99th percentile.
    """

    border: Usual
    brightness: Usual
    contrast: Usual
    distance: Usual

    @property
    def inverted(self) -> bool:
        """Whether its border is bright where the usual ones are all dark, or the other way round."""
        own, usual = self.border.value, self.border
        return usual.high <= _MIDDLE < own or own <= _MIDDLE < usual.low

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know, a sentence each; none of an ordinary picture."""
        found = []
        if self.inverted:
            own, usual = (_bright(value) for value in (self.border.value, self.border.middle))
            found.append(f"its border is {own}, that of the data set {usual}: inverted?")
        if self.distance.outside:
            found.append(
                f"unlike the training images: the nearest differs by {self.distance.value:.0f} gray levels (RMS), of "
                f"validation images {100 * USUAL:.0f} % have one within {self.distance.high:.0f}"
            )
        for name, each in (("brightness", self.brightness), ("contrast", self.contrast)):
            if each.outside:
                found.append(
                    f"unlike all training images in {name}: {each.value:.0f}, theirs {each.low:.0f} to {each.high:.0f}"
                )
        return tuple(found)


def novelties(pictures: Images, dataset: Dataset, parts: Split) -> list[Novelty]:
    """Compare pictures (N, H, W, C) uint8 with the training images of a split, and these with validation images."""
    train = parts.train
    references = nearest_distances(dataset.images[parts.validation[:REFERENCES]], dataset, train)
    middle, far = np.quantile(references, (0.5, USUAL), method="higher")
    ends = (1 - USUAL) / 2
    rows = zip(
        _beside(borders(pictures), _measured(borders, dataset, train), ends),
        _beside(_brightness(pictures), _measured(_brightness, dataset, train), 0),
        _beside(_contrast(pictures), _measured(_contrast, dataset, train), 0),
        [Usual(float(each), 0.0, float(middle), float(far)) for each in nearest_distances(pictures, dataset, train)],
        strict=True,
    )
    return [Novelty(*row) for row in rows]


def borders(images: Images) -> NDArray[np.float64]:
    """Return for images (N, H, W, C) the median (N,) of their outermost pixels, in gray (the mean over channels)."""
    edges = [images[:, 0], images[:, -1], images[:, 1:-1, 0], images[:, 1:-1, -1]]
    outermost = np.concatenate(edges, axis=1).mean(axis=2, dtype=np.float64)
    return np.asarray(np.median(outermost, axis=1))


def nearest_distances(images: Images, dataset: Dataset, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (N,): the root mean square difference of images (N, H, W, C) from the nearest of the indexed images.

    Float32 by way of the squares' sums: exact to a tenth of a gray level.
    """
    flat = images.reshape(len(images), -1).astype(np.float32)
    squares = (flat**2).sum(axis=1)
    nearest = np.full(len(flat), np.inf, np.float32)
    for start in range(0, len(indices), _AT_ONCE):
        others = dataset.images[indices[start : start + _AT_ONCE]].reshape(-1, flat.shape[1]).astype(np.float32)
        distances = (others**2).sum(axis=1) - 2 * (flat @ others.T)
        np.minimum(nearest, squares + distances.min(axis=1), out=nearest)
    return np.sqrt(np.maximum(nearest, 0) / flat.shape[1]).astype(np.float64)


def _brightness(images: Images) -> NDArray[np.float64]:
    return np.asarray(images.mean(axis=(1, 2, 3), dtype=np.float64))


def _contrast(images: Images) -> NDArray[np.float64]:
    return np.asarray(images.std(axis=(1, 2, 3), dtype=np.float64))


def _measured(
    measure: Callable[[Images], NDArray[np.float64]], dataset: Dataset, indices: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Measure the indexed images, few at a time to save memory."""
    parts = (indices[start : start + _AT_ONCE] for start in range(0, len(indices), _AT_ONCE))
    return np.concatenate([measure(dataset.images[part]) for part in parts])


def _beside(values: NDArray[np.float64], usual: NDArray[np.float64], ends: float) -> list[Usual]:
    low, middle, high = (float(each) for each in np.quantile(usual, (ends, 0.5, 1 - ends)))
    return [Usual(float(value), low, middle, high) for value in values]


def _bright(value: float) -> str:
    return f"{'bright' if value > _MIDDLE else 'dark'} ({value:.0f})"
