"""Feature maps: one image through every layer of a network, and one layer of several networks side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from regulens.errors import UserError, suggestion
from regulens.figures.parts import BLUE, INK, chance, lines_of, text_width, wrapped
from regulens.figures.style import DIVERGING, MUTED, SEQUENTIAL, bare, house_style, new_figure
from regulens.interpret.activations import ImageActivations, LayerMaps

_WIDTH = 7.4
"""Inches of a full row of maps."""
_IN_A_ROW = 16
_MOST = 64
"""Maps of a layer that are shown."""
_NEVER_NEGATIVE = {"image", "ReLU", "max pooling"}
_LOW = 0.55
"""Inches that a row has at the least, for its scale."""
_TITLE: Any = {"loc": "left", "fontsize": 8.5, "pad": 3}
_CLASSES = 10
"""Classes whose probabilities are shown."""


@dataclass(frozen=True, eq=False)
class MapGrid:
    """Maps of one layer side by side: their tiling (NaN between them) and its scale.

    ``low, high`` are the ends of the colours: 0 to a maximum, or symmetric about 0 for a layer that may be
    below it. The maps of ``zero`` are zero throughout.
    """

    title: str
    tiles: NDArray[np.float32]
    shown: int
    map_size: tuple[int, int]
    low: float
    high: float
    signed: bool
    zero: tuple[int, ...]

    @property
    def columns(self) -> int:
        """Maps in a row."""
        return min(self.shown, _IN_A_ROW)

    @property
    def inches(self) -> tuple[float, float]:
        """Width and height on paper."""
        width = min(_WIDTH, 1.0 * self.columns)
        return width, width * self.tiles.shape[0] / self.tiles.shape[1]


@dataclass(frozen=True, eq=False)
class ThroughInfo:
    """One image on its way: pixels (H, W, C), likeliest classes with probabilities, grids by layer, dense (units,)."""

    title: str
    subtitle: str
    pixels: NDArray[np.uint8]
    classes: tuple[tuple[str, float], ...]
    grids: tuple[MapGrid, ...]
    dense: NDArray[np.float32]


def through_info(
    activations: ImageActivations,
    pixels: NDArray[np.uint8],
    network: str,
    class_names: Sequence[str],
    truth: int | None = None,
) -> ThroughInfo:
    """Lay out the layers of one network; the maps before and after pooling are on one scale.

    Convolutions are shown behind their ReLU; a layer that changes nothing (dropout outside training, pooling of 1) is
    left out.

    Args:
        activations: of the image.
        pixels: (H, W, C) uint8, the image itself.
        network: whose they are.
        class_names: in the order of the logits.
        truth: the image's class, if known.
    """
    grids = []
    peak = 0.0
    for before, maps in pairwise(activations.maps):
        if maps.kind == "convolution" or np.array_equal(before.maps, maps.maps, equal_nan=True):
            continue
        peak = _reach(maps.maps) if maps.kind == "ReLU" else peak
        grids.append(_grid(maps, f"{_stage(maps)}; {_zeros(maps)}", peak if maps.kind == "max pooling" else None))
    likeliest = np.argsort(-activations.probabilities, kind="stable")[:_CLASSES]
    return ThroughInfo(
        network,
        f"{predicted_text(activations, class_names)}; {true_text(class_names, truth)}",
        pixels,
        tuple((class_names[index], float(activations.probabilities[index])) for index in likeliest),
        tuple(grids),
        activations.vectors["relu"],
    )


def predicted_text(activations: ImageActivations, class_names: Sequence[str]) -> str:
    """Write the class that a network predicts for an image, with its probability."""
    chances = activations.probabilities
    if not np.isfinite(chances).all():
        return "predicted: nothing (not a number)"
    return f"predicted: {class_names[int(chances.argmax())]} ({chance(float(chances.max()))})"


def true_text(class_names: Sequence[str], truth: int | None) -> str:
    """Write the true class of an image."""
    return "true class unknown" if truth is None else f"true class: {class_names[truth]}"


def draw_through(info: ThroughInfo) -> Figure:
    """Draw the image beside the probabilities, a grid of maps per layer with its scale, and the dense activations."""
    heights = [1.6, *(max(grid.inches[1], _LOW) for grid in info.grids), 0.3]
    title = "\n".join(wrapped(line, int(11 * (_WIDTH + 1.0))) for line in (info.title, info.subtitle))
    with house_style():
        figure = new_figure(_WIDTH + 1.0, sum(heights) + 0.42 * len(heights) + 0.1 + 0.2 * lines_of(title))
        rows = figure.add_gridspec(len(heights), 2, width_ratios=[_WIDTH, 0.12], height_ratios=heights)
        first = rows[0, 0].subgridspec(1, 2, width_ratios=[1, 2])
        picture, bars = figure.add_subplot(first[0]), figure.add_subplot(first[1])
        show_image(picture, info.pixels)
        picture.set_title(f"input, {'x'.join(map(str, info.pixels.shape))}", **_TITLE)
        _draw_classes(bars, info.classes)
        for row, grid in enumerate(info.grids, start=1):
            axes = figure.add_subplot(rows[row, 0])
            draw_grid(axes, grid)
            _scale(figure, axes, figure.add_subplot(rows[row, 1]))
        dense = figure.add_subplot(rows[-1, 0])
        _draw_dense(dense, info.dense)
        _scale(figure, dense, figure.add_subplot(rows[-1, 1]))
        figure.suptitle(title, fontsize=10.5, fontweight="bold")
    return figure


@dataclass(frozen=True, eq=False)
class AcrossInfo:
    """One layer's maps of one image in several networks: what the image is, a label and a grid per network."""

    title: str
    image: str
    pixels: NDArray[np.uint8]
    rows: tuple[tuple[str, MapGrid], ...]


