"""Similarity of representations: heat maps of networks and of layers, and seeds within a network against between."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from regulens.figures.parts import BLUE, INK, VERMILLION, lines_of, range_with_margin, text_width, wrapped
from regulens.figures.style import MUTED, house_style, new_figure

_MOST_NUMBERS = 16
"""Larger matrices leave no room for legible numbers."""
_CELL = 0.34
_WIDTH = 8.4
_SIZE = 8.0
_CHARACTERS = 12.5
"""In an inch of a title."""


@dataclass(frozen=True, eq=False)
class SimilarityPanel:
    """One matrix of mean similarities (rows, columns), NaN where there is none."""

    title: str
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SimilarityMapInfo:
    """Matrices to one scale, each with the same rows and columns, which are what ``names`` says."""

    panels: tuple[SimilarityPanel, ...]
    names: tuple[str, ...]
    measure: str
    note: str = ""


def similarity_map_info(
    panels: Sequence[SimilarityPanel], names: Sequence[str], measure: str, note: str = ""
) -> SimilarityMapInfo:
    """Gather the panels; rows and columns that are NaN in all of them are left out.

    Args:
        panels: one per layer, of networks by networks, or one per network, of layers by layers.
        names: (n,) of the rows and columns.
        measure: what the colour is, with what it is a mean over.
        note: printed below, such as what the diagonal is.

    Raises:
        ValueError: if there is no panel, or one is not (n, n).
    """
    count = len(names)
    if not panels or any(panel.values.shape != (count, count) for panel in panels):
        shapes = [panel.values.shape for panel in panels]
        raise ValueError(f"needs panels of {count} x {count} similarities, got shapes {shapes}")
    known = np.flatnonzero([any(np.isfinite(panel.values[row]).any() for panel in panels) for row in range(count)])
    kept = tuple(SimilarityPanel(panel.title, panel.values[np.ix_(known, known)]) for panel in panels)
    return SimilarityMapInfo(kept, tuple(names[int(row)] for row in known), measure, note)


def draw_similarity_map(info: SimilarityMapInfo) -> Figure:
    """Draw the panels side by side as they fit, the numbers in their cells where there is room."""
    names = [wrapped(name, 22) if len(info.names) <= _MOST_NUMBERS else name for name in info.names]
    side = min(max(1.1, _CELL * len(names)), 5.6)
    size = min(_SIZE, 60 * side / max(len(names), 1))
    left = max((text_width(name, _SIZE) for name in names), default=0.0) + 0.4
    across = max(1, min(len(info.panels), int((_WIDTH - left - 0.8) / (side + 0.12))))
    down = math.ceil(len(info.panels) / across)
    with house_style():
        figure = new_figure(max(4.2, left + across * (side + 0.12) + 0.8), down * (side + 0.25) + left + 0.15)
        grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
        image = None
        for axes, panel in zip(grid.flat, info.panels, strict=False):
            image = _draw_matrix(axes, wrapped(panel.title, max(18, 5 * len(names))), panel.values)
        for axes in list(grid.flat)[len(info.panels) :]:
            axes.set_visible(False)
        for place in range(across):
            lowest = grid[(len(info.panels) - 1 - place) // across, place]
            lowest.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
            lowest.tick_params(labelbottom=True)
        for row in grid:
            row[0].set_yticks(range(len(names)), names, fontsize=size)
        if image is not None:
            figure.colorbar(image, ax=list(grid.flat), shrink=min(1.0, 2.4 / (down * side)), aspect=24).set_label(
                wrapped(info.measure, 34), fontsize=_SIZE
            )
        if info.note:
            figure.supxlabel(wrapped(info.note, 90), fontsize=_SIZE, color="#5c6470")
    return figure


def _draw_matrix(axes: Axes, title: str, values: NDArray[np.float64]) -> AxesImage:
    colours = matplotlib.colormaps["viridis"].with_extremes(bad="#e3e6ea")
    image = axes.imshow(np.ma.masked_invalid(values), cmap=colours, vmin=0, vmax=1)
    axes.set_title(title, fontsize=9.5)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if len(values) <= _MOST_NUMBERS:
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                text = f"{value:.2f}".replace("-", "−")
                axes.text(column, row, text, ha="center", va="center", size=7, color="white" if value < 0.5 else INK)
    return image


@dataclass(frozen=True, eq=False)
class LayerPanel:
    """The similarities of a network's stages (s, s): of one run, and of two seeds, NaN where there is none."""

    title: str
    stages: tuple[str, ...]
    same_run: NDArray[np.float64]
    two_seeds: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LayerMapInfo:
    """The panels to one scale, those of the same stages together.

    ``halved``: above the diagonal two stages of one run, below and on it those of two seeds. Where no network has a
    second seed all is of one run.
    """

    panels: tuple[LayerPanel, ...]
    halved: bool
    measure: str
    note: str


