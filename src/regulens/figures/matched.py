"""Kernels of several networks beside each other: regularizers in panels, seeds with their filters matched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from regulens.figures.kernel_layout import fitted, layout, means_note, room
from regulens.figures.kernels import (
    add_scale,
    draw_tiles,
    drawable_scaling,
    greatest,
    marked,
    not_finite_note,
    scale_note,
)
from regulens.figures.parts import BLUE, INK, in_lines, lines_of, text_width
from regulens.figures.style import MUTED, house_style, new_figure
from regulens.interpret.kernels import GAP, MOST, Scaling, choose_kernels, lay_out, lay_out_rows, scale_kernels
from regulens.interpret.matching import MatchedLayer, RandomSimilarity
from regulens.weights.kernels import ConvKernels

_WIDTH, _HIGHEST = 7.2, 8.5
"""Inches of the picture, and of what is drawn in it without titles at most."""
_PANEL_CHANNELS = 16
_PANEL = 3.1
"""Inches of a panel's longer side at most."""
_FILTERS, _DEEP_FILTERS, _NETWORKS, _CHANNELS = 16, 8, 12, 16
"""What is drawn at most of seeds side by side: filters of a first and of a deeper layer, networks, input channels."""
_CELL_GAP = 3
_RANDOM = "#d9dce1"


@dataclass(frozen=True, eq=False)
class PanelsInfo:
    """The same layer of several networks: a name and tiles (H, W) each; ``limit`` as of ``KernelsInfo``."""

    title: str
    subtitle: str
    names: tuple[str, ...]
    tiles: tuple[NDArray[np.float32], ...]
    limit: float | None


@dataclass(frozen=True, eq=False)
class MatchedInfo:
    """Seeds side by side: tiles (H, W), a row per filter of the reference, a column per network, and similarities.

    similarity (rows,) is the mean over all other networks, the rows are sorted by it; ``places`` are the centres of the
    rows and ``columns`` of the networks, in pixels of the tiles.
    """

    title: str
    subtitle: str
    tiles: NDArray[np.float32]
    rows: tuple[str, ...]
    names: tuple[str, ...]
    places: NDArray[np.float64]
    columns: NDArray[np.float64]
    similarity: NDArray[np.float64]
    random: RandomSimilarity
    limit: float | None


def panels_info(
    networks: Sequence[tuple[str, ConvKernels]], scaling: Scaling = "signed", same_scale: bool = True
) -> PanelsInfo:
    """Tile the same layer of several networks; the filters stand in their own order, not matched.

    A layer with one input channel fills rows with its filters, one with more has a row per filter and a column per
    channel, at most the first 16 of each, fewer of very large kernels.

    Args:
        networks: a name and the layer, of one shape.
        scaling: as in ``scale_kernels``.
        same_scale: for ``layer`` and ``signed`` whether all networks have one scale.

    Raises:
        ValueError: if there is no network, or their shapes differ.
    """
    shapes = {kernels.weight.shape for _, kernels in networks}
    if len(shapes) != 1:
        raise ValueError(f"panels need networks of one shape, got {sorted(shapes)}")
    weights = np.stack([kernels.weight for _, kernels in networks])
    joined = weights.reshape(-1, *weights.shape[2:])
    filters, channels, *size = weights.shape[1:]
    scaling = drawable_scaling(scaling, *size)
    one_scale = same_scale and scaling != "kernel"
    shown = choose_kernels(filters, channels, most=_panel_room(channels, *size))
    names = [name for name, _ in networks]
    if not one_scale and scaling == "signed":
        names = [f"{name} (to ±{greatest(weight):.2g})" for name, weight in zip(names, weights, strict=True)]
    layer = networks[0][1]
    own = "each network on a scale of its own"
    scale = [scale_note(joined, scaling)] if one_scale or scaling == "kernel" else [own, not_finite_note(joined)]
    return PanelsInfo(
        f"{layer.layer}, {layer.shape}",
        "; ".join(line for line in (shown.note, *scale, means_note(*size)) if line),
        tuple(names),
        tuple(
            _panel(scale_kernels(each[np.ix_(shown.filters, shown.channels)], scaling, joined if one_scale else each))
            for each in weights
        ),
        (greatest(joined) if one_scale else math.nan) if scaling == "signed" else None,
    )


def panel_pages(info: PanelsInfo) -> list[PanelsInfo]:
    """Divide panels into pictures of at most 10 inches, each on the scale of all."""
    across, side = _panel_grid(info)
    height, width = info.tiles[0].shape
    most = across * max(1, int(_HIGHEST / (side * height / width + 0.16 * _name_lines(info, across) + 0.2)))
    starts = range(0, len(info.names), most)
    return [
        replace(info, names=info.names[start : start + most], tiles=info.tiles[start : start + most])
        for start in starts
    ]


