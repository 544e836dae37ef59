"""Robustness: accuracy on images that are noisy, blurred, shifted or low in contrast, in five severities."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from regulens.errors import UserError, suggestion

SEVERITIES = 5
_SIDES = np.array([[0, 1], [1, 0], [0, -1], [-1, 0]])
_AT_ONCE = 2_000_000
"""Pixels that are corrupted in one piece."""

Images = NDArray[np.uint8]
Pixels = NDArray[np.float32]
"""Changed pixels, neither rounded nor cut off."""
Predict = Callable[[Images], NDArray[np.integer]]


def noise(images: Images, strength: float, rng: np.random.Generator) -> Pixels:
    """Add normal noise of standard deviation ``strength`` times 255, each pixel and channel by itself."""
    return images + np.float32(255 * strength) * rng.standard_normal(images.shape, np.float32)


def blur(images: Images, strength: float, _rng: np.random.Generator) -> Pixels:
    """Blur with a Gaussian of standard deviation ``strength`` times the shorter side, edges carried on."""
    sigma = strength * min(images.shape[1:3])
    return np.asarray(ndimage.gaussian_filter(images.astype(np.float32), (0, sigma, sigma, 0), mode="nearest"))


def shift(images: Images, strength: float, rng: np.random.Generator) -> Pixels:
    """Move each image by ``strength`` times its side to one of four sides at random, edge pixels carried on.

    Whole pixels, rounded up.
    """
    height, width = images.shape[1:3]
    sides = _SIDES[rng.integers(len(_SIDES), size=len(images))]
    rows = np.clip(np.arange(height) + sides[:, :1] * pixels(strength, height), 0, height - 1)
    columns = np.clip(np.arange(width) + sides[:, 1:] * pixels(strength, width), 0, width - 1)
    moved = images[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return np.asarray(moved, np.float32)


def contrast(images: Images, strength: float, _rng: np.random.Generator) -> Pixels:
    """Take ``strength`` of each channel's deviation from the mean of its image away."""
    mean = images.mean(axis=(1, 2), keepdims=True, dtype=np.float32)
    return np.asarray(mean + np.float32(1 - strength) * (images - mean), np.float32)


CORRUPTIONS: dict[str, tuple[Callable[[Images, float, np.random.Generator], Pixels], tuple[float, ...]]] = {
    "noise": (noise, (0.04, 0.08, 0.12, 0.18, 0.26)),
    "blur": (blur, (0.0125, 0.02, 0.03, 0.045, 0.06)),
    "shift": (shift, (0.04, 0.08, 0.12, 0.16, 0.2)),
    "contrast": (contrast, (0.25, 0.5, 0.6, 0.7, 0.85)),
}
"""What each does and its strengths at severities 1 to 5: shares of 255, of the image's side, or of the contrast.

After Hendrycks and Dietterich 2019 (ICLR): gaussian noise, gaussian blur and contrast are theirs (strengths within the
range of their CIFAR-10-C and ImageNet-C, blur and shift relative to the side so that they fit 8 pixels and 224).
"""


def corrupt(images: Images, kind: str, severity: int, rng: np.random.Generator) -> Images:
    """Return corrupted copies of images, as they are before any scaling.

    With a generator of the same seed the severities of one kind share their draws: a severer noise is the same noise,
    larger; a longer shift goes to the same side.

    Args:
        images: (N, H, W, C) uint8.
        kind: a key of ``CORRUPTIONS``.
        severity: 1 to 5; 0 returns a copy as it is.
        rng: consumed by noise and shift.

    Returns:
        (N, H, W, C) uint8, rounded and cut off at 0 and 255.

    Raises:
        UserError: if there is no such kind or severity.
        ValueError: if the images are not (N, H, W, C) uint8.
    """
    if kind not in CORRUPTIONS:
        raise UserError(f'"{kind}" is not a corruption{suggestion(kind, CORRUPTIONS)}')
    if not 0 <= severity <= SEVERITIES:
        raise UserError(f"severity must be 0 (as it is) to {SEVERITIES}, got {severity}")
    if images.ndim != 4 or images.dtype != np.uint8:
        raise ValueError(f"images must be (N, H, W, C) uint8, got {images.dtype} of shape {images.shape}")
    if severity == 0:
        return images.copy()
    change, strengths = CORRUPTIONS[kind]
    changed = change(images, strengths[severity - 1], rng)
    return np.asarray(np.clip(np.rint(changed), 0, 255), np.uint8)