def layer_map_info(panels: Sequence[LayerPanel], measure: str) -> LayerMapInfo:
    """Gather a panel per network, fewest stages first, otherwise in the order given.

    Args:
        panels: one per network.
        measure: what the colour is, with what it is a mean over.

    Raises:
        ValueError: if there is no panel, or a matrix is not (stages, stages).
    """
    if not panels:
        raise ValueError("needs the similarities of at least one network, got none")
    for panel in panels:
        shapes, count = {panel.same_run.shape, panel.two_seeds.shape}, len(panel.stages)
        if shapes != {(count, count)}:
            raise ValueError(f"{panel.title}: needs {count} x {count} similarities, got shapes {sorted(shapes)}")
    ordered = tuple(sorted(panels, key=lambda panel: (len(panel.stages), panel.stages)))
    halved = any(np.isfinite(panel.two_seeds).any() for panel in ordered)
    note = "above the diagonal: two stages of one run; on it and below: a stage of each of two seeds"
    return LayerMapInfo(ordered, halved, measure, note if halved else "two stages of one run")


def draw_layer_map(info: LayerMapInfo) -> Figure:
    """Draw the panels side by side as they fit, a new row wherever the stages are others, numbers where they fit."""
    side = min(max(1.75, _CELL * max(len(panel.stages) for panel in info.panels)), 5.6)
    left = max(text_width(stage, _SIZE) for panel in info.panels for stage in panel.stages) + 0.2
    rows = _rows_of_same_stages(info.panels, max(1, int((_WIDTH - left) / (side + 0.12))))
    across = max(map(len, rows))
    named = [row[0].stages != below[0].stages for row, below in pairwise(rows)] + [True]  # rows whose columns are named
    with house_style():
        titles = sum(max(lines_of(_layer_title(panel, side)) for panel in row) for row in rows)
        height = len(rows) * (side + 0.2) + 0.17 * titles + sum(named) * left + 1.0
        figure = new_figure(max(4.6, left + across * (side + 0.12)), height)
        grid = figure.subplots(len(rows), across, squeeze=False)
        image = None
        for line, panels, lowest in zip(grid, rows, named, strict=True):
            for axes, panel in zip(line, panels, strict=False):
                image = _draw_layers(axes, _layer_title(panel, side), panel, info.halved)
                stages, size = panel.stages, min(_SIZE, 60 * side / len(panel.stages))
                none = [""] * len(stages)
                axes.set_xticks(range(len(stages)), stages if lowest else none, rotation=90, fontsize=size)
                axes.set_yticks(range(len(stages)), stages if axes is line[0] else none, fontsize=size)
            for axes in line[len(panels) :]:
                axes.set_visible(False)
        if image is not None:
            share = min(0.8, 3 / figure.get_size_inches()[0])
            thick, apart = 0.12 / height, 0.08 / height  # 0.12 and 0.08 inches
            bar = figure.colorbar(
                image, ax=list(grid.flat), location="bottom", fraction=thick, pad=apart, shrink=share, aspect=30
            )
            bar.set_label(wrapped(info.measure, 60), fontsize=_SIZE)
            bar.ax.tick_params(labelsize=_SIZE)
        figure.supxlabel(wrapped(info.note, int(11 * figure.get_size_inches()[0])), fontsize=_SIZE, color="#5c6470")
    return figure


def _rows_of_same_stages(panels: Sequence[LayerPanel], across: int) -> list[list[LayerPanel]]:
    """Break the panels into rows of at most so many, each of networks that have the same stages."""
    rows: list[list[LayerPanel]] = []
    for panel in panels:
        if not rows or len(rows[-1]) == across or rows[-1][0].stages != panel.stages:
            rows.append([])
        rows[-1].append(panel)
    return rows