def draw_panels(info: PanelsInfo) -> Figure:
    """Draw the panels, two beside each other or four if they are narrow, under the names of their networks."""
    height, width = info.tiles[0].shape
    across, side = _panel_grid(info)
    down = math.ceil(len(info.tiles) / across)
    title, note = in_lines(info.title, 70), in_lines(info.subtitle, 105)
    head = 0.4 + 0.2 * lines_of(title) + 0.15 * lines_of(note)
    with house_style():
        figure = new_figure(_WIDTH, head + down * (side * height / width + 0.16 * _name_lines(info, across) + 0.2))
        grid = figure.subplots(down, across, squeeze=False).ravel()
        for axes, name, tiles in zip(grid, info.names, info.tiles, strict=False):
            picture = draw_tiles(axes, tiles, info.limit)
            axes.set_title(in_lines(name, _letters(across)), fontsize=8.5)
        for axes in grid[len(info.tiles) :]:
            axes.axis("off")
        if _has_bar(info) and info.limit is not None:
            add_scale(figure, picture, info.limit, ax=list(grid), shrink=min(1.0, 2.5 / figure.get_figheight()))
        figure.suptitle(title, fontsize=11, fontweight="bold")
        figure.supxlabel(note, fontsize=8)
    return figure


def _panel_room(channels: int, height: int, width: int) -> tuple[int, int]:
    """Return how many filters and channels a panel holds: half as many a side as a picture does, at most 16."""
    if channels == 1:
        return min(max(1, room(1, height, width)[0] // 4), MOST), 1
    filters, columns = (max(1, count // 2) for count in room(MOST, height, width))
    return min(filters, _PANEL_CHANNELS), min(columns, _PANEL_CHANNELS, channels)


def _panel_grid(info: PanelsInfo) -> tuple[int, float]:
    """Return how many panels fit in a row, and the width of each in inches."""
    height, width = info.tiles[0].shape
    across = min(len(info.tiles), 4 if width <= 24 else 2)
    side = min((_WIDTH - (0.8 if _has_bar(info) else 0)) / across - 0.15, width * 0.14)
    return across, min(side, _PANEL, _PANEL * width / height)


def _has_bar(info: PanelsInfo) -> bool:
    return info.limit is not None and not math.isnan(info.limit)


def _letters(across: int) -> int:
    return 40 if across < 4 else 22


def _name_lines(info: PanelsInfo, across: int) -> int:
    return max(lines_of(in_lines(name, _letters(across))) for name in info.names)


def matched_info(
    layer: MatchedLayer,
    names: Sequence[str],
    random: RandomSimilarity,
    network: str,
    scaling: Scaling = "kernel",
) -> MatchedInfo:
    """Lay out the matched filters of several networks, the most similar on top, the reference at the left.

    At most 16 filters (8 of a deeper layer) are drawn, evenly spaced in the order of their similarity from the greatest
    to the least, with at most 12 networks, the first, and 16 input channels, evenly spaced; what is written is of all.

    Args:
        layer: the layer, matched.
        names: of the networks, as ``seed 3``.
        random: what the same matching gives for random kernels.
        network: what the networks have in common.
        scaling: ``kernel`` spreads each filter of each network over black to white, which is what the similarity sees;
            ``layer`` and ``signed`` have one scale for all.

    Raises:
        ValueError: if there is one network only.
    """
    count, filters, channels = layer.weight.shape[:3]
    if count < 2:
        raise ValueError("matched filters need at least two networks, got one")
    ranked = np.argsort(-layer.filter_similarity, kind="stable")
    most = min(_FILTERS if channels == 1 else _DEEP_FILTERS, filters)
    rows = ranked[np.linspace(0, filters - 1, most).round().astype(np.int64)]
    others = np.delete(np.arange(count), layer.reference)
    columns = np.array([layer.reference, *others[: _NETWORKS - 1]])
    shown = choose_kernels(filters, channels, "even", most=_CHANNELS).channels
    part = layer.weight[np.ix_(columns, rows, shown)]
    cells = np.stack([[_panel(kernels[:, None]) for kernels in one] for one in _scaled(part, scaling, layer.weight)])
    cells = cells.swapaxes(0, 1)
    gap = GAP if channels == 1 else _CELL_GAP
    height, width = cells.shape[2:]
    drawn = [(len(rows), filters, "filters"), (len(columns), count, "networks"), (len(shown), channels, "channels")]
    shape = ConvKernels(layer.layer, layer.weight[0], np.zeros(0, np.float32)).shape
    lines = [
        f"{network}: filters of {count} networks matched to those of {names[layer.reference]}, the most similar to all",
        _drawn_words(drawn) + _scale_words(layer.weight, scaling),
        _similarity_words(layer, random),
        means_note(*layer.weight.shape[3:]),
    ]
    return MatchedInfo(
        f"{layer.layer}, {shape}: filters matched between networks",
        "\n".join(in_lines(line, 105) for line in lines if line),
        lay_out(cells, gap),
        tuple(str(row + 1) for row in rows),
        tuple(names[place] for place in columns),
        np.arange(len(rows)) * (height + gap) + GAP + (height - 1) / 2,
        np.arange(len(columns)) * (width + gap) + GAP + (width - 1) / 2,
        layer.filter_similarity[rows],
        random,
        greatest(layer.weight) if scaling == "signed" else None,
    )


def _drawn_words(drawn: Sequence[tuple[int, int, str]]) -> str:
    parts = [f"{part} of {whole} {name}" for part, whole, name in drawn if part < whole]
    return f"drawn: {', '.join(parts)}; " if parts else ""


def _similarity_words(layer: MatchedLayer, random: RandomSimilarity) -> str:
    return (
        f"mean similarity {layer.filter_similarity.mean():.2f}; "
        f"of random kernels {random.mean:.2f} (95 %: {random.low:.2f} to {random.high:.2f})"
    )


def draw_matched(info: MatchedInfo) -> Figure:
    """Draw the filters, and beside each row its similarity over the range of single random filters."""
    height, width = (side + 2 * GAP for side in info.tiles.shape)
    labels = max(text_width(name, 7) for name in info.names)
    beside = 2.45 + (0.65 if info.limit is not None else 0)
    wide = min(_WIDTH - beside, width * 0.11, _HIGHEST * width / height)
    shift = (_WIDTH - beside - wide) / 2
    high = max(wide * height / width, 0.14 * len(info.rows))
    crowded = labels > 0.95 * wide / len(info.names)
    below, above = 0.45 + 0.16 * lines_of(info.subtitle), 0.6 + (labels if crowded else 0)
    with house_style():
        figure = new_figure(_WIDTH, below + high + above)
        figure.set_layout_engine("none")  # the similarities stand exactly beside their rows

        def place(left: float, bottom: float, width: float, height: float) -> Axes:
            total = below + high + above
            return figure.add_axes(((shift + left) / _WIDTH, (below + bottom) / total, width / _WIDTH, height / total))

        axes = place(0.55, 0, wide, high)
        picture = draw_tiles(axes, info.tiles, info.limit)
        axes.set_aspect("auto")  # strips are as high as their numbers
        axes.set_yticks(info.places, info.rows)
        axes.set_xticks(info.columns, info.names, rotation=90 if crowded else 0)
        axes.xaxis.tick_top()
        axes.tick_params(length=0, labelsize=7)
        axes.set_ylabel("filter of the first network", fontsize=8)
        _draw_similarity(place(0.75 + wide, 0, 1.2, high), info)
        if info.limit is not None:
            add_scale(figure, picture, info.limit, cax=place(2.5 + wide, high / 2 - 0.6, 0.1, 1.2))
        figure.suptitle(info.title, fontsize=11, fontweight="bold", y=1 - 0.06 / figure.get_figheight(), va="top")
        figure.text(0.5, 0.06 / figure.get_figheight(), info.subtitle, fontsize=8, ha="center", va="bottom")
    return figure


def _draw_similarity(axes: Axes, info: MatchedInfo) -> None:
    random = info.random
    axes.set_ylim(len(info.tiles) + 2 * GAP - 0.5, -0.5)
    axes.axvspan(random.filter_low, random.filter_high, color=_RANDOM, lw=0, zorder=0)
    axes.plot(info.similarity, info.places, "o", color=BLUE, ms=5, mec="white", mew=0.6, zorder=3, clip_on=False)
    for value, place in zip(info.similarity, info.places, strict=True):
        axes.text(1.06, place, f"{value:.2f}", fontsize=7, va="center", color=INK, transform=axes.get_yaxis_transform())
    axes.set_xlim(min(0.0, 1.1 * float(info.similarity.min())), 1.0)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.tick_params(axis="y", left=False, labelleft=False)
    axes.tick_params(axis="x", labelsize=7, color=MUTED)
    axes.spines["left"].set_visible(False)
    axes.set_title("similarity\ngray: random filters, 95 %", fontsize=7)


def _scaled(part: NDArray[np.float32], scaling: Scaling, whole: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale (networks, filters, channels, height, width): each filter by itself, or all by the scale of the whole."""
    filters = part.reshape(-1, 1, part.shape[2] * part.shape[3], part.shape[4])
    return scale_kernels(filters, scaling, whole.reshape(-1, *whole.shape[2:])).reshape(part.shape)


def _scale_words(weight: NDArray[np.float32], scaling: Scaling) -> str:
    if scaling != "kernel":
        return scale_note(weight, scaling)
    notes = ["each filter from its smallest (black) to its largest weight (white)", not_finite_note(weight)]
    return "; ".join(note for note in notes if note)


def _panel(kernels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lay scaled (filters, channels, height, width) out as a panel, filters of few channels several in a row."""
    tiles = marked(fitted(kernels))
    place = layout(len(tiles), tiles.shape[1], (tiles.shape[2], tiles.shape[3]), (_PANEL, _PANEL))
    return lay_out_rows(tiles, place.across, place.beside)
