"""The kernels of a convolution as one picture: filters in rows, a column per input channel; or filters in colours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from regulens.figures.kernel_layout import KernelLayout, fitted, layout, means_note, room
from regulens.figures.parts import in_lines, lines_of, signed, text_width
from regulens.figures.style import GAP_COLOUR, bare, house_style, new_figure
from regulens.interpret.kernels import (
    GAP,
    MOST,
    Scaling,
    Shown,
    choose_kernels,
    finite_range,
    lay_out_rows,
    rgb_kernels,
    scale_kernels,
)
from regulens.weights.kernels import ConvKernels
from regulens.weights.lazy import Numbers, blocks, chosen

SIGNED_GAP = "#9aa0a8"
"""Between kernels whose colours are red, white and blue."""
NOT_FINITE_COLOUR = "#ffc400"
"""Of a weight that is NaN or infinite, in every picture."""
_NOT_FINITE = 2.0
"""What stands for such a weight among tiles, where NaN is what lies between kernels."""
_LABEL = 0.13
"""Inches from number to number along an axis."""
_COLOURED = 96
"""Pixels that a kernel in colours takes at most of a PNG."""
_LETTERS = 70
"""In a line of the title or of what stands below it."""


@dataclass(frozen=True, eq=False)
class KernelsInfo:
    """The tiled picture (NaN between kernels), its titles, and what its rows and columns are.

    tiles: (H, W) float32 in [0, 1], signed in [-1, 1], or (H, W, 3) in [0, 1] for filters in colours; 2 where a weight
    is not finite. ``kernel`` is the height and width of a kernel in pixels of the tiles, ``layout`` says how many
    filters stand in a row and how large they are drawn. ``limit`` is the weight of the ends of a signed scale, None
    for gray and colours.
    """

    title: str
    subtitle: str
    tiles: NDArray[np.float32]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    kernel: tuple[int, int]
    layout: KernelLayout
    limit: float | None = None


def kernels_info(kernels: ConvKernels, scaling: Scaling, network: str, shown: Shown | None = None) -> KernelsInfo:
    """Tile one layer's kernels; ``network`` says whose they are.

    Kernels of 1x1 are not scaled one by one, as a single value has no contrast of its own. Of a large layer the first
    page of filters and channels is drawn, or those of ``shown``; the subtitle says which.
    """
    filters, channels, height, width = kernels.numbers.shape
    scaling = drawable_scaling(scaling, height, width)
    shown = shown or choose_kernels(filters, channels, most=room(channels, height, width))
    part = chosen(kernels.numbers, shown.filters, shown.channels)
    tiles = marked(fitted(scale_kernels(part, scaling, kernels.numbers)))
    place = layout(len(shown.filters), len(shown.channels), tiles.shape[2:4])
    lines = [shown.words, _color_note(kernels.numbers, scaling), not_finite_note(kernels.numbers)]
    return KernelsInfo(
        *_titles(kernels, network, lines),
        lay_out_rows(tiles, place.across, place.beside),
        _row_names(shown.filters, place.across),
        _numbers(shown.channels) * place.across if channels > 1 else (),
        (tiles.shape[2], tiles.shape[3]),
        place,
        greatest(kernels.numbers) if scaling == "signed" else None,
    )


def drawable_scaling(scaling: Scaling, height: int, width: int) -> Scaling:
    """Return the scale for kernels of this size: a single value has no contrast of its own, only within the layer."""
    return "layer" if height * width == 1 and scaling == "kernel" else scaling


def rgb_info(kernels: ConvKernels, scaling: Scaling, network: str, shown: Shown | None = None) -> KernelsInfo:
    """Show the filters of a layer that sees colours as pictures in colours, several in a row.

    Raises:
        ValueError: if the layer's input channels are not three.
    """
    filters, _, height, width = kernels.numbers.shape
    shown = shown or choose_kernels(filters, 3, most=rgb_room(height, width))
    pictures = rgb_kernels(kernels.numbers[shown.filters], scaling, kernels.numbers)
    tiles = marked(fitted(pictures[:, None]))
    size = (tiles.shape[2], tiles.shape[3])
    place = layout(len(tiles), 1, size, largest=max(1, min(20, _COLOURED // max(size))))
    return KernelsInfo(
        *_titles(kernels, network, [shown.words, _COLOURS[scaling], not_finite_note(kernels.numbers)]),
        lay_out_rows(tiles, place.across, place.beside),
        _row_names(shown.filters, place.across),
        (),
        size,
        place,
    )


def rgb_room(height: int, width: int) -> tuple[int, int]:
    """Return how many filters a picture in colours holds, with all three channels."""
    return min(room(1, height, width)[0], MOST), 3


_COLOURS: dict[Scaling, str] = {
    "kernel": "red, green and blue are the input channels; each filter from its smallest to its largest weight",
    "layer": "red, green and blue are the input channels; dark to bright, the layer's smallest to its largest weight",
    "signed": "red, green and blue are the input channels; gray is 0",
}


def marked(scaled: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return scaled kernels with 2 for each weight that is not finite, which ``draw_tiles`` gives its own colour."""
    return np.where(np.isnan(scaled), np.float32(_NOT_FINITE), scaled)