def _layer_title(panel: LayerPanel, side: float) -> str:
    return wrapped(panel.title, int(_CHARACTERS * side))


def _draw_layers(axes: Axes, title: str, panel: LayerPanel, halved: bool) -> AxesImage:
    """Draw one network's matrix; where its halves are of different pairs a line parts them."""
    values = np.triu(panel.same_run, 1) + np.tril(panel.two_seeds) if halved else panel.same_run
    image = _draw_matrix(axes, title, values)
    if halved:
        count = len(values)
        x = [*np.repeat(np.arange(count - 1) + 0.5, 2), count - 0.5]
        y = [*np.repeat(np.arange(count) - 0.5, 2)[1:-1], count - 1.5]
        axes.autoscale(False)
        axes.plot(x, y, color="white", lw=2.5, solid_joinstyle="miter", gid="halves")
    return image


@dataclass(frozen=True)
class SimilarityRow:
    """A mean similarity with the ends of its interval, NaN for none; ``within`` one network, between its seeds."""

    label: str
    within: bool
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class SeedSimilarityInfo:
    """For each layer its rows, to one scale; ``level`` is that of the intervals."""

    layers: tuple[tuple[str, tuple[SimilarityRow, ...]], ...]
    measure: str
    limits: tuple[float, float]
    level: float = 0.95


def seed_similarity_info(
    layers: Sequence[tuple[str, Sequence[SimilarityRow]]], measure: str, level: float = 0.95
) -> SeedSimilarityInfo:
    """Gather the rows of each layer, those within a network first, and choose the range of the axis.

    Raises:
        ValueError: if there is no row.
    """
    ordered = tuple((name, tuple(sorted(rows, key=lambda row: not row.within))) for name, rows in layers if rows)
    if not ordered:
        raise ValueError("needs the similarities of at least one layer, got none")
    means = [row.mean for _, rows in ordered for row in rows]
    ends = [end for _, rows in ordered for row in rows for end in (row.low, row.high)]
    limits = range_with_margin([*means, *np.clip(ends, -0.1, 1.0)], 0.04)
    return SeedSimilarityInfo(ordered, measure, limits, level)


def draw_seed_similarity(info: SeedSimilarityInfo) -> Figure:
    """Draw a panel per layer, one below the other: filled within a network, hollow between two."""
    labels = [[wrapped(row.label, 34) for row in rows] for _, rows in info.layers]
    heights = [0.25 + 0.2 * sum(map(lines_of, each)) for each in labels]
    with house_style():
        figure = new_figure(7.2, 0.9 + sum(heights) + 0.3 * len(heights))
        grid = figure.subplots(len(heights), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
        for axes, (name, rows), texts in zip(grid, info.layers, labels, strict=True):
            places = np.cumsum([lines_of(text) for text in texts]) - 0.5 * np.array([lines_of(t) for t in texts])
            for place, row in zip(places, rows, strict=True):
                colour = BLUE if row.within else VERMILLION
                axes.plot([row.low, row.high], [place, place], color=colour, lw=1.5, zorder=2, gid="interval")
                face = colour if row.within else "white"
                axes.plot(row.mean, place, "o" if row.within else "D", ms=5.5, mfc=face, mec=colour, gid="mean")
            axes.set_yticks(places, texts, fontsize=_SIZE)
            axes.set_ylim(sum(map(lines_of, texts)) + 0.3, -0.3)
            axes.set_title(name, fontsize=9.5, loc="left", fontweight="bold")
            axes.grid(True, axis="x")
            axes.set_axisbelow(True)
            axes.tick_params(axis="y", length=0)
            for end in (0.0, 1.0):
                axes.axvline(end, color=MUTED, lw=0.8, zorder=1)
        grid[0].set_xlim(*info.limits)
        grid[-1].set_xlabel(info.measure)
        _explain(figure, info.level)
    return figure


def _explain(figure: Figure, level: float) -> None:
    axes = figure.axes[0]
    end = f", {level * 100:g} % interval over runs"
    axes.plot([], [], "o-", color=BLUE, ms=5.5, lw=1.5, label=f"two seeds of one network{end}")
    axes.plot([], [], "D-", color=VERMILLION, mfc="white", ms=5.5, lw=1.5, label="a seed of each of two networks")
    figure.legend(loc="outside lower center", ncols=2, fontsize=_SIZE)