def across_info(
    networks: Sequence[tuple[str, ImageActivations]],
    layer: str,
    pixels: NDArray[np.uint8],
    scaling: Literal["shared", "own"] = "shared",
    *,
    image: str = "image",
    class_names: Sequence[str],
    truth: int | None = None,
) -> AcrossInfo:
    """Lay out one layer of several networks, a row each.

    Args:
        networks: label and activations of each, all of the same image.
        layer: as it is named in ``ImageActivations.maps``.
        pixels: (H, W, C) uint8, the image.
        scaling: one scale for all networks, so that strengths compare, or each network's own.
        image: what it is called.
        class_names: in the order of the logits.
        truth: the image's class, if known.

    Raises:
        UserError: if a network has no maps of this layer.
    """
    chosen = [
        (f"{label}\n{predicted_text(activations, class_names)}", _named(activations, layer, label))
        for label, activations in networks
    ]
    top = max(_reach(maps.maps) for _, maps in chosen) if scaling == "shared" else None
    rows = tuple((f"{label}\n{_zeros(maps)}", _grid(maps, "", top)) for label, maps in chosen)
    words = "all rows on one scale" if scaling == "shared" else "each row on its own scale"
    return AcrossInfo(f"{_stage(chosen[0][1])}; {words}", f"{image}\n{true_text(class_names, truth)}", pixels, rows)


def draw_across(info: AcrossInfo) -> Figure:
    """Draw the image, then a row of maps per network with its label and scale."""
    head, *labels = [
        "\n".join(wrapped(line, 26) for line in label.split("\n"))
        for label in (info.image, *(label for label, _ in info.rows))
    ]
    margin = max(text_width(label, 8.5) for label in (head, *labels)) + 0.15
    heights = [
        0.9,
        *(
            max(grid.inches[1], _LOW, 0.16 * lines_of(label))
            for label, (_, grid) in zip(labels, info.rows, strict=True)
        ),
    ]
    with house_style():
        figure = new_figure(margin + _WIDTH + 0.9, sum(heights) + 0.2 * len(heights) + 0.4)
        rows = figure.subplots(len(heights), 3, width_ratios=[margin, _WIDTH, 0.12], height_ratios=heights)
        for axes in (*rows[:, 0], rows[0, 2]):
            axes.axis("off")
        show_image(rows[0, 1], info.pixels)
        for (name, *_), text in zip(rows, (head, *labels), strict=True):
            name.text(0, 0.5, text, va="center", fontsize=8.5, color=INK, transform=name.transAxes)
        for (_, axes, scale), (_, grid) in zip(rows[1:], info.rows, strict=True):
            draw_grid(axes, grid)
            _scale(figure, axes, scale)
        figure.suptitle(info.title, fontsize=10.5, fontweight="bold")
    return figure