def draw_kernels(info: KernelsInfo) -> Figure:
    """Draw the picture with filters and input channels numbered, a signed one with its colour bar."""
    high, wide = ((side + 2 * GAP) * info.layout.scale for side in info.tiles.shape[:2])
    middle = 0.1 + max(text_width(info.subtitle, 8), text_width(info.title, 11, True)) / 2
    left = max(0.45 + text_width("\n".join(info.rows), 7), middle - wide / 2)
    right = max(0.15 if info.limit is None else 0.85, middle - wide / 2)
    below = 0.42 if info.columns else 0.15
    above = 0.15 + 0.2 * lines_of(info.title) + 0.15 * lines_of(info.subtitle)
    with house_style():
        size = left + wide + right, below + max(high, 0.9) + above
        figure = new_figure(*size)
        figure.set_layout_engine("none")  # every weight is a whole number of pixels
        bottom = below + (max(high, 0.9) - high) / 2

        def place(x: float, y: float, width: float, height: float) -> Axes:
            return figure.add_axes((x / size[0], y / size[1], width / size[0], height / size[1]))

        axes = place(left, bottom, wide, high)
        picture = draw_tiles(axes, info.tiles, info.limit)
        number_tiles(axes, info)
        if info.limit is not None:
            bar = min(1.6, max(high, 0.9))
            add_scale(figure, picture, info.limit, cax=place(left + wide + 0.12, bottom + (high - bar) / 2, 0.1, bar))
        centre = (left + wide / 2) / size[0]
        figure.suptitle(info.title, x=centre, y=1 - 0.08 / size[1], va="top", fontsize=11, fontweight="bold")
        axes.set_title(info.subtitle, fontsize=8, pad=6 + 36 * (max(high, 0.9) - high))
    return figure


def draw_tiles(axes: Axes, tiles: NDArray[np.float32], limit: float | None) -> AxesImage:
    """Draw tiles framed by the colour between them: gray, in colours, or signed, where 1 stands for ``limit``."""
    margins = [(GAP, GAP)] * 2 + [(0, 0)] * (tiles.ndim - 2)
    framed = np.pad(tiles, margins, constant_values=np.nan)  # a white edge shall not melt into the page
    bare(axes)
    if tiles.ndim == 3:
        gap, broken = (np.array(to_rgb(colour), np.float32) for colour in (GAP_COLOUR, NOT_FINITE_COLOUR))
        coloured = np.where((framed > 1).any(2, keepdims=True), broken, np.where(np.isnan(framed), gap, framed))
        return axes.imshow(coloured, interpolation="none")
    name, between, low = ("gray", GAP_COLOUR, 0) if limit is None else ("RdBu_r", SIGNED_GAP, -1)
    colours = matplotlib.colormaps[name].with_extremes(bad=between, over=NOT_FINITE_COLOUR)
    return axes.imshow(np.ma.masked_invalid(framed), cmap=colours, vmin=low, vmax=1, interpolation="none")


