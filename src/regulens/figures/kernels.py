"""The kernels of a convolution as one picture: a row per filter, a column per input channel; or filters in colours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from regulens.figures.parts import signed, text_width, wrapped
from regulens.figures.style import GAP_COLOUR, bare, house_style, new_figure
from regulens.interpret.kernels import GAP, Scaling, Shown, choose_kernels, lay_out, rgb_kernels, tile_kernels
from regulens.weights.kernels import ConvKernels

SIGNED_GAP = "#9aa0a8"
"""Between kernels whose colours are red, white and blue."""
_WIDEST, _TALLEST, _SIDE = 6.0, 9.0, 0.34
_LABEL = 0.13
"""Inches from number to number along an axis."""


@dataclass(frozen=True, eq=False)
class KernelsInfo:
    """The tiled picture (NaN between kernels), its titles, and what its rows and columns are.

    tiles: (H, W) float32 in [0, 1], signed in [-1, 1], or (H, W, 3) in [0, 1] for filters in colours, of which a row
    holds several. ``limit`` is the weight of the ends of a signed scale, None for gray and colours.
    """

    title: str
    subtitle: str
    tiles: NDArray[np.float32]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    kernel: tuple[int, int]
    limit: float | None = None


def kernels_info(kernels: ConvKernels, scaling: Scaling, network: str, shown: Shown | None = None) -> KernelsInfo:
    """Tile one layer's kernels; ``network`` says whose they are.

    Kernels of 1x1 are not scaled one by one, as a single value has no contrast of its own. Of a large layer the first
    page of filters and channels is drawn, or those of ``shown``; the subtitle says which.
    """
    filters, channels, height, width = kernels.weight.shape
    if height * width == 1 and scaling == "kernel":
        scaling = "layer"
    shown = shown or choose_kernels(filters, channels)
    lines = [network, shown.note, scale_note(kernels.weight, scaling)]
    return KernelsInfo(
        f"{kernels.layer}, {kernels.shape}",
        "\n".join(wrapped(line, 70) for line in lines if line),
        tile_kernels(kernels.weight, scaling, shown),
        _numbers(shown.filters),
        _numbers(shown.channels),
        (height, width),
        greatest(kernels.weight) if scaling == "signed" else None,
    )


def rgb_info(kernels: ConvKernels, scaling: Scaling, network: str, shown: Shown | None = None) -> KernelsInfo:
    """Show the filters of a layer that sees colours as pictures in colours, in rows of up to eight.

    Raises:
        ValueError: if the layer's input channels are not three.
    """
    pictures = rgb_kernels(kernels.weight, scaling)
    shown = shown or choose_kernels(len(pictures), 3)
    across = min(8, len(shown.filters))
    rows = math.ceil(len(shown.filters) / across)
    grid = np.full((rows * across, *pictures.shape[1:]), np.nan, np.float32)
    grid[: len(shown.filters)] = pictures[shown.filters]
    starts = [int(shown.filters[row * across]) + 1 for row in range(rows)]
    lines = [network, shown.note, _COLOURS[scaling]]
    return KernelsInfo(
        f"{kernels.layer}, {kernels.shape}",
        "\n".join(wrapped(line, 70) for line in lines if line),
        lay_out(grid.reshape(rows, across, *pictures.shape[1:])),
        tuple(f"{start}, …" if across > 1 else str(start) for start in starts),
        ("",) * across,
        (pictures.shape[1], pictures.shape[2]),
    )


_COLOURS: dict[Scaling, str] = {
    "kernel": "red, green and blue are the input channels; each filter from its least to its greatest weight",
    "layer": "red, green and blue are the input channels; dark to bright from the layer's least to its greatest weight",
    "signed": "red, green and blue are the input channels; gray is 0",
}


def draw_kernels(info: KernelsInfo) -> Figure:
    """Draw the picture with filters and input channels numbered, a signed one with its colour bar."""
    many = (len(info.rows), len(info.columns))
    side = min(_SIDE if any(info.columns) else 0.6, _WIDEST / many[1], max(_TALLEST / many[0], 0.1))
    lines = info.subtitle.count("\n") + 1
    with house_style():
        wide = max(
            3.4, 0.9 + side * many[1], 0.9 + text_width(info.subtitle, 8), 0.3 + text_width(info.title, 11, True)
        )
        high = max(1.8, 0.8 + 0.15 * lines + side * many[0] * info.kernel[0] / info.kernel[1])
        figure = new_figure(wide + (0.7 if info.limit is not None else 0), high)
        axes = figure.subplots()
        picture = draw_tiles(axes, info.tiles, info.limit)
        number_tiles(axes, info, side)
        if info.limit is not None:
            add_scale(figure, picture, info.limit, ax=axes, shrink=min(1.0, 2.5 / figure.get_figheight()))
        figure.suptitle(info.title, fontsize=11, fontweight="bold")
        axes.set_title(info.subtitle, fontsize=8)
    return figure


def draw_tiles(axes: Axes, tiles: NDArray[np.float32], limit: float | None) -> AxesImage:
    """Draw tiles framed by the colour between them: gray, in colours, or signed, where 1 stands for ``limit``."""
    margins = [(GAP, GAP)] * 2 + [(0, 0)] * (tiles.ndim - 2)
    framed = np.pad(tiles, margins, constant_values=np.nan)  # a white edge shall not melt into the page
    bare(axes)
    if tiles.ndim == 3:
        gap = np.array(matplotlib.colors.to_rgb(GAP_COLOUR), np.float32)
        return axes.imshow(np.where(np.isnan(framed), gap, framed), interpolation="nearest")
    if limit is None:
        colours = matplotlib.colormaps["gray"].with_extremes(bad=GAP_COLOUR)
        return axes.imshow(np.ma.masked_invalid(framed), cmap=colours, vmin=0, vmax=1, interpolation="nearest")
    colours = matplotlib.colormaps["RdBu_r"].with_extremes(bad=SIGNED_GAP)
    return axes.imshow(np.ma.masked_invalid(framed), cmap=colours, vmin=-1, vmax=1, interpolation="nearest")


def number_tiles(axes: Axes, info: KernelsInfo, side: float, ylabel: str = "filter") -> None:
    """Number rows and columns whose tiles are ``side`` inches wide, as many as there is room for."""
    height, width = info.kernel
    every = math.ceil(_LABEL / (side * height / width))
    rows = [place for place in range(len(info.rows)) if place % every == 0]
    axes.set_yticks([place * (height + GAP) + GAP + (height - 1) / 2 for place in rows], [info.rows[r] for r in rows])
    every = math.ceil((text_width(info.columns[-1], 7) + 0.06) / side)
    columns = [place for place in range(len(info.columns)) if place % every == 0 and info.columns[place]]
    places = [place * (width + GAP) + GAP + (width - 1) / 2 for place in columns]
    axes.set_xticks(places, [info.columns[place] for place in columns])
    axes.tick_params(length=0, labelsize=7)
    axes.set_ylabel(ylabel)
    if columns:
        axes.set_xlabel("input channel")


def add_scale(figure: Figure, picture: AxesImage, limit: float, **where: Any) -> None:
    """Draw the colour bar of signed tiles, in weights; ``where`` as for ``Figure.colorbar``."""
    options: dict[str, Any] = {"aspect": 14, "pad": 0.03} if "ax" in where else {}
    bar = figure.colorbar(picture, **options, **where)
    decimals = max(0, 1 - math.floor(math.log10(limit))) if limit > 0 else 1
    bar.set_ticks([-1, 0, 1], labels=[signed(-limit, decimals), "0", signed(limit, decimals)])
    bar.ax.tick_params(length=0, labelsize=7)
    bar.set_label("weight", fontsize=8)
    bar.outline.set_visible(False)


def greatest(weight: NDArray[np.float32]) -> float:
    """Return the greatest finite magnitude of a layer's weights."""
    return float(np.abs(weight).max(where=np.isfinite(weight), initial=0))


def scale_note(weight: NDArray[np.float32], scaling: Scaling) -> str:
    """Say what black and white mean."""
    if scaling == "signed":
        return "blue is negative, red is positive"
    if scaling == "kernel":
        return "each kernel from its least (black) to its greatest (white)"
    finite = weight[np.isfinite(weight)]
    return f"black to white: {finite.min():.2f} to {finite.max():.2f}" if len(finite) else "no weight is finite"


def _numbers(indices: NDArray[np.int64]) -> tuple[str, ...]:
    return tuple(str(index + 1) for index in indices)