def strength_in_words(kind: str, severity: int, image_shape: tuple[int, int, int]) -> str:
    """Say what a severity comes to in images of this shape (H, W, C), such as "sd 31 of 255" or "3 pixels".

    In very small images two severities may round to the same shift.
    """
    strength = CORRUPTIONS[kind][1][severity - 1]
    height, width = image_shape[:2]
    if kind == "noise":
        return f"sd {255 * strength:.0f} of 255"
    if kind == "blur":
        return f"sd {strength * min(height, width):.2g} pixels"
    if kind == "contrast":
        return f"{round(100 * (1 - strength))} % left"
    down, across = pixels(strength, height), pixels(strength, width)
    far = f"{down}" if down == across else f"{down} down or {across} across"
    return f"{far} pixel{'s' if (down, across) != (1, 1) else ''}"


def pixels(strength: float, side: int) -> int:
    """Return a share of a side in whole pixels, rounded up."""
    return math.ceil(round(strength * side, 6))


def corrupted_accuracies(
    networks: Sequence[Predict],
    images: Images,
    labels: NDArray[np.integer],
    seed: int,
    kinds: Sequence[str] = tuple(CORRUPTIONS),
) -> NDArray[np.float64]:
    """Return the accuracies of networks on the same corrupted images: each is made once, for all networks.

    Args:
        networks: each takes (B, H, W, C) uint8 and returns (B,) the class it predicts.
        images: (N, H, W, C) uint8.
        labels: (N,).
        seed: of the draws of noise and of the sides of shifts.
        kinds: keys of ``CORRUPTIONS``.

    Returns:
        (networks, kinds, 6) in [0, 1]; severity 0, the images as they are, to 5.

    Raises:
        UserError: if there is no such kind.
        ValueError: if the images and labels do not match or there are none.
    """
    if labels.shape != images.shape[:1] or not len(labels):
        raise ValueError(f"every image needs a label, got {len(images)} images and labels of shape {labels.shape}")
    hits = np.empty((len(networks), len(kinds), SEVERITIES + 1), np.int64)
    for place, kind in enumerate(kinds):
        for severity in range(1, SEVERITIES + 1):
            hits[:, place, severity] = _hits(networks, _pieces(images, labels, kind, severity, seed=seed))
    if kinds:
        hits[:, :, 0] = _hits(networks, _pieces(images, labels, kinds[0], 0, seed=seed))[:, None]
    return hits / len(labels)


def _pieces(
    images: Images, labels: NDArray[np.integer], kind: str, severity: int, *, seed: int
) -> Iterator[tuple[Images, NDArray[np.integer]]]:
    """Yield corrupted images and their labels, few at a time: images of 224 x 224 fill the memory."""
    rng = np.random.default_rng([seed, *kind.encode()])
    size = max(1, _AT_ONCE // math.prod(images.shape[1:]))
    for start in range(0, len(images), size):
        yield corrupt(images[start : start + size], kind, severity, rng), labels[start : start + size]


def _hits(networks: Sequence[Predict], pieces: Iterable[tuple[Images, NDArray[np.integer]]]) -> NDArray[np.int64]:
    """Return (networks,) how many images each gets right."""
    hits = np.zeros(len(networks), np.int64)
    for images, labels in pieces:
        hits += [np.count_nonzero(predict(images) == labels) for predict in networks]
    return hits
