"""Examples of every class, with their names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from regulens.data.dataset import Dataset
from regulens.figures.style import bare, house_style, new_figure


@dataclass(frozen=True, eq=False)
class GalleryInfo:
    """One strip of images per class: (height, examples * width, channels) uint8, with the class's name."""

    strips: tuple[NDArray[np.uint8], ...]
    names: tuple[str, ...]


def gallery_info(dataset: Dataset, indices: NDArray[np.int64], examples: int = 10) -> GalleryInfo:
    """Take the first ``examples`` images of each class among ``indices``; a missing one is left black."""
    height, width, channels = dataset.image_shape
    strips = []
    for label in range(len(dataset.class_names)):
        chosen = indices[dataset.labels[indices] == label][:examples]
        strip = np.zeros((height, examples * width, channels), np.uint8)
        for place, index in enumerate(chosen):
            strip[:, place * width : (place + 1) * width] = dataset.images[index]
        strips.append(strip)
    return GalleryInfo(tuple(strips), dataset.class_names)


def draw_gallery(info: GalleryInfo) -> Figure:
    """Draw one row per class, its name beside it."""
    height, width, channels = info.strips[0].shape
    row = 6.0 * height / width
    with house_style():
        figure = new_figure(7.2, row * len(info.strips) * 1.12)
        for axes, strip, name in zip(
            np.atleast_1d(figure.subplots(len(info.strips), 1)), info.strips, info.names, strict=True
        ):
            picture = strip[..., 0] if channels == 1 else strip
            axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10)
            bare(axes)
    return figure