def tile(maps: Sequence[NDArray[np.float32]], columns: int) -> NDArray[np.float32]:
    """Lay (H, W) maps of one size out in rows of ``columns``, NaN between them and in what is left of the last row."""
    height, width = maps[0].shape
    gap = max(1, width // 14)
    rows = math.ceil(len(maps) / columns)
    framed = np.full((rows, columns, height + gap, width + gap), np.nan, np.float32)
    for number, each in enumerate(maps):
        framed[number // columns, number % columns, :height, :width] = each
    tiled = framed.transpose(0, 2, 1, 3).reshape(rows * (height + gap), columns * (width + gap))
    return tiled[:-gap, :-gap]


def show_image(axes: Axes, pixels: NDArray[Any]) -> None:
    """Draw pixels (H, W, C) in 0 to 255, gray or colour, framed, at the left of the axes; NaN is left blank."""
    if pixels.shape[2] == 1:
        axes.imshow(np.ma.masked_invalid(pixels[..., 0]), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    else:
        seen = np.isfinite(pixels).all(axis=2, keepdims=True)
        shown = np.where(seen, pixels[..., :3], 0).astype(np.uint8)
        axes.imshow(np.concatenate([shown, (255 * seen).astype(np.uint8)], axis=2), interpolation="nearest")
    bare(axes)
    for spine in axes.spines.values():  # a white edge shall not melt into the page
        spine.set(visible=True, color=MUTED, linewidth=0.5)
    axes.set_anchor("W")


def draw_grid(axes: Axes, grid: MapGrid) -> None:
    """Draw the maps, a 0 in those that are zero; each is numbered, or the first of each row where there are several."""
    colours = DIVERGING if grid.signed else SEQUENTIAL
    tiles = np.ma.masked_invalid(grid.tiles)
    axes.imshow(tiles, cmap=colours, vmin=grid.low, vmax=grid.high, interpolation="antialiased")
    bare(axes)
    axes.set_anchor("W")
    height, width = grid.map_size
    gap = max(1, width // 14)
    across, down = (np.arange(_MOST) * (side + gap) + (side - 1) / 2 for side in (width, height))
    for number in grid.zero:
        row, column = divmod(number, grid.columns)
        axes.text(across[column], down[row], "0", ha="center", va="center", fontsize=7, color=INK)
    starts = range(0, grid.shown, grid.columns)
    if len(starts) == 1:
        axes.set_xticks(across[: grid.shown], [str(number + 1) for number in range(grid.shown)])
    else:
        axes.set_yticks(down[: len(starts)], [str(start + 1) for start in starts])
    axes.tick_params(length=0, labelsize=7, pad=1)
    axes.set_title(grid.title, **_TITLE)


def _grid(maps: LayerMaps, title: str, high: float | None) -> MapGrid:
    """Tile the first maps of a layer; ``high`` is the end of the scale, by default their own greatest magnitude."""
    shown = min(len(maps.maps), _MOST)
    signed = maps.kind not in _NEVER_NEGATIVE
    top = high or _reach(maps.maps) or 1.0  # all zero: any scale shows it
    tiles = tile(list(maps.maps[:shown]), min(shown, _IN_A_ROW))
    zero = tuple(np.flatnonzero((maps.maps[:shown] == 0).all(axis=(1, 2))).tolist())
    return MapGrid(title, tiles, shown, maps.maps.shape[1:], -top if signed else 0.0, top, signed, zero)


def _stage(maps: LayerMaps) -> str:
    words = {"ReLU": "convolution and ReLU, before pooling", "max pooling": "after max pooling"}
    name = maps.layer.replace("relu", "conv") if maps.kind == "ReLU" else maps.layer
    return f"{name}: {words.get(maps.kind, f'after {maps.kind}')}, {maps.shape}"


def _zeros(maps: LayerMaps) -> str:
    count = len(maps.maps)
    zero = int((maps.maps == 0).all(axis=(1, 2)).sum())
    shown = f", the first {_MOST} shown" if count > _MOST else ""
    return f"{zero} of {count} {'map' if count == 1 else 'maps'} zero{shown}"


def _reach(maps: NDArray[np.float32]) -> float:
    finite = np.abs(maps[np.isfinite(maps)])
    return float(finite.max()) if finite.size else 0.0


def _named(activations: ImageActivations, layer: str, label: str) -> LayerMaps:
    by_name = {maps.layer: maps for maps in activations.maps}
    if layer not in by_name:
        raise UserError(f'{label} has no maps of a layer "{layer}"{suggestion(layer, by_name)}')
    return by_name[layer]


def _scale(figure: Figure, axes: Axes, scale: Axes) -> None:
    low, high = axes.images[0].get_clim()
    bar = figure.colorbar(axes.images[0], cax=scale, ticks=[low, high] if low == 0 else [low, 0, high])
    bar.ax.set_yticklabels([f"{tick:.3g}".replace("-", "−") for tick in bar.get_ticks()])
    bar.ax.tick_params(length=0, labelsize=7)
    bar.set_label("activation", fontsize=6.5, labelpad=1)
    bar.outline.set_visible(False)


def _draw_dense(axes: Axes, dense: NDArray[np.float32]) -> None:
    axes.imshow(dense[None], aspect="auto", cmap=SEQUENTIAL, vmin=0, vmax=_reach(dense) or 1.0, interpolation="nearest")
    bare(axes)
    axes.set_title(f"dense layer and ReLU, {len(dense)} units; {(dense == 0).sum()} zero", **_TITLE)


def _draw_classes(axes: Axes, classes: Sequence[tuple[str, float]]) -> None:
    places = np.arange(len(classes))
    axes.barh(places, np.nan_to_num([value for _, value in classes]), color=BLUE, height=0.7)
    axes.set_yticks(places, [name for name, _ in classes])
    axes.set(ylim=(len(classes) - 0.4, -0.6), xlim=(0, 1))
    axes.tick_params(labelsize=7.5, length=0)
    axes.set_title("probability", **_TITLE)