def number_tiles(axes: Axes, info: KernelsInfo) -> None:
    """Number rows and columns, as many as there is room for."""
    (height, width), scale, across = info.kernel, info.layout.scale, info.layout.across
    every = math.ceil(_LABEL / (scale * (height + GAP)))
    rows = range(0, len(info.rows), every)
    axes.set_yticks([place * (height + GAP) + GAP + (height - 1) / 2 for place in rows], [info.rows[r] for r in rows])
    axes.tick_params(length=0, labelsize=7)
    axes.set_ylabel("filter" if across == 1 else "filters")
    if not info.columns:
        return
    channels = len(info.columns) // across
    every = math.ceil((text_width(info.columns[-1], 7) + 0.06) / (scale * (width + GAP)))
    filters = channels * (width + GAP) - GAP + info.layout.beside
    columns = [(each, place) for each in range(across) for place in range(0, channels, every)]
    places = [each * filters + place * (width + GAP) + GAP + (width - 1) / 2 for each, place in columns]
    axes.set_xticks(places, [info.columns[place] for _, place in columns])
    axes.set_xlabel("input channel")


def add_scale(figure: Figure, picture: AxesImage, limit: float, **where: Any) -> None:
    """Draw the colour bar of signed tiles, in weights; ``where`` as for ``Figure.colorbar``."""
    options: dict[str, Any] = {"aspect": 14, "pad": 0.03} if "ax" in where else {}
    bar = figure.colorbar(picture, **options, **where)
    bar.set_ticks([-1, 0, 1], labels=[number(-limit, limit, sign=True), "0", number(limit, limit, sign=True)])
    bar.ax.tick_params(length=0, labelsize=7)
    bar.set_label("weight", fontsize=8)
    bar.outline.set_visible(False)


def greatest(weight: Numbers) -> float:
    """Return the greatest finite magnitude of a layer's weights, 0 if none is finite."""
    low, high = finite_range(weight)
    return max(abs(low), abs(high)) if low <= high else 0.0


def scale_note(weight: Numbers, scaling: Scaling) -> str:
    """Say what the colours mean, that of weights that are not finite too where there are some."""
    return "; ".join(note for note in (_color_note(weight, scaling), not_finite_note(weight)) if note)


def number(value: float, limit: float, decimals: int = 1, sign: bool = False) -> str:
    """Write a weight with a precision that suits ``limit``, the greatest magnitude beside it."""
    if limit == 0 or 1e-4 <= limit < 1e5:
        decimals = max(decimals, 1 - math.floor(math.log10(limit))) if limit > 0 else decimals
        return signed(value, decimals) if sign else (f"{value:.{decimals}f}")
    return f"{value:{'+' if sign else ''}.1e}"


def _color_note(weight: Numbers, scaling: Scaling) -> str:
    if scaling == "signed":
        return "blue is negative, red is positive"
    if scaling == "kernel":
        return "each kernel from its smallest (black) to its largest weight (white)"
    low, high = finite_range(weight)
    limit = greatest(weight)
    return f"black to white: {number(low, limit, 2)} to {number(high, limit, 2)}" if low <= high else ""


def not_finite_note(weight: Numbers) -> str:
    """Say how many weights are not finite, and their color; empty if all are."""
    found = [(int(np.isnan(block).sum()), int(np.isinf(block).sum())) for _, block in blocks(weight)]
    nans, infinite = np.sum(found, 0).tolist()
    counts = [f"{count:,} {name}" for count, name in ((nans, "NaN"), (infinite, "infinite")) if count]
    return f"yellow: {' and '.join(counts)} of {weight.size:,} weights" if counts else ""


def _titles(kernels: ConvKernels, network: str, lines: list[str]) -> tuple[str, str]:
    """Return the title and what stands below it, in lines of a bounded length."""
    lines = [line for line in (network, *lines, means_note(*kernels.numbers.shape[2:])) if line]
    below = "\n".join(in_lines(line, _LETTERS) for line in lines)
    return in_lines(f"{kernels.layer}, {kernels.shape}", _LETTERS), below


def _row_names(filters: NDArray[np.int64], across: int) -> tuple[str, ...]:
    """Return the number of the filter of each row, or of the first and the last; a gap between them is said."""
    names = []
    for start in range(0, len(filters), across):
        first, *others = filters[start : start + across] + 1
        between = "–" if others and others[-1] - first == len(others) else " … "
        names.append(f"{first}{between}{others[-1]}" if others else str(first))
    return tuple(names)


def _numbers(indices: NDArray[np.int64]) -> tuple[str, ...]:
    return tuple(str(index + 1) for index in indices)
