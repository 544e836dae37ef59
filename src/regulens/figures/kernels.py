"""The kernels of a convolution as one grayscale picture: a row per filter, a column per input channel."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from regulens.figures.style import GAP_COLOUR, bare, house_style, new_figure
from regulens.interpret.kernels import GAP, ConvKernels, Scaling, tile_kernels


@dataclass(frozen=True, eq=False)
class KernelsInfo:
    """The tiled picture (NaN between kernels), its titles and the size of one kernel."""

    title: str
    subtitle: str
    tiles: NDArray[np.float32]
    filters: int
    channels: int
    kernel: tuple[int, int]


def kernels_info(kernels: ConvKernels, scaling: Scaling, network: str) -> KernelsInfo:
    """Tile one layer's kernels; ``network`` says whose they are. 1x1 kernels are always scaled by layer."""
    filters, channels, height, width = kernels.weight.shape
    if height * width == 1:
        scaling = "layer"  # a single value has no contrast of its own
    span = f"{kernels.weight.min():.2f} to {kernels.weight.max():.2f}"
    black = (
        "each kernel from its least (black) to its greatest (white)"
        if scaling == "kernel"
        else f"black to white: {span}"
    )
    title = f"{kernels.layer}, {kernels.shape}"
    return KernelsInfo(
        title, f"{network}\n{black}", tile_kernels(kernels.weight, scaling), filters, channels, (height, width)
    )


def draw_kernels(info: KernelsInfo) -> Figure:
    """Draw the picture with filters and input channels numbered."""
    height, width = info.kernel
    side = min(0.34, 24 / max(info.filters, info.channels))
    with house_style():
        figure = new_figure(max(3.4, 0.9 + side * info.channels), 1.1 + side * info.filters)
        axes = figure.subplots()
        colours = matplotlib.colormaps["gray"].with_extremes(bad=GAP_COLOUR)
        framed = np.pad(info.tiles, GAP, constant_values=np.nan)  # a white edge shall not melt into the page
        axes.imshow(np.ma.masked_invalid(framed), cmap=colours, vmin=0, vmax=1, interpolation="nearest")
        bare(axes)
        axes.set_yticks(np.arange(info.filters) * (height + GAP) + GAP + (height - 1) / 2, _numbered(info.filters))
        axes.set_xticks(np.arange(info.channels) * (width + GAP) + GAP + (width - 1) / 2, _numbered(info.channels))
        axes.tick_params(length=0, labelsize=7)
        axes.set_ylabel("filter")
        axes.set_xlabel("input channel")
        figure.suptitle(info.title, fontsize=11, fontweight="bold")
        axes.set_title(info.subtitle, fontsize=8)
    return figure


def _numbered(count: int) -> list[str]:
    return [str(number) for number in range(1, count + 1)]
